"""A clock that only sleeping moves."""

from __future__ import annotations

__all__ = ["Clock"]


class Clock:
    """The module ``time`` as code sees it that sleeps and looks at the clock: no time passes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
