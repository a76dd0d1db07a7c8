"""The output of one job, passed in order from any thread to the control thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rankbook.models.events import Event, Stream

if TYPE_CHECKING:
    from rankbook.engine.cells.lastwords import LastWords

__all__ = ["Outbox"]


class Outbox:
    """Collects events from any thread; the control thread takes them in batches.

    There is no timer: the first event wakes the control thread, and it sends everything that has
    gathered by then. So a single line leaves at once, and a flood leaves in batches.

    Attributes:
        last_words: Keeps text in case this process ends before sending it; None: nothing does.
    """

    def __init__(
        self, wake: Callable[[], None], *, batch: int = 1_000_000, high_water: int = 4_000_000
    ) -> None:
        """Make an empty outbox.

        Args:
            wake: Makes the control thread call :meth:`take` until that returns nothing.
            batch: The most characters in one message.
            high_water: Characters that may wait to be sent before a writer has to wait for the
                control thread.
        """
        self._wake = wake
        self._batch, self._high_water = batch, high_water
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._events: list[Event] = []
        self._name = ""
        self._text: list[str] = []
        self._size = 0
        self._awake = False
        self._closed = False
        self.last_words: LastWords | None = None

    def write(self, name: str, text: str) -> None:
        """Add text of a stream; neighbouring pieces become one event."""
        with self._room:
            while self._size > self._high_water and not self._closed:
                self._room.wait(0.1)
            if name != self._name:
                self._seal()
                self._name = name
            self._text.append(text)
            self._size += len(text)
            if self.last_words is not None:
                self.last_words.write(name, text)
            self._call()

    def put(self, event: Event) -> None:
        """Add an event of another kind."""
        with self._lock:
            self._seal()
            self._events.append(event)
            self._call()

    def take(self) -> list[Event]:
        """Return the waiting events, about a megabyte at most; an empty list if none wait."""
        with self._room:
            self._seal()
            size = count = 0
            for event in self._events:
                size += len(event.text) if isinstance(event, Stream) else 0
                count += 1
                if size >= self._batch:
                    break
            taken, self._events = self._events[:count], self._events[count:]
            self._size -= size
            self._awake = bool(taken)
            self._room.notify_all()
            return taken

    def close(self) -> None:
        """Release waiting writers: their output is no longer sent."""
        with self._room:
            self._closed = True
            self._room.notify_all()

    def _seal(self) -> None:
        if self._text:
            self._events.append(Stream(self._name, "".join(self._text)))
            self._text = []

    def _call(self) -> None:
        if not self._awake:
            self._awake = True
            self._wake()
