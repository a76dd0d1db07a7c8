"""The timers of an event loop that may soon end what a coroutine waits for."""

from __future__ import annotations

from typing import Any

from rankbook.calls.waits import SOON

__all__ = ["pending"]

_TIMEOUTS = {("asyncio.timeouts", "Timeout._on_timeout"), ("asyncio.tasks", "_release_waiter")}
"""What ends ``asyncio.timeout``, ``wait_for`` and ``wait`` (private in Python 3.10 to 3.14)."""


def pending(loop: Any) -> list[Any] | None:
    """The timers of a loop, without timeouts of which none comes soon; None if it is unknown.

    A thread's wait with such a timeout counts as one that does not end, too.
    """
    timers = getattr(loop, "_scheduled", None)
    if timers is None:
        return None
    soon = loop.time() + SOON
    return [
        timer
        for timer in list(timers)
        if not timer.cancelled() and not (timer.when() > soon and _is_timeout(timer))
    ]


def _is_timeout(timer: Any) -> bool:
    function = getattr(timer._callback, "__func__", timer._callback)
    named = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    return named in _TIMEOUTS
