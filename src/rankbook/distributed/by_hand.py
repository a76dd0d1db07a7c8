"""``init_process_group`` when a cell or a library calls it in a process of a session.

Every torch rendezvous at a host and port (``env://``, ``tcp://``, ``init_rpc``) goes through one
function, in which rank 0 listens on every interface and the others wait in C++, on keys that an
earlier group may have left; ``file://`` leaves such keys, too. Where all the ranks of the session
meet at its own address, at a loopback address or in a file, they meet as in
:mod:`rankbook.distributed.rendezvous` instead: any number of times, whenever each comes,
interruptibly, and without another port. Everything else is left to torch: a world of another size
at its own address, a forked process, another host.

(The names are private in torch 2.9 to 2.15; ``tests/unit/test_private_api.py`` fails if they go.)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from importlib import import_module
from typing import Any, TypeGuard

import torch.distributed as dist

from rankbook.distributed import (
    adopting,
    destroying,
    meets,
    opening,
    remote,
    rendezvous,
    stores,
    teardown,
)
from rankbook.distributed.environment import Launch, is_loopback
from rankbook.distributed.listening import serve
from rankbook.distributed.outsiders import Door, FileDoor, KnockError, PortDoor
from rankbook.distributed.stores import Store

__all__ = [
    "Ports",
    "act_as",
    "disable",
    "enable",
    "lacking",
    "ports",
    "tell_children",
]

_LOOPBACK = "127.0.0.1"
_PORT, _CHILDRENS_PORT = "port", "children's port"
_RENDEZVOUS: Any = import_module(
    "torch.distributed.rendezvous"
)  # torch.distributed has a function of that name


_CREATE, _FILE = "_create_c10d_store", "FileStore"
"""torch's own functions, which ours replace."""


@dataclass
class _Session:
    """The place of this process among the ranks of its session."""

    launch: Launch | None = None
    pid: int = 0
    address: tuple[str, int] = ("", 0)
    """Its MASTER_ADDR and MASTER_PORT."""
    childrens: int = 0
    """See :attr:`Ports.childrens`."""
    served: tuple[Store, int] | None = None
    """The store of rank 0 on loopback, for libraries that open one there."""
    reserved: socket.socket | None = None
    """A socket of rank 0 that reserves a port for a store that another process serves."""


_session = _Session()
_originals: dict[str, Callable[..., Any]] = {}  # between enabling and disabling


@dataclass(frozen=True)
class Ports:
    """Ports of rank 0's host, the same on every rank."""

    ours: int
    """The session's MASTER_PORT; on loopback where there is one host."""
    childrens: int
    """A port without a listener, for a process that rank 0 starts and that serves a store."""


def enable(launch: Launch, address: str, timeout: timedelta) -> Ports:
    """Allow ``init_process_group`` on this rank; call on every rank, after an initialisation.

    Args:
        launch: This process among the ranks of the session.
        address: The address of rank 0's host, as in MASTER_ADDR.
        timeout: How long to wait for the ports from rank 0.
    """
    port = rendezvous.port() or _told(launch, _PORT, _serve, timeout)
    ports = Ports(port, _told(launch, _CHILDRENS_PORT, _reserve, timeout))
    if launch.rank:
        _session.served = None
        _release()
    _session.launch, _session.pid, _session.address = launch, os.getpid(), (address, port)
    _session.childrens = ports.childrens
    _at_fork()
    _stand_in()
    adopting.install()
    destroying.install()
    opening.install()
    meets.install()
    return ports


def disable() -> None:
    """Let torch make all stores itself again, and close what rank 0 opened."""
    _release()
    opening.remove()
    meets.remove()
    vars(_session).update(vars(_Session()))
    while _originals:
        setattr(_RENDEZVOUS, *_originals.popitem())


@cache
def _at_fork() -> None:
    os.register_at_fork(after_in_child=_be_a_child)


def _be_a_child() -> None:
    """Meet elsewhere, like programs that a rank starts: rank 0 uses the session's port."""
    if os.environ.get("MASTER_PORT") == str(_session.address[1]):
        os.environ["MASTER_PORT"] = str(_session.childrens)


def tell_children() -> None:
    """Have programs that this process starts inherit their port, which os.environ does not show.

    Code that sets MASTER_PORT to what it is already has them inherit the session's.
    """
    if os.environ.get("MASTER_PORT") == str(_session.address[1]):
        os.putenv("MASTER_PORT", str(_session.childrens))


def ports() -> Ports:
    """The session's; zeros where there is none."""
    return Ports(_session.address[1], _session.childrens)


def _stand_in() -> None:
    for name, ours in ((_CREATE, _create_store), (_FILE, _file_store)):
        if name not in _originals and hasattr(_RENDEZVOUS, name):
            _originals[name] = getattr(_RENDEZVOUS, name)
            setattr(_RENDEZVOUS, name, ours)


