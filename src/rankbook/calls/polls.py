"""Threads that poll for an answer instead of waiting for it.

``while not work.is_completed(): time.sleep(0.01)`` waits as ``work.wait()`` does, in Python. A
thread polls if it asks again for open calls, and no call was issued or ended in between. What else
it does between two answers is read from the code of its loop: see ``loops``.
"""

from __future__ import annotations

from threading import get_ident
from time import time_ns
from types import FrameType

from rankbook.calls.loops import ends_by_answer_only
from rankbook.calls.places import in_words, spot, user_lines
from rankbook.calls.records import Record, to_call
from rankbook.models.calls import POLL, Wait

__all__ = ["Poll", "Polls"]

_PATIENCE = 200_000_000
"""Nanoseconds, plus twice the longest pause so far, after which a thread no longer polls."""


class Poll:
    """The uninterrupted questions of one thread.

    Attributes:
        record: The first of the calls that it asks for.
        began: When it first learned that one is open, ns since the epoch.
    """

    __slots__ = (
        "_cell",
        "_lines",
        "_longest",
        "_mark",
        "_seen",
        "_spot",
        "_times",
        "began",
        "record",
    )

    def __init__(self, record: Record, mark: tuple[int, int], frame: FrameType) -> None:
        self.record = record
        self.began = self._seen = time_ns()
        self._longest = self._times = 0
        self._mark = mark
        self._spot, self._cell, _ = spot(frame)
        self._lines = user_lines(frame)

    def goes_on(self, record: Record, mark: tuple[int, int]) -> bool:
        """Note that the thread asked again; return whether nothing happened since."""
        if mark != self._mark:
            return False
        now = time_ns()
        self._longest = max(self._longest, now - self._seen)
        self._seen = now
        self._times += 1
        if record.id < self.record.id:
            self.record = record
        return True

    def lasts(self, mark: tuple[int, int]) -> bool:
        """Whether the thread still polls, judging by its pauses."""
        is_soon = time_ns() - self._seen <= 2 * self._longest + _PATIENCE
        return self._times > 0 and mark == self._mark and is_soon

    def told(self, thread: int) -> Wait:
        """The poll in the form for others."""
        return Wait(
            POLL,
            thread,
            self.began / 1e9,
            to_call(self.record),
            line=in_words(self._spot, self._cell),
            # The loop may have another way out than the answer: a deadline, for example. And when
            # a call on a stream has ended is not known at once.
            may_end=self.record.stream_ordered or not ends_by_answer_only(self._lines),
        )


class Polls:
    """The threads of a process that poll."""

    def __init__(self) -> None:
        self._by_thread: dict[int, Poll] = {}

    def asked(self, record: Record, mark: tuple[int, int], frame: FrameType) -> None:
        """Note that this thread learned that a call is open.

        Args:
            record: The call.
            mark: A value that changes when a call is issued or ends.
            frame: The asking frame.
        """
        thread = get_ident()
        poll = self._by_thread.get(thread)
        if poll is None or not poll.goes_on(record, mark):
            self._by_thread[thread] = Poll(record, mark, frame)

    def present(self, mark: tuple[int, int]) -> dict[int, Poll]:
        """The present poll of each thread."""
        found = self._by_thread.copy()
        return {thread: poll for thread, poll in found.items() if poll.lasts(mark)}

    def keep(self, threads: set[int]) -> None:
        """Forget threads that have ended: those that are not among ``threads``."""
        for thread in self._by_thread.keys() - threads:
            self._by_thread.pop(thread, None)
