"""The output of a cell in a file that outlives this process, which may end before sending it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rankbook.lastcalls import LOG, LOG_AT, WORDS, WORDS_AT, WORDS_HEADER, WORDS_ROOM

if TYPE_CHECKING:
    from rankbook.calls.blackbox import BlackBox

__all__ = ["LastWords"]

_LONGEST = 256
"""How many bytes of the log's path are stored."""


class LastWords:
    """Writes the end of each stream into the file of the last calls.

    Args:
        box: The file; None: there is none, and nothing is kept.
    """

    def __init__(self, box: BlackBox | None) -> None:
        self._box = box
        self._cell = self._sent = self._begun = 0
        self._log = b""
        self._counts: dict[str, tuple[int, int]] = {}

    def begin(self, cell: int = 0) -> None:
        """Forget what was printed.

        Args:
            cell: The number of the cell that begins; 0: none does.
        """
        self._cell, self._counts, self._begun = cell, {}, self._sent
        self._note_log()
        for stream in WORDS_AT:
            self.write(stream, "")

    def write(self, stream: str, text: str) -> None:
        """Keep text that the cell prints; for one thread at a time."""
        if self._box is None or self._box.memory.closed:
            return
        memory, start = self._box.memory, WORDS_AT[stream]
        characters, size = self._counts.get(stream, (0, 0))
        data = text.encode(errors="replace")
        self._counts[stream] = characters, size = characters + len(text), size + len(data)
        ring = start + WORDS_HEADER
        at = ring + (size - len(data)) % WORDS_ROOM
        end = ring + WORDS_ROOM
        if at + len(data) <= end:
            memory[at : at + len(data)] = data
        else:
            data = data[-WORDS_ROOM:]
            at = ring + (size - len(data)) % WORDS_ROOM
            memory[at:end] = data[: end - at]
            memory[ring : ring + len(data) - (end - at)] = data[end - at :]
        # Last: everything counted has been written, whenever the process is killed.
        WORDS.pack_into(memory, start, self._cell, characters, size)

    def logged(self, log: Path, sent: int) -> None:
        """Note how much of the output that bypassed Python has been sent.

        Args:
            log: The file with that output; one without a name cannot be read afterwards.
            sent: The number of bytes sent.
        """
        if not self._log:
            self._begun = sent
        self._log, self._sent = os.fsencode(log), sent
        self._note_log()

    def _note_log(self) -> None:
        if self._box is None or self._box.memory.closed:
            return
        if self._log and len(self._log) <= _LONGEST and not self._log.startswith(b"/proc/"):
            LOG.pack_into(self._box.memory, LOG_AT, self._sent, self._begun, self._log)
