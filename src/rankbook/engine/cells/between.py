"""Output between cells: kept until the next cell, and marked with its source.

Threads, processes and asyncio's tasks of a cell may go on after the cell has ended. Without this,
their output would be lost.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar

from rankbook.models.events import effort
from rankbook.words import lost_before

__all__ = ["Between", "is_of_a_cell"]

_MOST = 1_000_000
"""How much is kept, the latest: :func:`rankbook.models.events.effort`."""

_PIECE = 10_000
"""How many characters are dropped at once, at most."""

_cell: ContextVar[str] = ContextVar("cell", default="")
"""The cell whose code runs here: tasks and callbacks that it makes keep this."""


def is_of_a_cell(context: Context) -> bool:
    """Whether a context is that of a cell's code, or of what it has left to the event loop."""
    return bool(dict(context).get(_cell))


class Between:
    """Text written between cells, by any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may print
        self._kept: deque[tuple[str, str, str]] = deque()
        self._size = 0
        self._lost = 0
        self._cells: dict[threading.Thread, str] = {}
        self._others: set[threading.Thread] = set()
        self._latest = "an earlier cell"

    @staticmethod
    @contextmanager
    def cell(name: str) -> Iterator[None]:
        """Remember within the block, and in what it leaves to the event loop, which cell it is."""
        token = _cell.set(name)
        try:
            yield
        finally:
            _cell.reset(token)

    def begun(self) -> None:
        """Note which threads are no cell's: those of another client's code, and our own."""
        with self._lock:
            self._others = set(threading.enumerate()) - self._cells.keys()

    def threads(self) -> list[threading.Thread]:
        """The threads that cells have begun."""
        return [one for one in threading.enumerate() if one not in self._others]

    def ended(self, cell: str) -> None:
        """Note which threads go on from a cell that has just ended."""
        with self._lock:
            self._cells = {one: self._cells.get(one, cell) for one in self.threads()}
            self._latest = cell

    def write(self, stream: str, text: str) -> bool:
        """Keep text that the current thread writes; return whether it comes from a cell."""
        thread = threading.current_thread()
        is_main = thread is threading.main_thread()
        cell = _cell.get() or (None if is_main else self._cells.get(thread))
        if cell is None and is_main:  # another client's code, whose output goes to that client
            return False
        self.keep(stream, text, cell)
        return cell is not None

    def keep(self, stream: str, text: str, cell: str | None = None) -> None:
        """Keep text of a cell; None: of the latest one."""
        with self._lock:
            for start in range(0, len(text), _PIECE):
                piece = text[start : start + _PIECE]
                self._kept.append((self._latest if cell is None else cell, stream, piece))
                self._size += effort(piece)
                while self._size > _MOST and len(self._kept) > 1:
                    _, _, oldest = self._kept.popleft()
                    self._size -= effort(oldest)
                    self._lost += len(oldest)

    def lose(self, characters: int) -> None:
        """Note that text is not kept."""
        with self._lock:
            self._lost += characters

    def take(self) -> list[tuple[str, str]]:
        """The kept text as pairs of stream and marked whole lines."""
        with self._lock:
            kept, self._kept = self._kept, deque()
            lost, self._size, self._lost = self._lost, 0, 0
        pieces: dict[tuple[str, str], list[str]] = {}
        for cell, stream, text in kept:
            pieces.setdefault((cell, stream), []).append(text)
        marked = [
            (stream, "".join(f"(from {cell}) {line}\n" for line in lines if line))
            for (cell, stream), texts in pieces.items()
            if (lines := "".join(texts).splitlines())
        ]
        if lost:
            marked.insert(0, ("stdout", lost_before(lost)))
        return [(stream, text) for stream, text in marked if text]
