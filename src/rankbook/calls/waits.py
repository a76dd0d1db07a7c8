"""The present activity of threads in ``torch.distributed``: issuing a call, or waiting.

A thread writes only about itself, so nothing here needs a lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from sys import _getframe
from threading import get_ident
from time import time_ns
from typing import Any

from rankbook.calls.blackbox import BlackBox
from rankbook.calls.counts import Counts
from rankbook.calls.places import is_told_of
from rankbook.calls.polls import Polls
from rankbook.calls.records import Record, to_call
from rankbook.heap import frames_of_others
from rankbook.models.calls import Wait

__all__ = ["SOON", "Awaited", "Waits", "seconds"]

SOON = 60.0
"""The longest timeout, seconds, for which a wait is left to end by itself."""

Awaited = tuple[int, str, Record | None, float | None, Sequence[str]]
"""When a wait began (ns since the epoch), its kind, the call, its own timeout, and the keys of a
store."""


class Waits:
    """The waits of a process, by thread; also the calls that are being issued.

    Attributes:
        doing: By thread, its wait, or the call that it issued last, which says whether it is still
            being issued. A thread that issues a call no longer waits, even if an interrupt
            prevented that announcement.
        polls: The threads that poll whether a call is done.
        in_callbacks: The threads that run a function which was given to a future's ``then``.
    """

    def __init__(self, counts: Counts, box: BlackBox | None) -> None:
        """Start without waits.

        Args:
            counts: Gets the durations of waits.
            box: Gets the calls that are waited for.
        """
        self.polls = Polls()
        self._counts = counts
        self._box = box
        self.doing: dict[int, Awaited | Record] = {}
        self.in_callbacks: set[int] = set()

    def begin(
        self,
        kind: str,
        record: Record | None = None,
        timeout: float | None = None,
        keys: Sequence[str] = (),
    ) -> Awaited | Record | None:
        """Announce that this thread begins to wait.

        Returns:
            Its former activity, for :meth:`end`.
        """
        thread = get_ident()
        outer = self.doing.get(thread)
        now = time_ns()
        self.doing[thread] = (now, kind, record, timeout, keys)
        if record is not None:
            record.awaited = record.awaited or now
            if self._box is not None:
                self._box.awaited(record)
        return outer

    def end(self, outer: Awaited | Record | None) -> None:
        """Announce that this thread's latest wait has ended."""
        thread, doing = get_ident(), self.doing
        ended = doing.pop(thread, None)
        if outer is not None:
            doing[thread] = outer
        if type(ended) is tuple and type(outer) is not tuple:
            self._counts.present.waiting += time_ns() - ended[0]

    def of_this_thread(self) -> Awaited | None:
        """The wait of this thread."""
        present = self.doing.get(get_ident())
        return present if type(present) is tuple else None

    def issued_here(self) -> Record | None:
        """The call that this thread issued last; None if it waits, or issued none."""
        latest = self.doing.get(get_ident())
        return latest if isinstance(latest, Record) else None

    def awaited(self) -> set[int]:
        """The identities of the records of calls that are waited for."""
        return {id(each[2]) for each in self.doing.copy().values() if type(each) is tuple}

    def by_thread(self, mark: tuple[int, int]) -> dict[int, Wait]:
        """What each thread waits for; also to be given a handle, or asks for.

        Args:
            mark: A value that changes when a call is issued or ends.
        """
        present = self.doing.copy()
        others = frames_of_others()
        threads = {*others, get_ident()}
        # An interrupt may have kept a wait from announcing its end: a waiting thread must have one
        # of our functions on its stack.
        telling = {thread for thread, frame in others.items() if is_told_of(frame)}
        if is_told_of(_getframe()):
            telling.add(get_ident())
        found: dict[int, Wait] = {}
        for thread, doing in present.items():
            if thread not in threads and self.doing.get(thread) is doing:
                self.doing.pop(thread, None)  # the thread has ended
            elif thread in telling and (wait := _told(doing, thread)) is not None:
                found[thread] = wait
        self.polls.keep(threads)
        for thread, poll in self.polls.present(mark).items():
            if not poll.record.completed:
                found.setdefault(thread, poll.told(thread))
        return found


def seconds(timeout: Any) -> float | None:
    """A timeout in seconds; None if torch does not accept it."""
    return timeout.total_seconds() if isinstance(timeout, timedelta) else None


def _told(doing: Awaited | Record, thread: int) -> Wait | None:
    """A thread's activity in the form for others; None for a call that was issued."""
    if isinstance(doing, Record):
        if doing.returned or doing.completed:
            return None
        return Wait("issue", thread, doing.issued / 1e9, to_call(doing))
    began, kind, record, timeout, keys = doing
    call = to_call(record) if record else None
    may_end = timeout is not None and timeout <= SOON
    return Wait(kind, thread, began / 1e9, call, timeout, tuple(keys), may_end=may_end)
