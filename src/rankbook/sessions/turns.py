"""One thing at a time: the turns of a session."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rankbook.errors import SessionError
from rankbook.sessions.changes import Changes
from rankbook.timing import Timing

__all__ = ["Turns"]

_CLOSED = "shut down"


class Turns:
    """A lock that says what it is held for, and refuses instead of waiting.

    Attributes:
        number: How many things the session has been busy with so far.
    """

    def __init__(
        self, changes: Changes, timing: Timing, ending: AbstractContextManager[Any] | None = None
    ) -> None:
        """Create the turns.

        Args:
            changes: Notified when a turn begins or ends.
            timing: How long to wait.
            ending: The lock that is held while ranks are freed, so that freeing does not hit the
                next turn; None: a new one.
        """
        self._timing = timing
        self.number = 0
        self._doing = ""
        self._closed = False
        self._process = os.getpid()
        self._changes = changes
        self._lock = threading.Lock()
        self._ending = ending or threading.Lock()

    @property
    def doing(self) -> str:
        """What the session is busy with, in words; empty when it is ready."""
        return _CLOSED if self.is_closed else self._doing

    @property
    def is_closed(self) -> bool:
        """Whether there are no more turns: in a fork of the session's process, there are none.

        There, its threads are missing, and its exit must not end the engines.
        """
        return self._closed or self._is_forked

    @property
    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    def close(self) -> None:
        """Give no more turns; the present one goes on to its own end."""
        self._closed = True

    def refuse_closed(self) -> None:
        """Raise if the session is shut down, or another process's.

        Raises:
            SessionError: It is.
        """
        if self._is_forked:
            raise SessionError(
                f"This session belongs to process {self._process}, of which this one "
                f"({os.getpid()}) is a fork: use it there."
            )
        if self.is_closed:
            raise SessionError("This session is shut down: start another with %dist_init.")

    @contextmanager
    def take(
        self, doing: str, *, wait: float = 0, make_way: Callable[[], object] | None = None
    ) -> Iterator[None]:
        """Be busy with something.

        Args:
            doing: What it is, in words.
            wait: Seconds to wait for the turn.
            make_way: Ends what the session is busy with; called again until the turn is free.

        Raises:
            SessionError: It is busy, or closed.
        """
        is_held = self._lock.acquire(timeout=wait) if make_way is None else self._clear(make_way)
        if not is_held and not self.doing:  # another thread holds it for a moment between two turns
            is_held = self._lock.acquire(timeout=self._timing.settle)
        if not is_held:
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
        """End what the session is busy with; any thread may take the next turn.

        Args:
            free: Frees the ranks; returns whether any was busy. Called again until one is, since
                work that has just begun may not have reached them.
            number: The turn to end; None: the present one.

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
        """Hold the lock between two turns, for work that the present holder may do instead.

        Args:
            needed: Whether the work still has to be done.

        Yields:
            Whether the caller must do it.
        """
        deadline = time.monotonic() + self._timing.settle
        is_held = False
        while needed() and not is_held and time.monotonic() < deadline:
            is_held = self._lock.acquire(timeout=self._timing.turn_poll)
        try:
            yield is_held and needed()
        finally:
            if is_held:
                self._lock.release()

    def _clear(self, make_way: Callable[[], object]) -> bool:
        deadline = time.monotonic() + self._timing.settle
        while not self._lock.acquire(blocking=False):
            self.refuse_closed()
            make_way()
            # Work that has just begun and has not reached the ranks is ended the next time.
            if self._lock.acquire(timeout=self._timing.interrupt_again):
                break
            if time.monotonic() > deadline:
                return False
        return True
