"""Processes that every rank of a host starts, to be a world of their own: where they meet.

A program that starts a world says itself where that meets: ``localhost:12355`` in the tutorials. In
a cell each rank starts one, all at the same port. There torch would give one of them processes of
another. So those of local rank 1 take the port that lies 1,000 above the one they are told, and so
on.

A process belongs to such a world if its rank is its number among those with one function. In
a world over several ranks of the session, those that are not of rank 0 have higher ranks.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable
from importlib import import_module
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakKeyDictionary

from rankbook.distributed.environment import is_loopback

__all__ = ["install"]

_APART = 1000
_LOWEST, _HIGHEST = 1024, 65535

_theirs: list[Callable[..., Any]] = []  # what is stood in for, also in processes forked from here


class _Member:
    """The function of a process that may belong to such a world; it is sent there."""

    def __init__(self, function: Callable[..., Any], number: int, shift: int) -> None:
        self._function = function
        self._number = number
        self._shift = shift

    def __call__(self, *args: Any, **named: Any) -> None:
        rendezvous: Any = import_module("torch.distributed.rendezvous")
        if not _theirs:
            _theirs.append(rendezvous._create_c10d_store)
        create = _theirs[0]

        @functools.wraps(create)
        def create_store(hostname: str, port: int, rank: int, *more: Any, **options: Any) -> Any:
            # The processes of torch's own launcher meet where it listens.
            is_launched = "TORCHELASTIC_RUN_ID" in os.environ
            if rank == self._number and is_loopback(hostname) and not is_launched:
                port = _LOWEST + (port + self._shift - _LOWEST) % (_HIGHEST - _LOWEST + 1)
            return create(hostname, port, rank, *more, **options)

        rendezvous._create_c10d_store = create_store
        self._function(*args, **named)


@functools.cache
def install() -> None:
    """Do so with processes that ``multiprocessing``, torch's too, starts from now on."""
    start: Any = BaseProcess.start
    functions: WeakKeyDictionary[BaseProcess, Any] = WeakKeyDictionary()

    @functools.wraps(start)
    def start_apart(process: Any) -> None:
        # Private in Python 3.10 to 3.14: what a process is to call. It forgets it when it starts.
        function = getattr(process, "_target", None)
        shift = _APART * int(os.environ.get("LOCAL_RANK", "0"))
        if function is not None and shift:
            alive = multiprocessing.active_children()
            number = sum(functions.get(one) == function for one in alive)
            functions[process] = function
            process._target = _Member(function, number, shift)
        start(process)

    BaseProcess.start = start_apart  # type: ignore[assignment, method-assign]
