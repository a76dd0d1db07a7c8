"""The replacements of ``sys.stdout`` and ``sys.stderr`` in an engine."""

from __future__ import annotations

import codecs
import io
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from rankbook.engine.cells.between import Between
from rankbook.engine.cells.outbox import Outbox
from rankbook.engine.cells.outputs import Outputs

if TYPE_CHECKING:
    from typing_extensions import Buffer


__all__ = ["CapturedStream", "StandardInput"]

_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class Destinations(Protocol):
    """Where the output of this process goes; the capture of cells is that."""

    muted: set[int]
    """Threads whose output is dropped."""
    outbox: Outbox | None
    between: Between
    outputs: Outputs

    def catch_up(self, outbox: Outbox) -> None:
        """Send first what was written past Python before: by a subprocess, for example."""


class CapturedStream(io.TextIOBase):
    """Replaces ``sys.stdout`` or ``sys.stderr`` of the engine permanently.

    Logging handlers and user code keep references to the stream that they found, and their output
    must be shown in later cells, too.
    """

    def __init__(self, name: str, original: Any, capture: Destinations) -> None:
        self.name = name
        self._in_child: Any = None
        self._original = original
        self._capture = capture
        self._buffer = _Bytes(self)

    def write(self, text: str) -> int:
        """Send text where the output of this process goes now."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._capture.muted and get_ident() in self._capture.muted:
            return len(text)
        if self._in_child is not None:
            self._in_child.write(text)
        elif not self._capture.outputs.write(self.name, text):
            outbox = self._capture.outbox
            if outbox is not None:
                self._capture.catch_up(outbox)
            is_sent = outbox is not None and outbox.write(self.name, text)
            if not is_sent and not self._capture.between.write(self.name, text):
                self._original.write(text)
        return len(text)

    def flush(self) -> None:
        """Send pending text, if it is pending here."""
        if self._in_child is not None:
            self._in_child.flush()
        elif self._capture.outbox is None:
            self._original.flush()

    def go_past_python(self) -> None:
        """In a forked child: write whole lines to the descriptor, which the rank reads."""
        self._in_child = open(  # noqa: SIM115 - open as long as the child lives
            self.fileno(),
            "w",
            buffering=1,
            encoding="utf-8",
            errors="backslashreplace",
            closefd=False,
        )

    @property
    def line_buffering(self) -> bool:
        """Whether a whole line is shown at once: always."""
        return True

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Never: it is not a terminal."""
        return False

    def fileno(self) -> int:
        """A descriptor that is read and shown: a child may use it for its output."""
        return _DESCRIPTORS[self.name]

    @property
    def buffer(self) -> io.BufferedIOBase:
        """Takes bytes of UTF-8, as the buffer of any stream does."""
        return self._buffer

    def detach(self) -> io.BufferedIOBase:  # type: ignore[override]
        """Give the buffer to code that makes its own stream on it; this one works on."""
        return self._buffer

    def reconfigure(self, **_options: object) -> None:
        """Change nothing: text is shown at once here, whatever its encoding and line ends."""
        self.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding in which children write to the descriptor."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How text is treated that cannot be encoded."""
        return "backslashreplace"

    def __getattr__(self, name: str) -> Any:
        # ipykernel uses attributes of its own stream class (parent headers, echo).
        return getattr(self._original, name)


class StandardInput(io.TextIOWrapper):
    """The standard input of a rank, which is empty, and stays open.

    Python's ``exit()`` closes it, and the next script may ask whether it is a terminal.
    """

    def __init__(self) -> None:
        super().__init__(open(0, "rb", closefd=False), encoding="utf-8")  # noqa: SIM115

    def close(self) -> None:
        """Leave it open."""


class _Bytes(io.BufferedIOBase):
    """The buffer of a captured stream: scripts write to it, or wrap it in their own streams."""

    def __init__(self, stream: CapturedStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    @property
    def name(self) -> str:
        """The name of the stream."""
        return self._stream.name

    def write(self, data: Buffer) -> int:
        """Write bytes as text; an incomplete character waits for its rest."""
        taken = bytes(data)
        self._stream.write(self._decoder.decode(taken))
        return len(taken)

    def flush(self) -> None:
        """Send what waits."""
        self._stream.flush()

    def close(self) -> None:
        """Stay open: a stream around it would close it when garbage collected."""

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Never."""
        return False

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self._stream.fileno()
