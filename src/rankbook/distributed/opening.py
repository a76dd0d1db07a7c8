"""``TCPStore(...)`` that code opens by itself in a process of a session.

Torch's constructor waits in C++, where Ctrl+C does not reach it. A client waits until a store
answers at the port; if another program listens there, it waits without end. A server waits for the
number of clients that it was given. Here both wait in Python, where an exception that is raised in
the thread ends the wait. Torch's own rendezvous opens such stores, too, where
:mod:`rankbook.distributed.by_hand` leaves it to torch.

(The constructor's parameters are documented, but replacing it is not: torch 2.9 to 2.15.)
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import DistNetworkError, DistStoreError

from rankbook.distributed import connecting, meets
from rankbook.distributed.stores import TCPStore, poll
from rankbook.ownthreads import is_ours

__all__ = ["Opening", "install", "remove", "wait_for_folder"]

_CLASS: Any = TCPStore
_original: Callable[..., None] = TCPStore.__init__
_TIMEOUT = timedelta(seconds=300)
"""Torch's own, of a store that is given none."""

_LET_GO = timedelta(seconds=1)

_PARAMETERS = (
    "host_name",
    "port",
    "world_size",
    "is_master",
    "timeout",
    "wait_for_workers",
    "multi_tenant",
    "master_listen_fd",
    "use_libuv",
)

_home = 0
"""The process whose stores are opened in Python: not one that was forked from it."""


class Opening:
    """A store that is being opened, as an account of waits sees it."""

    kind = "opening"
    """What an account calls such a wait."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        """Take what tells whether the other end has come."""
        self._ready = ready

    def wait(self, keys: Sequence[str], timeout: timedelta) -> bool:  # noqa: ARG002 - are told
        """Wait until the other end has come; tell whether it has before the time was over.

        Args:
            keys: Host and port.
            timeout: When to give up.
        """
        until = time.monotonic() + timeout.total_seconds()
        is_over = poll(lambda: self._ready() or _ends(), until)
        if _ends():
            raise SystemExit  # of this thread: what waits in C++ would hold up the process
        return is_over


def _ends() -> bool:
    """Whether this process is about to end: its main thread has."""
    return not threading.main_thread().is_alive()


def install() -> None:
    """Stand in for torch's constructor from now on, in this process."""
    global _home  # noqa: PLW0603
    _home = os.getpid()
    _CLASS.__init__ = _open


def remove() -> None:
    """Have torch's own constructor again."""
    _CLASS.__init__ = _original


@functools.wraps(_original)
def _open(store: Any, *args: Any, **kwargs: Any) -> None:
    given = dict(zip(_PARAMETERS, args, strict=False)) | kwargs
    # Our own threads wait in C++ for the others.
    is_meant = os.getpid() == _home and not is_ours(threading.current_thread())
    is_whole = {"host_name", "port"} <= given.keys() and len(args) <= len(_PARAMETERS)
    if not (is_meant and is_whole and isinstance(given.get("timeout", _TIMEOUT), timedelta)):
        _original(store, *args, **kwargs)
        return
    size, serves = given.get("world_size") or 0, bool(given.get("is_master"))
    if serves and (size <= 1 or not given.get("wait_for_workers", True)):
        _original(store, *args, **kwargs)
        return
    try:
        with meets.announced(_named(given), 0 if serves else None, size, given.get("timeout")):
            if serves:
                _serve(given, lambda: _original(store, *args, **kwargs))
            else:
                _connect(store, given)
    except BaseException:
        store = None  # the traceback would keep it, and with it the port
        raise


def _connect(store: Any, given: dict[str, Any]) -> None:
    """Connect a client once something listens and answers.

    Raises:
        DistNetworkError: Nothing does within the timeout.
    """
    timeout = given.get("timeout", _TIMEOUT)
    deadline = time.monotonic() + timeout.total_seconds()

    def make(limit: timedelta) -> Any:
        _original(store, **given | {"timeout": limit})
        return store

    def wait(ready: Callable[[], bool], until: float) -> None:
        left = timedelta(seconds=max(0.0, until - time.monotonic()))
        Opening(ready).wait([_named(given)], left)

    try:
        connecting.construct(make, given["host_name"], int(given["port"]), deadline, wait)
    except connecting.NoStoreError as error:
        within = f"within {timeout.total_seconds():g} s ({error})"
        if error.listens:
            raise DistNetworkError(
                f"what listens at {_named(given)} did not answer as a store {within}: choose "
                "another port"
            ) from None
        raise DistNetworkError(
            f"no store listened at {_named(given)} {within}: check the host and the port, and "
            "that another rank opens it there with is_master=True"
        ) from None
    store.set_timeout(timeout)


def wait_for_folder(path: str, timeout: timedelta = _TIMEOUT) -> None:
    """Wait until the folder of a file is there, as torch's constructor of a FileStore does.

    Args:
        path: The file.
        timeout: How long to wait.

    Raises:
        DistStoreError: It does not come within the time that torch waits.
    """
    folder = Path(path).parent
    if not folder.is_dir() and not Opening(folder.is_dir).wait([str(folder)], timeout):
        raise DistStoreError(
            f"the folder {folder} did not come to be within {timeout.total_seconds():g} s: "
            "make it on one rank, or give a file in another folder"
        )


def _serve(given: dict[str, Any], construct: Callable[[], None]) -> None:
    """Serve a store in another thread until its clients have come."""
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            construct()
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001 - raised where the store is opened
            outcome.append(error)

    # No daemon: one that comes back from C++ while Python finalizes ends the process.
    thread = threading.Thread(target=run, name="rankbook-serves", daemon=False)
    thread.start()
    try:
        # Torch itself gives up at the timeout, and says so.
        limit = given.get("timeout", _TIMEOUT) + _LET_GO
        Opening(lambda: bool(outcome)).wait([_named(given)], limit)
    finally:
        if not outcome:
            _come_as_clients(given, thread)
    if outcome and outcome[0] is not None:
        raise outcome[0]


def _come_as_clients(given: dict[str, Any], thread: threading.Thread) -> None:
    """Have a server that was given up stop waiting: as many clients come as it waits for."""
    size = int(given["world_size"])
    for _ in range(size):
        if not thread.is_alive():
            return
        with suppress(RuntimeError):  # it waits no more, or the next one reaches it
            client = TCPStore.__new__(TCPStore)
            _original(client, given["host_name"], int(given["port"]), size, False, _LET_GO)  # noqa: FBT003
    thread.join(_LET_GO.total_seconds())


def _named(given: dict[str, Any]) -> str:
    return meets.at_port(given["host_name"], int(given["port"]))
