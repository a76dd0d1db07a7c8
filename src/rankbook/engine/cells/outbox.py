"""The output of one job, passed in order from any thread to the control thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rankbook.models.events import Event, Stream, effort

if TYPE_CHECKING:
    from rankbook.engine.cells.lastwords import LastWords

__all__ = ["Outbox"]

_MOMENT = 0.0005
"""Seconds for which a writer lets the control thread go first."""

_PATIENCE = 20.0
"""Seconds for which a writer waits where nothing is read: the notebook may be gone."""


class Outbox:
    """Collects events from any thread; the control thread takes them in batches.

    The first event wakes the control thread, which sends it, and from then on takes what has
    gathered, again and again, until there is nothing. So a single line leaves at once, and a flood
    leaves in batches. A writer waits while the notebook has yet to read much of what came before.
    The control thread must not wait, because it sends what has gathered, and hears what was read;
    nor must the main thread when its cell is to end, because the notebook waits for that and reads
    nothing.

    Attributes:
        last_words: Keeps text in case this process ends before sending it; None: nothing does.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        *,
        batch: int = 1_000_000,
        high_water: int = 4_000_000,
        patience: float = _PATIENCE,
    ) -> None:
        """Make an empty outbox.

        Args:
            wake: Makes the control thread call :meth:`take` until that returns nothing.
            batch: The most in one message: :func:`rankbook.models.events.effort`.
            high_water: How much may wait to be sent and read before a writer has to wait, by the
                same measure.
            patience: Seconds without anything being read after which writers wait for that no
                longer.
        """
        self._wake = wake
        self._batch, self._high_water, self._patience = batch, high_water, patience
        # A signal's handler may print while this thread prints.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._events: list[Event] = []
        self._name = ""
        self._text: list[str] = []
        self._size = self._sent = self._read = 0
        self._is_read = True
        self._awake = False
        self._closed = self._hurries = self._others_wait = False
        self.last_words: LastWords | None = None

    def write(self, name: str, text: str, *, waits: bool = True) -> bool:
        """Add text of a stream; neighbouring pieces become one event.

        Args:
            name: The stream.
            text: What to add.
            waits: Wait for room; the control thread must not.

        Returns:
            Whether it was taken: not by an outbox that is closed, also while a writer waits.
        """
        if self._others_wait and waits:
            # A lock is not fair: a thread that never pauses would have it again at once.
            time.sleep(_MOMENT)
        with self._lock:  # the same as with self._room, and quicker
            if waits and self._size + self._sent - self._read > self._high_water:
                self._wait_for_room()
            if self._closed:
                return False
            if name != self._name:
                self._seal()
                self._name = name
            self._text.append(text)
            self._size += effort(text)
            if self.last_words is not None:
                self.last_words.write(name, text)
            if not self._awake:
                self._call()
            return True

    def _wait_for_room(self) -> None:
        """Wait while too much is unread; with the lock held."""
        read, until = -1, 0.0
        while not self._closed:
            if self._has_room():
                break
            if read != self._read:
                read, until = self._read, time.monotonic() + self._patience
            self._is_read = self._is_read and time.monotonic() < until
            self._room.wait(0.1)

    def _has_room(self) -> bool:
        unread = self._sent - self._read if self._is_read else 0
        is_to_end = self._hurries and threading.current_thread() is threading.main_thread()
        return self._size + unread <= self._high_water * (2 if is_to_end else 1)

    @property
    def has_room(self) -> bool:
        """Whether a writer need not wait."""
        with self._ahead_of_writers():
            return self._has_room()

    @property
    def is_hurried(self) -> bool:
        """Whether the main thread is to end its cell."""
        return self._hurries

    def hurry(self) -> None:
        """Have the main thread wait no longer, within bounds: it is to end its cell."""
        with self._ahead_of_writers():
            self._hurries = True
            self._room.notify_all()

    @contextmanager
    def _ahead_of_writers(self) -> Iterator[None]:
        """Hold the lock, which writers leave to this thread as soon as they can."""
        self._others_wait = True
        with self._room:
            self._others_wait = False
            yield

    def read(self, much: int) -> None:
        """Note how much the notebook has read in all; from any thread."""
        with self._ahead_of_writers():
            self._read = max(self._read, min(much, self._sent))
            self._room.notify_all()

    def put(self, event: Event) -> None:
        """Add an event of another kind."""
        with self._lock:
            self._seal()
            self._events.append(event)
            if not self._awake:
                self._call()

    def take(self) -> list[Event]:
        """Return the waiting events, some of them if they are large; an empty list if none wait."""
        with self._ahead_of_writers():
            self._seal()
            size = count = 0
            for event in self._events:
                size += effort(event.text) if isinstance(event, Stream) else 0
                count += 1
                if size >= self._batch:
                    break
            taken, self._events = self._events[:count], self._events[count:]
            self._size -= size
            self._sent += size
            self._awake = bool(taken)
            self._room.notify_all()
            return taken

    def close(self) -> None:
        """Take no more text, and release waiting writers; what was taken can be sent still."""
        with self._ahead_of_writers():
            self._closed = True
            self._room.notify_all()

    def _seal(self) -> None:
        if self._text:
            self._events.append(Stream(self._name, "".join(self._text)))
            self._text = []

    def _call(self) -> None:
        self._awake = True
        self._wake()
