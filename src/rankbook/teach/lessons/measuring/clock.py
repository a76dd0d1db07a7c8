"""A clock of the lesson's own, by which a check measures the same on every machine.

While an answer is tried, what takes time is said to this clock and not slept, and the learner's
looks at the clock are looks at this one. A busy machine changes nothing, and nobody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["Clock"]

_LOOKS = {
    "monotonic": 1,
    "monotonic_ns": 10**9,
    "perf_counter": 1,
    "perf_counter_ns": 10**9,
    "time": 1,
    "time_ns": 10**9,
}
"""Functions of ``time``, and into how many parts each divides a second."""

_MEET = ("all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "barrier")
"""Functions that return on no rank before all ranks have called them."""


class Clock:
    """What time it is on a rank.

    Args:
        here: The rank.

    Attributes:
        now: Seconds.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self._thread = get_ident()
        self._real_all_reduce = here.dist.all_reduce
        self.now = 1000.0

    def passes(self, milliseconds: float) -> None:
        """Let time go by on this rank."""
        self.now += milliseconds / 1000

    def meet(self) -> None:
        """Wait for the rank that is latest by its clock, as a collective does."""
        latest = self._here.torch.tensor(self.now, dtype=self._here.torch.float64)
        self._real_all_reduce(latest, self._here.dist.ReduceOp.MAX)
        self.now = latest.item()

    @contextmanager
    def running(self, names: dict[str, Any]) -> Iterator[None]:
        """Have the learner's code look at this clock, and its collectives meet by it.

        Args:
            names: The learner's variables: they may have functions of ``time`` under names of
                their own.
        """
        looks = {getattr(time, name): self._look(name, parts) for name, parts in _LOOKS.items()}
        own = {name: value for name, value in names.items() if _is_in(value, looks)}
        dist = self._here.dist
        meet = {name: getattr(dist, name) for name in _MEET}
        for real, look in looks.items():
            setattr(time, real.__name__, look)
        names.update({name: looks[real] for name, real in own.items()})
        for name, real in meet.items():
            setattr(dist, name, self._meeting(real))
        try:
            yield
        finally:
            for real in looks:
                setattr(time, real.__name__, real)
            names.update(own)
            for name, real in meet.items():
                setattr(dist, name, real)

    def _look(self, name: str, parts: int) -> Callable[[], float]:
        real = getattr(time, name)

        def look() -> Any:
            if get_ident() != self._thread:  # others of the process have their own business
                return real()
            return round(self.now * parts) if parts > 1 else self.now

        return look

    def _meeting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **how: Any) -> Any:
            done = real(*args, **how)
            if done is None and how.get("group") is None:  # it has not only been started
                self.meet()
            return done

        return call


def _is_in(value: Any, functions: dict[Any, Any]) -> bool:
    """Whether a value is one of these functions; many values cannot be looked up."""
    return any(value is function for function in functions)
