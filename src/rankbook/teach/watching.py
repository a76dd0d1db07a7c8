"""Watching an answer: the collectives that it calls, what it starts, and what it waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from sys import _getframe
from types import FrameType
from typing import TYPE_CHECKING, Any

from rankbook import calls

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["Started", "Watch", "by_hand"]

_NO_COLLECTIVES = ("send", "recv", "barrier")
"""Operations of the account by which ranks get nothing from all others."""

_COLLECTIVES = (
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "broadcast",
    "gather",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
)

_STARTING = (*_COLLECTIVES, "batch_isend_irecv", "irecv", "isend", "barrier")
"""Functions that may return a handle, or a list of them."""

_WAITING = ("get_future", "is_completed", "is_success", "result", "synchronize", "wait")
"""What a program that cares whether a call is done asks its handle for."""


def by_hand(here: Here, act: Callable[[], Any]) -> Any:
    """Try what is to be made of sends and receives; note the ``collectives`` that it calls.

    Args:
        here: The rank.
        act: Uses what the learner wrote.
    """
    # The account also sees what has another name, or is called by a library.
    ledger = calls.installed()
    before = ledger.last if ledger else 0
    try:
        return act()
    finally:
        made = ledger.since(before)[0] if ledger else []
        here.note(collectives=sum(call.op not in _NO_COLLECTIVES for call in made))


class _Handle:
    """What an asynchronous call returns, which notes that it was waited for, and in what state."""

    def __init__(self, handle: Any, watch: Watch, tensor: Any) -> None:
        self._handle, self._watch = handle, watch
        self._tensor, self._version = tensor, tensor._version  # noqa: SLF001 - counts its writes

    def wait(self, *args: Any) -> Any:
        if id(self) not in self._watch.waited:
            self._watch.changed += self._tensor._version != self._version  # noqa: SLF001
        self._watch.waited.add(id(self))
        return self._handle.wait(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)


class Watch:
    """Counts the all_reduces of this rank, and those that are waited for.

    Args:
        here: The rank.

    Attributes:
        started: Calls so far.
        waited: Which handles were waited for.
        changed: Calls whose tensor was written to before they were waited for.
        operations: Names of their operations other than the sum and the mean.
    """

    def __init__(self, here: Here) -> None:
        self._dist = here.dist
        self._real = here.dist.all_reduce
        self._handles: list[_Handle] = []
        self.started = 0
        self.waited: set[int] = set()
        self.changed = 0
        self.operations: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what is reduced meanwhile."""
        self._dist.all_reduce = self._all_reduce
        try:
            yield
        finally:
            self._dist.all_reduce = self._real

    def _all_reduce(self, *args: Any, **how: Any) -> Any:
        self.started += 1
        operation = str(args[1] if len(args) > 1 else how.get("op", "")).rpartition(".")[2]
        self.operations |= {operation} - {"", "SUM", "AVG"}
        handle = self._real(*args, **how)
        if handle is None:
            return None
        self._handles.append(_Handle(handle, self, args[0] if args else how["tensor"]))
        return self._handles[-1]

    @property
    def asynchronous(self) -> int:
        """Calls that did not block."""
        return len(self._handles)


def _is_of_account(frame: FrameType) -> bool:
    """Whether a frame is of our account of calls, which asks handles whether they are done."""
    name = frame.f_globals.get("__name__", "")
    return name.startswith("rankbook.") and not name.startswith("rankbook.teach.")


class Started:
    """What the learner's code starts, and whether it waits for it.

    Args:
        here: The rank.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self._handles: dict[int, Any] = {}  # kept, so that no other object gets their identity
        self._waited: set[int] = set()

    @property
    def unwaited(self) -> int:
        """How many calls have been started that nothing has waited for."""
        return len(self._handles.keys() - self._waited)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what is started and waited for meanwhile."""
        dist, names = self._here.dist, self._here.variables
        # torch compares the functions that P2POp is given with those of its own module.
        owners = (dist, sys.modules[dist.isend.__module__])
        real = {name: getattr(dist, name) for name in _STARTING}
        ours = {name: self._starting(function) for name, function in real.items()}
        own = {
            name: function.__name__
            for name, function in names.items()
            if getattr(function, "__name__", "") in real and function is real[function.__name__]
        }
        waiting = {name: vars(dist.Work)[name] for name in _WAITING if name in vars(dist.Work)}
        for owner in owners:
            vars(owner).update(ours)
        names.update({name: ours[function] for name, function in own.items()})
        for name in waiting:
            setattr(dist.Work, name, self._waiting(getattr(dist.Work, name)))
        try:
            yield
        finally:
            for owner in owners:
                vars(owner).update(real)
            names.update({name: real[function] for name, function in own.items()})
            for name, function in waiting.items():
                setattr(dist.Work, name, function)

    def _starting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(*args: Any, **how: Any) -> Any:
            __tracebackhide__ = True
            done = real(*args, **how)
            if self._is_called_by_learner():
                for handle in done if isinstance(done, list) else [done]:
                    if isinstance(handle, self._here.dist.Work):
                        self._handles[id(handle)] = handle
            return done

        return call

    def _waiting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(handle: Any, *args: Any, **how: Any) -> Any:
            __tracebackhide__ = True
            if not _is_of_account(_getframe(1)):
                self._waited.add(id(handle))
            return real(handle, *args, **how)

        return call

    def _is_called_by_learner(self) -> bool:
        """Whether the learner's own code has made this call, not a library that waits by itself."""
        frame = _getframe(2)
        while frame.f_back and frame.f_globals.get("__name__", "").startswith("rankbook.teach"):
            frame = frame.f_back
        return frame.f_globals is self._here.variables
