"""Destroying the process group within bounds."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import ModuleType
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from rankbook.distributed.stores import poll
from rankbook.errors import RendezvousError

__all__ = [
    "SECONDS",
    "destroy",
    "forget_attempt",
    "free_optional_buffers",
    "ignoring_sigint",
    "let_go",
    "pending",
    "tables",
    "wait_for_last",
    "wait_until_freed",
]

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""How long to wait for torch to let go of the group."""

_FREEING_SECONDS = 1.0
"""How long to wait at exit for C++ to close its sockets: some 10 ms per rank, mostly idle."""

# Modules that keep a DeepEP buffer on the group in a global.
_DEEPEP_USERS = (
    "nemo_automodel.components.moe.megatron.fused_a2a",
    "megatron.core.transformer.moe.fused_a2a",
)
_DEEPEP_GLOBALS = ("_buffer", "_hybrid_ep_buffer")


class _Leaving(threading.Thread):
    """Destroys the process group, then closes its sockets."""

    def __init__(self) -> None:
        super().__init__(name="rankbook-destroy", daemon=True)
        self.forgotten = threading.Event()  # torch no longer holds the group
        self.fault: Exception | None = None

    def run(self) -> None:
        # The last reference runs gloo's destructor, which waits for collectives in flight, up to
        # the group's timeout. Held here, it runs after torch has forgotten the group.
        world = dist.group.WORLD
        try:
            dist.destroy_process_group()
        except Exception as error:  # noqa: BLE001 - raised again on the waiting thread
            self.fault = error
        finally:
            self.forgotten.set()
        del world


class _LettingGo(threading.Thread):
    """Drops the last references to objects: C++ closes sockets, and waits for threads."""

    def __init__(self, things: list[object]) -> None:
        super().__init__(name="rankbook-let-go", daemon=True)
        self._things = things

    def run(self) -> None:
        self._things.clear()


_leaving: list[_Leaving] = []  # those still running, and the last one
_letting_go: list[_LettingGo] = []


def destroy() -> None:
    """Have torch forget the process group, waiting at most ``SECONDS``.

    Its sockets are closed in the background: with gloo that takes some 10 ms per rank, in which
    the next group can already be made.

    Raises:
        Exception: What ``destroy_process_group`` raised.
    """
    if not pending():
        _leaving[:] = [*filter(_Leaving.is_alive, _leaving), _Leaving()]
        try:
            _leaving[-1].start()
        except RuntimeError:
            _leaving[-1].run()  # Python 3.12 starts no thread at exit
    if not _leaving[-1].forgotten.wait(SECONDS):
        logger.warning(
            "the process group was not destroyed within %g s: going on in the background", SECONDS
        )
    elif _leaving[-1].fault is not None:
        raise _leaving[-1].fault


def let_go(things: list[object]) -> None:
    """Drop objects taken from groups, in the background.

    Args:
        things: Gets emptied; the caller keeps no other references to its items.
    """
    thread = _LettingGo(things)
    _letting_go[:] = [*filter(_LettingGo.is_alive, _letting_go), thread]
    try:
        thread.start()
    except RuntimeError:
        thread.run()  # Python 3.12 starts no thread at exit


def forget_attempt() -> None:
    """Have torch forget a group that was not completed, and number groups from 0 again.

    torch names a group by that number, also in the store. A rank that tried in vain would look for
    the others under another name than a new rank, and never find them. If it was interrupted after
    making the group and before it became the default one, torch would refuse the name from then on.
    (The counter and tables are private in torch 2.9 to 2.15;
    ``destroy_process_group`` clears it, but only with a group.)
    """
    c10d._world.group_count = 0
    if not dist.is_initialized() and not pending() and c10d._world.pg_names:
        c10d._unregister_all_process_groups()  # type: ignore[attr-defined]
        for table in tables():
            table.clear()


def tables() -> list[Any]:
    """The tables in which torch keeps groups."""
    world: Any = c10d._world
    return [
        world.pg_map,
        world.pg_names,
        world.pg_group_ranks,
        world.pg_backend_config,
        world.pg_to_tag,
        world.tags_to_pg,
        world.pg_coalesce_state,
    ]


def pending() -> bool:
    """Whether torch still holds a group that a ``destroy`` left in the background."""
    return bool(_leaving) and not _leaving[-1].forgotten.is_set()


def wait_until_freed() -> None:
    """At exit, wait a moment for sockets that are being closed.

    A thread that returns from C++ after the interpreter has ended aborts the process.
    """
    deadline = time.monotonic() + _FREEING_SECONDS
    threads: list[threading.Thread] = [*_leaving, *_letting_go]
    for thread in filter(threading.Thread.is_alive, threads):
        thread.join(max(0.0, deadline - time.monotonic()))


def wait_for_last(timeout: timedelta) -> None:
    """Wait, interruptibly, until no ``destroy`` is pending.

    Raises:
        RendezvousError: torch still holds the old group.
    """
    if not poll(lambda: not pending(), time.monotonic() + timeout.total_seconds()):
        raise RendezvousError(
            "the last process group is still being destroyed after"
            f" {timeout.total_seconds():g} s: restart this process"
        )


def free_optional_buffers() -> None:
    """Drop DeepEP's buffers, which would outlive the group; never fails."""
    for module in filter(None, map(sys.modules.get, _DEEPEP_USERS)):
        for name in _DEEPEP_GLOBALS:
            _drop(module, name)


def _drop(module: ModuleType, name: str) -> None:
    try:
        buffer = getattr(module, name, None)
        if buffer is not None:
            setattr(module, name, None)
            # Such a buffer is not freed with its last reference.
            if getattr(buffer, "explicitly_destroy", False):
                buffer.destroy()
    except Exception:  # best effort: the group must go in any case
        logger.warning("could not free %s.%s", module.__name__, name, exc_info=True)


@contextmanager
def ignoring_sigint() -> Iterator[None]:
    """Ignore Ctrl+C within the block; does nothing off the main thread."""
    handler = signal.getsignal(signal.SIGINT)
    # Only the main thread may set handlers; one set outside Python (None) cannot be restored.
    if threading.current_thread() is not threading.main_thread() or handler is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
