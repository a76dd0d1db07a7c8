"""The rendezvous of processes that each rank of a host starts as their own world.

A program that starts a world also chooses its address: ``localhost:12355`` in the tutorials. In a
cell each rank starts a world, all at the same port, where torch would mix up their processes. So
the processes of local rank 1 use the port 1,000 above the given one, and so on.

A process belongs to such a world if its rank is its number among those with one function. In
a world over several ranks of the session, those that are not of rank 0 have higher ranks.

A library that reads MASTER_PORT on the rank, and tells it the processes that it starts, has them
meet where rank 0 serves the session's store. So they take the port that is meant for them.

What torch forks to be a world begins without a group, as what it spawns: that of the rank is of no
use to it, and libraries that find one make none.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable
from importlib import import_module
from multiprocessing.context import ForkProcess
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakKeyDictionary

import torch.distributed as dist

from rankbook.distributed import by_hand
from rankbook.distributed.aside import Aside
from rankbook.distributed.by_hand import Ports
from rankbook.distributed.environment import is_loopback

__all__ = ["install"]

_APART = 1000
_LOWEST, _HIGHEST = 1024, 65535

_TORCHS = "torch.multiprocessing.spawn"

_inherited: list[Aside] = []  # in a forked process: the groups of its parent
_originals: list[
    Callable[..., Any]
] = []  # the replaced functions, also in processes forked from here


class _Member:
    """The function of a process that may belong to such a world; it is pickled into it."""

    def __init__(
        self,
        function: Callable[..., Any],
        number: int,
        shift: int,
        ports: Ports,
        *,
        is_forked: bool = False,
    ) -> None:
        self._function = function
        self._number = number
        self._shift = shift
        self._ports = ports
        self._is_forked = is_forked

    def __call__(self, *args: Any, **named: Any) -> None:
        self._meet_apart()
        if self._is_forked and dist.is_initialized():
            _inherited.append(Aside())
        self._function(*args, **named)

    def _meet_apart(self) -> None:
        rendezvous: Any = import_module("torch.distributed.rendezvous")
        if not _originals:
            _originals.append(rendezvous._create_c10d_store)
        create = _originals[0]

        @functools.wraps(create)
        def create_store(hostname: str, port: int, rank: int, *more: Any, **options: Any) -> Any:
            if port == self._ports.ours:
                port = self._ports.childrens
            # The processes of torch's own launcher meet where it listens.
            is_launched = "TORCHELASTIC_RUN_ID" in os.environ
            if rank == self._number and is_loopback(hostname) and not is_launched:
                port = _LOWEST + (port + self._shift - _LOWEST) % (_HIGHEST - _LOWEST + 1)
            return create(hostname, port, rank, *more, **options)

        rendezvous._create_c10d_store = create_store


@functools.cache
def install() -> None:
    """Treat processes so that ``multiprocessing``, torch's too, starts from now on."""
    start: Any = BaseProcess.start
    functions: WeakKeyDictionary[BaseProcess, Any] = WeakKeyDictionary()

    @functools.wraps(start)
    def start_apart(process: Any) -> None:
        # Private in Python 3.10 to 3.14: the function of a process, forgotten when it starts.
        function: Any = getattr(process, "_target", None)
        shift = _APART * int(os.environ.get("LOCAL_RANK", "0"))
        is_torchs = getattr(function, "__module__", "") == _TORCHS
        is_forked = isinstance(process, ForkProcess)
        # On rank 0 what is spawned by others than torch is left alone: it may never import torch.
        if function is not None and (shift or is_torchs or is_forked):
            alive = multiprocessing.active_children()
            number = sum(functions.get(one) == function for one in alive)
            functions[process] = function
            process._target = _Member(
                function, number, shift, by_hand.ports(), is_forked=is_torchs and is_forked
            )
        start(process)

    BaseProcess.start = start_apart  # type: ignore[assignment, method-assign]