def lacking() -> tuple[str, ...]:
    """What does not work where torch uses another function, in a sentence; else empty."""
    if _CREATE in _originals or hasattr(_RENDEZVOUS, _CREATE):
        return ()
    lack = (
        f"init_process_group in a cell or a script meets by torch's own means, because torch has "
        f"no rendezvous.{_CREATE}: env:// may not work, and ranks that meet cannot be freed."
    )
    return (lack,)


def _told(launch: Launch, key: str, find: Callable[[timedelta], int], timeout: timedelta) -> int:
    """A port that rank 0 finds and sends to the others."""
    if launch.rank:
        return int(stores.Interruptible(rendezvous.shared(), timeout).get(key))
    port = find(timeout)
    if launch.world_size > 1:
        rendezvous.shared().set(key, str(port))
    return port


def _serve(timeout: timedelta) -> int:
    """Serve an empty store on loopback."""
    if _session.served is None:
        served, _, port = stores.host([_LOOPBACK], 0, timeout)
        _session.served = (served, port)
    return _session.served[1]


def _release() -> None:
    reserved, _session.reserved = _session.reserved, None
    if reserved is not None:
        reserved.close()


def _reserve(_timeout: timedelta) -> int:
    """Bind a port without listening, so that only a socket that shares it can use it."""
    if _session.reserved is None:
        _session.reserved = socket.socket()
        _session.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _session.reserved.bind(("", 0))
    port: int = _session.reserved.getsockname()[1]
    return port


def act_as(launch: Launch | None) -> Launch | None:
    """Initialise from now on as one of the ranks that run a script.

    Args:
        launch: This process among them; its ``job`` is the same on all of them, and only there.

    Returns:
        The former launch, to be restored later.
    """
    former, _session.launch = _session.launch, launch
    adopting.allow(launch is not None and not launch.job)
    return former


def _create_store(
    hostname: str, port: int, rank: int, world_size: int, timeout: timedelta, *args: Any, **kw: Any
) -> Any:
    """Replace the torch function that makes a store at a host and port."""
    launch, at = _session.launch, meets.at_port(hostname, port)
    if _is_here(launch):
        remote.watch()  # it may be for RPC
        is_all = launch.one_host and (rank, world_size) == (launch.rank, launch.world_size)
        is_ours = is_all or world_size == 1  # ranks can each be alone at the same port
        is_own = (hostname, port) == _session.address
        if is_own or (is_ours and is_loopback(hostname)):
            launch = replace(launch, rank=rank, world_size=world_size)
            if is_own or world_size == 1:
                return _meet(launch, at, timeout)
            door = PortDoor(hostname, port, serves=rank == 0)
            with suppress(KnockError):  # somebody else comes there as well
                return _meet(launch, at, timeout, door)
            if door.guest is not None:
                return meets.interruptible(serve(door.guest, timeout), timeout, at)
    if not _is_here(launch):
        return _originals[_CREATE](hostname, port, rank, world_size, timeout, *args, **kw)
    with meets.announced(at, rank, world_size, timeout):
        store = _originals[_CREATE](hostname, port, rank, world_size, timeout, *args, **kw)
    return meets.interruptible(store, timeout, at)


def _file_store(path: str, world_size: int = -1, *args: Any, **kw: Any) -> Any:
    """Replace the torch function that makes a store in a file."""
    launch = _session.launch
    if not _is_here(launch):
        return _originals[_FILE](path, world_size, *args, **kw)
    remote.watch()
    at, timeout = meets.in_file(path), _RENDEZVOUS.default_pg_timeout
    if launch.one_host and world_size == launch.world_size:
        with suppress(KnockError):  # somebody else comes there as well
            return _meet(launch, at, timeout, FileDoor(path))
    with meets.announced(at, None, max(world_size, 0), timeout):
        opening.wait_for_folder(path)
    return meets.interruptible(_originals[_FILE](path, world_size, *args, **kw), timeout, at)


def _is_here(launch: Launch | None) -> TypeGuard[Launch]:
    """Whether this process is the rank of the launch, not a child of it."""
    return launch is not None and _session.pid == os.getpid()


def _meet(launch: Launch, at: str, timeout: timedelta, door: Door | None = None) -> Store:
    where = f"{_common(at, launch)}/{launch.world_size}"
    try:
        job = f"by hand/{launch.job}/{where}" if launch.job else f"by hand/{where}"
        size, is_open = launch.world_size, door is not None
        with meets.announced(at, launch.rank, size, timeout, only_ranks=True, or_children=is_open):
            launch = replace(launch, job=job)
            store = rendezvous.meet(launch, timeout, door.look if door else None).store
    except KnockError:
        raise
    except BaseException:
        if not dist.is_initialized():
            teardown.forget_attempt()
        raise
    finally:
        if door is not None:
            door.close()
    return meets.interruptible(store, timeout, at, launch.world_size)


def _common(at: str, launch: Launch) -> str:
    """The name of a place for all ranks, which may have it from different names of their host."""
    host, colon, port = at.rpartition(":")
    is_here = is_loopback(host.strip("[]")) or at == meets.at_port(*_session.address)
    return f"localhost:{port}" if colon and launch.one_host and is_here else at
