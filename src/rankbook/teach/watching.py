"""Watching an answer: the collectives that it calls, what it starts, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["Watch", "by_hand"]

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


def by_hand(here: Here, act: Callable[[], Any]) -> Any:
    """Try what is to be made of sends and receives; note the ``collectives`` that it calls.

    Args:
        here: The rank.
        act: Uses what the learner wrote.
    """
    real = {name: getattr(here.dist, name) for name in _COLLECTIVES}
    called: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        def call(*args: Any, **how: Any) -> Any:
            called.append(name)
            return real[name](*args, **how)

        return call

    for name in real:
        setattr(here.dist, name, counting(name))
    try:
        return act()
    finally:
        for name, original in real.items():
            setattr(here.dist, name, original)
        here.note(collectives=len(called))


class _Handle:
    """What an asynchronous call returns, which notes that it was waited for."""

    def __init__(self, handle: Any, watch: Watch) -> None:
        self._handle, self._watch = handle, watch

    def wait(self, *args: Any) -> Any:
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
    """

    def __init__(self, here: Here) -> None:
        self._dist = here.dist
        self._real = here.dist.all_reduce
        self._handles: list[_Handle] = []
        self.started = 0
        self.waited: set[int] = set()

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
        handle = self._real(*args, **how)
        if handle is None:
            return None
        self._handles.append(_Handle(handle, self))
        return self._handles[-1]

    @property
    def asynchronous(self) -> int:
        """Calls that did not block."""
        return len(self._handles)
