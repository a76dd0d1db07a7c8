"""Telling subscribers that something about a session has changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

__all__ = ["Changes"]


class Changes:
    """Listeners, called from whichever thread makes the change."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called at every change.

        Returns:
            Ends the subscription when called.
        """
        self._listeners.append(listener)

        def stop() -> None:
            with suppress(ValueError):  # it was stopped before
                self._listeners.remove(listener)

        return stop

    @property
    def subscribers(self) -> int:
        """How many listeners are called at a change."""
        return len(self._listeners)

    def notify(self) -> None:
        """Say that something has changed."""
        for listener in list(self._listeners):
            listener()
