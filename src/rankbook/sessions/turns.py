"""One thing at a time: what a session is busy with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rankbook.errors import SessionError
from rankbook.sessions.changes import Changes
from rankbook.timing import Timing

__all__ = ["Turns"]

_CLOSED = "shut down"


class Turns:
    """A lock that says who holds it; nobody waits for it unseen.

    Attributes:
        number: How many things the session has been busy with so far.
    """

    def __init__(self, changes: Changes, timing: Timing) -> None:
        self._timing = timing
        self.number = 0
        self._doing = ""
        self._closed = False
        self._changes = changes
        self._lock = threading.Lock()
        # Held while ranks are freed, so that it does not meet the turn after the one meant.
        self._ending = threading.Lock()

    @property
    def doing(self) -> str:
        """What the session is busy with, in words; empty when it is ready."""
        return _CLOSED if self._closed else self._doing

    @property
    def is_closed(self) -> bool:
        """Whether there are no turns any more."""
        return self._closed

    def close(self) -> None:
        """End it for good; what is under way goes on to its own end."""
        self._closed = True

    def refuse_closed(self) -> None:
        """Raise if the session is shut down.

        Raises:
            SessionError: It is.
        """
        if self.is_closed:
            raise SessionError("This session is shut down: start another with %dist_init.")

    @contextmanager
    def take(
        self, doing: str, *, wait: float = 0, make_way: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """Be busy with something.

        Args:
            doing: What it is, in words.
            wait: Seconds to wait for one's turn.
            make_way: Ends what the session is busy with, as far as it sees; called again until
                that makes way.

        Raises:
            SessionError: It is busy, or closed.
        """
        mine = self._lock.acquire(timeout=wait) if make_way is None else self._clear(make_way)
        if not mine and not self.doing:  # somebody is between two turns, and soon gone
            mine = self._lock.acquire(timeout=self._timing.settle)
        if not mine:
            raise SessionError(
                f"The session is {self.doing or 'busy'}: wait, or run %dist_interrupt."
            )
        try:
            with self._ending:
                self.refuse_closed()
                self.number += 1
                self._doing = doing
            self._changes.notify()
            yield
        finally:
            self._doing = ""
            self._lock.release()
            self._changes.notify()

    def end(self, free: Callable[[], bool], number: int | None = None) -> bool:
        """End what the session is busy with; the lock is left to whoever wants to be next.

        Args:
            free: Frees the ranks; tells whether they did anything. Called again while they do not,
                for what has only just begun is not on them yet.
            number: Of the turn that is to end; None: the present one.

        Returns:
            Whether there was anything to end.
        """
        number = self.number if number is None else number
        deadline = time.monotonic() + self._timing.settle

        def lasts() -> bool:
            busy = bool(self.doing) and not self.is_closed
            return busy and self.number == number and time.monotonic() < deadline

        with self._ending:
            was_busy = self.number == number and free()
        while not was_busy and lasts():
            time.sleep(self._timing.turn_pause)
            with self._ending:
                was_busy = lasts() and free()
        while was_busy and lasts():
            time.sleep(self._timing.turn_poll)
        return was_busy

    @contextmanager
    def between(self, needed: Callable[[], bool]) -> Iterator[bool]:
        """Hold the lock between two turns, for what whoever has it now may do as well.

        Args:
            needed: Whether it is still to be done.

        Yields:
            Whether it is the caller's to do.
        """
        deadline = time.monotonic() + self._timing.settle
        mine = False
        while needed() and not mine and time.monotonic() < deadline:
            mine = self._lock.acquire(timeout=self._timing.turn_poll)
        try:
            yield mine and needed()
        finally:
            if mine:
                self._lock.release()

    def _clear(self, make_way: Callable[[], object]) -> bool:
        deadline = time.monotonic() + self._timing.settle
        while not self._lock.acquire(blocking=False):
            self.refuse_closed()
            make_way()
            # What had only just begun, and was not on the ranks yet, is ended the next time.
            if self._lock.acquire(timeout=self._timing.interrupt_again):
                break
            if time.monotonic() > deadline:
                return False
        return True
