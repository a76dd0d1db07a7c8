"""Catching what a cell says: streams, rich displays, the last value, exceptions.

Everything goes into the outbox of the request that runs. While none runs, all of it takes the way
it took before, so that ``%%px`` and other clients of the same engine see what they always saw.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
import tokenize
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rankbook.engine import frames
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import Failure
from rankbook.models.events import Clear, Display, Result

if TYPE_CHECKING:
    from rankbook.engine.cells.outbox import Outbox

__all__ = ["Capture", "ends_in_semicolon"]


class _Stream(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr`` of the engine for as long as it lives.

    It is never swapped back: logging handlers and user code keep references to the stream that
    they found, and must still be heard in later cells.
    """

    def __init__(self, name: str, original: Any, capture: Capture) -> None:
        self.name = name
        self._original = original
        self._capture = capture

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        outbox = self._capture.outbox
        if outbox is None:
            return self._original.write(text)  # type: ignore[no-any-return]
        if text:
            outbox.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        if self._capture.outbox is None:
            self._original.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._original.fileno()  # type: ignore[no-any-return]

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def __getattr__(self, name: str) -> Any:
        # ipykernel reaches for attributes of its own stream class (parent headers, echo).
        return getattr(self._original, name)


class Capture:
    """Installed once per engine; ``outbox`` says where output goes just now.

    Attributes:
        cell: What runs, IPython's own syntax replaced.
        freed: Whether the session has interrupted the cell, or is about to.
        cut: Whether it has cut the connections under it, or is about to.
    """

    def __init__(self, shell: Any) -> None:
        self.outbox: Outbox | None = None
        self.failure: Failure | None = None
        self.cell = ""
        self.freed = self.cut = False
        self._shows = shell.showtraceback
        shell.showtraceback = self._show
        self._shell = shell
        sys.stdout = _Stream("stdout", sys.stdout, self)
        sys.stderr = _Stream("stderr", sys.stderr, self)
        shell.display_pub.register_hook(self._on_display)
        # Private in IPython, but it is the very method that ipykernel overrides to send its
        # 'error' message, unchanged in IPython 7 to 9. A test of ours fails if it goes.
        self._showtraceback = shell._showtraceback
        shell._showtraceback = self._on_error
        hook = shell.displayhook
        self._finish_result, hook.finish_displayhook = hook.finish_displayhook, self._on_result
        self._quiet, hook.quiet = hook.quiet, self._is_quiet

    def begin(self, outbox: Outbox) -> None:
        """Send what is said from now on into an outbox."""
        self.outbox, self.failure, self.cell = outbox, None, ""
        self.freed = self.cut = False

    def end(self) -> Failure | None:
        """Send it where it went before; return the exception that was shown meanwhile."""
        self.outbox = None
        return self.failure

    def _is_quiet(self) -> bool:
        """Whether the cell ends in a semicolon; IPython asks a history that we do not keep."""
        if self.outbox is None:
            return bool(self._quiet())
        return ends_in_semicolon(self.cell)

    def _on_result(self) -> None:
        """Take the last value of a cell where ipykernel would publish it."""
        hook = self._shell.displayhook
        if self.outbox is None:
            self._finish_result()
            return
        if hook.msg and hook.msg["content"]["data"]:
            content = hook.msg["content"]
            self.outbox.put(Result(content["data"], content["metadata"]))
        hook.msg = None

    def _on_display(self, msg: dict[str, Any]) -> dict[str, Any] | None:
        if self.outbox is None:
            return msg
        self.outbox.put(_display(msg["header"]["msg_type"], msg["content"]))
        return None

    def _on_error(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        if self.outbox is None:
            self._showtraceback(etype, evalue, stb)
            return
        freed = self._is_end(etype)
        if freed and etype is not KeyboardInterrupt:  # while it was shown
            etype, evalue, _ = _interrupt(evalue)
            stb = self._render(evalue)
        if issubclass(etype, SystemExit):
            # IPython shows no traceback of it, for in a terminal it ends the program.
            stb = self._render(evalue)
        line = frames.line_of(evalue.__traceback__)
        self.failure = Failure(etype.__name__, _text(evalue), tuple(stb), time.time(), freed, line)

    def unshown(self, error: BaseException) -> Failure:
        """What ended the cell, where IPython has not shown it.

        An interrupt that arrives while it shows an exception ends the showing.
        """
        freed, line = self._is_end(type(error)), frames.line_of(error.__traceback__)
        if freed:
            error = KeyboardInterrupt()
        return Failure(type(error).__name__, _text(error), (), time.time(), freed, line)

    def _is_end(self, etype: type[BaseException]) -> bool:
        """Whether an exception is what freeing the rank has come to."""
        ends = (*_INTERRUPTS, RuntimeError) if self.cut else _INTERRUPTS
        return self.freed and issubclass(etype, ends)

    def _render(self, error: BaseException) -> list[str]:
        render = self._shell.InteractiveTB.structured_traceback
        lines: list[str] = render(type(error), error, error.__traceback__, tb_offset=1)
        return lines

    def _show(self, exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        """Show an exception; of a rank that was freed, without being interrupted once more."""
        if self.outbox is None or not self.freed:
            self._shows(exc_tuple, *args, **options)
            return
        with ignore_ctrl_c(_SHOWING):
            error = (exc_tuple or sys.exc_info())[1]
            if error is not None and self._is_end(type(error)):
                exc_tuple = _interrupt(error)
            self._shows(exc_tuple, *args, **options)


def ends_in_semicolon(cell: str) -> bool:
    """Whether the last thing in a cell, comments apart, is a semicolon: its value is not shown.

    IPython has a function for this from 8.10 on, and it raises where a cell is no Python.

    Args:
        cell: As it runs, IPython's own syntax replaced.
    """
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(cell).readline))
    except (tokenize.TokenError, SyntaxError):
        return cell.rstrip().endswith(";")
    last = next((token for token in reversed(tokens) if token.type not in beside), None)
    return last is not None and last.type == tokenize.OP and last.string == ";"


def _display(kind: str, content: Mapping[str, Any]) -> Display | Clear:
    """What a cell shows, from the message in which ipykernel would send it."""
    if kind == "clear_output":
        return Clear()
    return Display(
        content["data"],
        content["metadata"],
        content.get("transient", {}).get("display_id", ""),
        update=kind == "update_display_data",
    )


_INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)
"""What an interrupt raises in a cell; the end of a connection raises torch's RuntimeErrors."""

_SHOWING = 1.0
"""Seconds that showing an exception may take: more only where a person's ``__str__`` does."""


def _interrupt(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """What freeing made of a call, as it is to the person: an interrupt of their own code.

    How it came about in torch ("connection closed by peer", and an exception during another) is not
    theirs, and it takes long to show: half a second on a slow core for the file of its collectives.
    """
    trace = frames.outside_torch(error.__traceback__)
    interrupt = KeyboardInterrupt(*(error.args if isinstance(error, KeyboardInterrupt) else ()))
    return KeyboardInterrupt, interrupt.with_traceback(trace), trace


def _text(value: BaseException) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a person's __str__ can raise anything
        return f"<its message cannot be shown: {type(error).__name__}: {error}>"
