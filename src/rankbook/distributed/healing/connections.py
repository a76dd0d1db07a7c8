"""Separating a process group from its connections, and giving it those of another one.

A ``ProcessGroup`` is a shell: it passes every collective to one of its backends, one per kind. An
existing backend is not replaced, and nothing in Python removes one. A C++ function does, which
torch has for groups without references: ``release_resources`` clears the store and the backends. It
is called by its symbol in torch's library (in 2.13 and 2.14 it is the same, and takes only the
group); a torch without it heals nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rankbook.distributed import teardown

__all__ = ["is_possible", "lacking", "lend", "separate"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")

_RELEASE = "_ZN4c10d12ProcessGroup17release_resourcesEv"
"""``c10d::ProcessGroup::release_resources()``."""


@cache
def _release() -> Any:
    """The torch function, None where there is none."""
    folder = Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cpu.dylib"):
        with suppress(OSError, AttributeError):  # the library of another system, or torch lacks it
            function = getattr(ctypes.CDLL(str(folder / name)), _RELEASE)
            function.argtypes, function.restype = [ctypes.c_void_p], None
            return function
    return None


_TAKEN = (
    (dist.ProcessGroup, ("_device_types", "_get_backend", "_id", "_register_backend")),
    (
        _c10d,
        (
            "_new_process_group_helper",
            "_register_process_group",
            "_unregister_process_group",
            "_update_default_pg",
        ),
    ),
)
"""The other private names that healing needs."""


@cache
def is_possible() -> bool:
    """Whether this torch has all the private names that healing needs."""
    return _release() is not None and not _lack()


def _lack() -> str:
    """The first of the private names that this torch lacks."""
    for owner, names in _TAKEN:
        for name in names:
            if not hasattr(owner, name):
                return f"{owner.__name__}.{name}"
    return ""


def lacking() -> tuple[str, ...]:
    """What this torch makes impossible, in a sentence; empty if nothing."""
    if is_possible():
        return ()
    lack = (
        "process groups cannot be given new connections, because torch has no "
        f"{_lack() or 'ProcessGroup.release_resources'}: after a hang, a reset or a death, DDP "
        "and FSDP modules, meshes and subgroups must be made again."
    )
    return (lack,)


def separate(groups: Iterable[Any]) -> None:
    """Take the connections from groups that torch has forgotten; using one is then an error.

    Whatever the backend: NCCL was shut down when the group was left, and might connect again if it
    were used. The connections are closed in the background, which takes some 10 ms per rank.

    Args:
        groups: Those groups.
    """
    if not is_possible():
        return
    release, backends = _release(), []
    for group in groups:
        for device in group._device_types:
            with suppress(RuntimeError):  # it was separated before
                backends.append(group._get_backend(device))
        release(group._id())
    teardown.let_go(backends)


def lend(group: Any, other: Any, name: str) -> None:
    """Replace a group that has just been made by one that was separated.

    Args:
        group: Gets the connections, and the place in torch's tables.
        other: Has both so far; nothing refers to it afterwards.
        name: The group's name in torch's tables.
    """
    kinds = dist.ProcessGroup.BackendType
    for device in other._device_types:
        backend = other._get_backend(device)
        group._register_backend(device, kinds.GLOO, backend)
    world = _c10d._world
    other_name = world.pg_names[other]
    _c10d._unregister_process_group(other_name)
    for table in (
        world.pg_map,
        world.pg_names,
        world.pg_group_ranks,
        world.pg_backend_config,
        world.pg_to_tag,
    ):
        if other in table:
            table[group] = table.pop(other)
    for groups in world.tags_to_pg.values():
        groups[:] = [group if one is other else one for one in groups]
    world.pg_names[group] = name
    _c10d._register_process_group(name, group)
    if world.default_pg is other:
        _c10d._update_default_pg(group)
