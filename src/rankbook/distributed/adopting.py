"""``init_process_group`` in a process of a session, which already has a process group.

Under a launcher, code makes its group first. In a session one exists, and torch would refuse:
"trying to initialize the default process group twice!". If the request matches the existing group,
the call adopts it; else one line says what to do. A script does not see the session's group, so
torch itself decides there.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch.distributed as dist

from rankbook.distributed import meets
from rankbook.distributed.aside import Aside
from rankbook.distributed.stores import Interruptible

__all__ = ["allow", "explain", "install"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")
_original: Any = _c10d.init_process_group
_SIGNATURE = inspect.signature(_original)


_NONE = "Default process group has not been initialized"
"""torch's message for a collective without a group."""


class _State:
    """The state of this process."""

    pid = 0
    """The process whose group may be adopted; a forked child cannot use it."""
    is_allowed = True
    told: object = None
    """The group whose adoption was announced."""
    inherited: object = None
    """In a forked child: the groups of its parent. It cannot use them, nor destroy them."""


def install() -> None:
    """Adopt from now on; after another call, announce it again."""
    _State.pid, _State.told = os.getpid(), None
    for name in ("torch.distributed", "torch.distributed.distributed_c10d"):
        module: Any = import_module(name)
        module.init_process_group = _init_process_group


def allow(is_allowed: bool) -> None:  # noqa: FBT001
    """Begin to adopt again, or leave everything to torch."""
    _State.is_allowed = is_allowed


@functools.wraps(_original)
def _init_process_group(*args: Any, **options: Any) -> None:
    if _State.pid != os.getpid() and _State.inherited is None:
        _State.inherited = Aside()
    if not (dist.is_initialized() and _State.is_allowed and _State.pid == os.getpid()):
        if _State.pid == os.getpid():
            args, options = _with_interruptible_store(args, options)
        _original(*args, **options)
        return
    asked = _SIGNATURE.bind(*args, **options).arguments
    present = f"{dist.get_backend()}, {dist.get_world_size()} ranks"
    if (difference := _difference(asked)) is not None:
        raise ValueError(
            f"there is a process group already ({present}), and this asks for {difference}: call "
            "dist.destroy_process_group() first, or run a script with %dist_run: it makes its own"
        )
    if isinstance(timeout := asked.get("timeout"), timedelta):
        _c10d._set_pg_timeout(timeout)
    if _State.told is not dist.group.WORLD:
        _State.told = dist.group.WORLD
        sys.stderr.write(f"init_process_group uses the existing process group ({present}).\n")


def explain(error: BaseException) -> ValueError | None:
    """The error for a collective after a cell destroyed the group; None for anything else."""
    is_meant = isinstance(error, ValueError) and str(error).startswith(_NONE)
    if not is_meant or dist.is_initialized() or not _State.is_allowed:
        return None
    return ValueError(
        "there is no process group, because this rank has destroyed it: run %dist_reset for the "
        "session's, or call dist.init_process_group for another one"
    )


def _with_interruptible_store(
    args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments, where a store of the caller's waits in Python."""
    given = _SIGNATURE.bind(*args, **options)
    store: Any = given.arguments.get("store")
    place = meets.of_store(store, given.arguments.get("rank", -1), 0)
    if place is None or isinstance(store, Interruptible):
        return args, options
    timeout = given.arguments.get("timeout")
    limit = timeout if isinstance(timeout, timedelta) else _c10d.default_pg_timeout
    given.arguments["store"] = meets.interruptible(store, limit, place.at, prefix=place.prefix)
    return given.args, given.kwargs


def _difference(asked: dict[str, Any]) -> str | None:
    """How a request differs from the existing group, in words; None if it does not."""
    backend, real = str(asked.get("backend") or "").lower(), dist.get_backend()
    by_device = set(str(_c10d.get_backend_config()).split(","))
    if backend not in ("", real) and not by_device.issuperset(backend.split(",")):
        return f"the backend {backend}"
    for name, present in (("world_size", dist.get_world_size()), ("rank", dist.get_rank())):
        value = asked.get(name, -1)
        if value not in (-1, present):
            return f"{name}={value}"
    return None
