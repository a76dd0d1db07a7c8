"""How long this rank has been still, as far as its control thread has seen."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import psutil
import torch.distributed.distributed_c10d as c10d

from rankbook.engine.looking.frames import Position

__all__ = ["Movement", "Standing"]

_QUIET_CPU = 0.03
"""Share of one core that a quiet process may use, for its control thread and timers. That was 2.4 %
on a machine where ten processes share two cores; a computing process has ten times that."""

_QUIET_GROUP = 0.006
"""The same for each group, whose idle gloo thread wakes a hundred times a second."""

_COMPUTED = 0.002
"""Seconds of CPU between two looks that count as none: clocks are that coarse."""


class Standing(NamedTuple):
    """How long a rank has been still, in seconds."""

    still: float
    """For which the main thread neither moved nor computed."""
    quiet: float
    """For which no thread of the process computed."""
    here: float
    """For which the main thread has been at its place, or in its wait; it may have moved below that
    place."""


class Movement:
    """Remembers where the main thread was seen, and what the process had computed by then."""

    def __init__(self) -> None:
        self._mark: object = None
        self._place: object = None
        self._cpu = 0.0
        self._still_since = self._quiet_since = self._here_since = time.monotonic()
        self._last = self._here_since

    def forget(self) -> None:
        """Start again: the main thread is about to do something else."""
        self._mark = self._place = None

    def seen(self, at: Position, began: float | None = None) -> Standing:
        """Note the main thread's position, and return how long it has been there.

        Args:
            at: Where it is.
            began: When its announced wait began, seconds since the epoch; None: none.
        """
        now = time.monotonic()
        # A polling thread runs now and then, and is still all the same.
        mark = (at.mark,) if at.in_store else (at.mark, _times_scheduled(), round(_main_cpu(), 3))
        if mark != self._mark:
            self._still_since = now
        if at.mark != self._place:
            self._here_since = now
        cpu = time.process_time() - time.thread_time()
        share = _QUIET_CPU + _QUIET_GROUP * len(c10d._world.pg_map)
        if cpu - self._cpu > _COMPUTED + share * (now - self._last):
            self._quiet_since = now
        if at.in_store:
            # No data is arriving for a rank that waits for a key: main threads of others set keys.
            self._quiet_since = self._still_since
        self._mark, self._place, self._cpu, self._last = mark, at.mark, cpu, now
        return Standing(now - self._still_since, now - self._quiet_since, self._here(now, began))

    def _here(self, now: float, began: float | None) -> float:
        return now - self._here_since if began is None else max(0.0, time.time() - began)


def _main_cpu() -> float:
    """CPU seconds of the main thread; 0 where the system does not tell."""
    ident = threading.main_thread().ident
    if ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def _times_scheduled() -> int:
    """How often the main thread was scheduled: it did nothing if that stays the same."""
    # On Linux psutil reads the main thread's count, elsewhere that of all threads, so that a
    # process with a busy thread never counts as still.
    switches = psutil.Process().num_ctx_switches()
    return int(switches.voluntary + switches.involuntary)
