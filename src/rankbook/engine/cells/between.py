"""Output between cells: kept until the next cell, and marked with its source.

Threads and processes of a cell may go on after the cell has ended. Without this, their output would
be lost.
"""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["Between"]

_MOST = 1_000_000
"""How many characters, the latest ones, are kept."""


class Between:
    """Text written between cells, by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[tuple[str, str, str]] = deque()
        self._size = 0
        self._lost = 0
        self._cells: dict[threading.Thread, str] = {}
        self._latest = "an earlier cell"

    def ended(self, cell: str) -> None:
        """Note which threads go on from a cell that has just ended."""
        with self._lock:
            running = threading.enumerate()
            self._cells = {one: self._cells.get(one, cell) for one in running}
            self._latest = cell

    def write(self, stream: str, text: str) -> None:
        """Keep text that the current thread writes."""
        self.keep(stream, text, self._cells.get(threading.current_thread(), self._latest))

    def keep(self, stream: str, text: str, cell: str | None = None) -> None:
        """Keep text of a cell; None: of the latest one."""
        with self._lock:
            self._kept.append((self._latest if cell is None else cell, stream, text))
            self._size += len(text)
            while self._size > _MOST and len(self._kept) > 1:
                self._size -= len(self._kept[0][2])
                self._lost += len(self._kept.popleft()[2])

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
            marked.insert(0, ("stdout", f"({lost:,} characters before this are lost)\n"))
        return [(stream, text) for stream, text in marked if text]
