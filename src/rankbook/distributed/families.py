"""``torch.multiprocessing.spawn`` on every rank of a host: each one's processes meet by themselves.

A program that spawns a world of its own says itself where that meets: ``localhost:12355`` in the
tutorials. In a cell each rank spawns such a world, all at the same port. There torch would give one
of them processes of another. So the processes of local rank 1 take the port that lies 1,000 higher
than what they are told, and so on. Processes that are a part of a larger world are left alone.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rankbook.distributed.environment import is_loopback

__all__ = ["install"]

_APART = 1000
_LOWEST, _HIGHEST = 1024, 65535


class _Member:
    """A function that a process of such a world calls; it is sent there."""

    def __init__(self, function: Callable[..., Any], size: int, shift: int) -> None:
        self._function = function
        self._size = size
        self._shift = shift

    def __call__(self, *args: Any) -> None:
        rendezvous: Any = import_module("torch.distributed.rendezvous")
        create = rendezvous._create_c10d_store

        @functools.wraps(create)
        def create_store(
            hostname: str, port: int, rank: int, world_size: int, *more: Any, **options: Any
        ) -> Any:
            if world_size == self._size and is_loopback(hostname):
                port = _LOWEST + (port + self._shift - _LOWEST) % (_HIGHEST - _LOWEST + 1)
            return create(hostname, port, rank, world_size, *more, **options)

        rendezvous._create_c10d_store = create_store
        self._function(*args)


@functools.cache
def install() -> None:
    """Do so with worlds that are spawned from now on."""
    module: Any = import_module("torch.multiprocessing")
    spawn = module.spawn

    @functools.wraps(spawn)
    def spawn_apart(fn: Any, args: Any = (), nprocs: int = 1, *more: Any, **options: Any) -> Any:
        shift = _APART * int(os.environ.get("LOCAL_RANK", "0"))
        function = _Member(fn, nprocs, shift) if shift else fn
        return spawn(function, args, nprocs, *more, **options)

    module.spawn = spawn_apart
