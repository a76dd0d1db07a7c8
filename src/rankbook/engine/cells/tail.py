"""Output that bypasses Python: from C++ libraries and subprocesses.

NCCL's debug output, torch's C++ warnings and output of ``subprocess.run`` go to the descriptors 1
and 2. In a local engine these are its log file, which survives the process, so nothing is lost
when a rank dies. While a cell runs, additions to that file are shown with its output.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.engine.cells.lastwords import LastWords

__all__ = ["LOG_VARIABLE", "MOST", "Tail"]

LOG_VARIABLE = "RANKBOOK_ENGINE_LOG"
"""The variable that names a local engine's log file; engines started elsewhere do not have it."""

MOST = 250_000
"""How many bytes are shown of what nobody could read while it was written."""

_PIECE = 250_000
"""How many bytes are read at once."""


class Tail:
    """Reads what was appended to a file since the last look; from any thread."""

    def __init__(
        self, path: str | None, last_words: LastWords | None = None, *, piece: int = _PIECE
    ) -> None:
        """Start at the present end of the file.

        Args:
            path: The file; None: there is none, and nothing is ever new.
            last_words: Notified of how much was passed on.
            piece: How many bytes are read at once.
        """
        self._path = Path(path) if path else None
        # A signal's handler may print while its thread is here, and so come here itself.
        self._lock = threading.RLock()
        self._is_read = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at = self._size()
        self._last_words = last_words
        self._piece = piece
        self._tell()

    def show(
        self, write: Callable[[str], object], is_to_stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Pass on what was appended since the last call, and before this one.

        Args:
            write: Takes the text.
            is_to_stop: Asked before each piece.
        """
        if not self.has_more():  # as after most cells: it need not be locked
            return
        with self._reading(-1) as is_free:
            size = self._size()
            while is_free and not is_to_stop() and self._show_piece(write, size):
                pass

    def has_more(self) -> bool:
        """Whether something was appended, or is being passed on; what C has kept is included."""
        _flush()
        return self._size() > self._at or self._is_read  # in this order

    @property
    def has_grown(self) -> bool:
        """Whether something was appended: asked often, and so without the path."""
        try:
            return self._path is not None and os.fstat(1).st_size > self._at
        except OSError:  # a script has closed it
            return False

    def show_piece(self, write: Callable[[str], object], patience: float = 0.0) -> bool:
        """Pass on a piece of it, and return whether it has.

        Args:
            write: Takes the text.
            patience: Seconds to wait for another thread that does the same; then it does nothing.
        """
        with self._reading(patience) as is_free:
            return is_free and self._show_piece(write, self._size())

    @contextmanager
    def _reading(self, patience: float) -> Iterator[bool]:
        """Whether nobody else reads, this thread included; nobody else will within the block."""
        if not self._lock.acquire(timeout=patience):
            yield False
            return
        try:
            if self._is_read:
                yield False
                return
            self._is_read = True
            try:
                _flush()
                yield True
            finally:
                self._is_read = False
        finally:
            self._lock.release()

    def skip(self, most: int = MOST) -> int:
        """Pass over what was appended, but for its last lines.

        Args:
            most: How many bytes are left at most.

        Returns:
            How many bytes were passed over.
        """
        with self._reading(-1) as is_free:
            before, start = self._at, self._size() - most
            if self._path is None or start <= before or not is_free:
                return 0
            with self._path.open("rb") as file:
                file.seek(start)
                file.readline(most)
                self._at = file.tell()
            self._decoder.reset()
            self._tell()
            return self._at - before

    def _show_piece(self, write: Callable[[str], object], size: int) -> bool:
        if self._path is None or size <= self._at:
            return False
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read(min(size - self._at, self._piece))
        self._at += len(data)
        write(self._decoder.decode(data))
        self._tell()
        return bool(data)

    def _tell(self) -> None:
        if self._last_words is not None and self._path is not None:
            self._last_words.logged(self._path, self._at)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size if self._path else 0
        except OSError:
            return 0


@cache
def _c_stdout() -> tuple[Any, ctypes.c_void_p] | None:
    """C's ``fflush`` and ``stdout``; None where they are not found."""
    with suppress(OSError, ValueError, AttributeError):  # another C library uses other names
        library = ctypes.CDLL(None)
        return library.fflush, ctypes.c_void_p.in_dll(library, "stdout")
    return None


def _flush() -> None:
    """Flush C's standard output, which is buffered because it is a file here."""
    if (found := _c_stdout()) is not None:
        flush, stdout = found
        flush(stdout)
