"""Capturing the output of a cell: streams, rich displays, the last value, exceptions.

All of it goes into the outbox of the job that runs. While none runs, it goes where ipykernel sends
it, so that ``%%px`` and other clients of the same engine see what they always saw.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import time
import tokenize
from collections.abc import Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rankbook.distributed import adopting, healing
from rankbook.engine import frames, handling
from rankbook.engine.cells.between import Between
from rankbook.errors import MismatchError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import Failure
from rankbook.models.events import Clear, Display, Result

if TYPE_CHECKING:
    from rankbook.engine.cells.outbox import Outbox

__all__ = ["Capture", "ends_in_semicolon", "text"]


class _Stream(io.TextIOBase):
    """Replaces ``sys.stdout`` or ``sys.stderr`` of the engine for good.

    Logging handlers and a person's code keep references to the stream that they found, and what
    they write must be shown in later cells, too.
    """

    def __init__(self, name: str, original: Any, capture: Capture) -> None:
        self.name = name
        self._in_child: Any = None
        self._original = original
        self._capture = capture

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self._capture.muted and get_ident() in self._capture.muted:
            return len(text)
        outbox = self._capture.outbox
        if self._in_child is not None:
            self._in_child.write(text)
        elif outbox is not None:
            outbox.write(self.name, text)
        else:
            self._original.write(text)
            if threading.current_thread() is not threading.main_thread():
                self._capture.between.write(self.name, text)
        return len(text)

    def flush(self) -> None:
        if self._in_child is not None:
            self._in_child.flush()
        elif self._capture.outbox is None:
            self._original.flush()

    def go_past_python(self) -> None:
        """In a forked child: write whole lines to the descriptor, which the rank reads."""
        descriptor = 1 if self.name == "stdout" else 2
        self._in_child = open(  # noqa: SIM115 - it lives as long as the child
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )

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
        # ipykernel uses attributes of its own stream class (parent headers, echo).
        return getattr(self._original, name)


class Capture:
    """Installed once per engine.

    Attributes:
        outbox: Where output goes now; None: where ipykernel sends it.
        muted: Threads whose output is dropped.
        between: What is said while it goes nowhere.
        failure: The exception that was shown last.
        cell: What runs, IPython's own syntax replaced.
        freed: Whether the session has interrupted the cell, or is about to.
        in_script: Whether a script runs instead of a cell.
        cut: Whether it has cut the connections under it, or is about to.
    """

    def __init__(self, shell: Any) -> None:
        self.outbox: Outbox | None = None
        self.muted: set[int] = set()
        self.between = Between()
        self.failure: Failure | None = None
        self.cell = ""
        self.freed = self.cut = self.in_script = False
        self._first: BaseException | None = None
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        self._shows = shell.showtraceback
        shell.showtraceback = self._show
        self._shell = shell
        self._streams = _Stream("stdout", sys.stdout, self), _Stream("stderr", sys.stderr, self)
        sys.stdout, sys.stderr = self._streams
        os.register_at_fork(after_in_child=self._in_child)
        shell.display_pub.register_hook(self._on_display)
        # Private in IPython, unchanged in IPython 7 to 9: ipykernel overrides it to send its
        # 'error' message. tests/unit/test_private_api.py fails if it goes.
        self._showtraceback = shell._showtraceback
        shell._showtraceback = self._on_error
        hook = shell.displayhook
        self._finish_result, hook.finish_displayhook = hook.finish_displayhook, self._on_result
        self._quiet, hook.quiet = hook.quiet, self._is_quiet

    def _in_child(self) -> None:
        """Let what a forked child prints be seen: nobody takes anything from its outbox."""
        self.outbox = None
        for stream in self._streams:
            stream.go_past_python()

    def begin(self, outbox: Outbox, *, in_script: bool = False) -> None:
        """Send output into an outbox from now on."""
        self.outbox, self.failure, self.cell = outbox, None, ""
        self.in_script = in_script
        for stream, text in self.between.take():
            outbox.write(stream, text)
        self.freed = self.cut = False
        self._first = None

    def end(self) -> Failure | None:
        """Send output where it went before; return the exception that was shown meanwhile."""
        self.outbox = None
        return self.failure

    def _is_quiet(self) -> bool:
        """Whether the cell ends in a semicolon; IPython would look into a history that is empty."""
        if self.outbox is None:
            return bool(self._quiet())
        return ends_in_semicolon(self.cell)

    def _on_result(self) -> None:
        """Send the last value of a cell where ipykernel would publish it."""
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
        if (
            freed and etype is not KeyboardInterrupt and evalue is not self._first
        ):  # the rank was freed while IPython showed an exception
            etype, evalue, _ = _interrupt(evalue)
            stb = self._render(evalue)
        elif better := healing.explain(evalue) or adopting.explain(evalue):
            trace = frames.outside_torch(evalue.__traceback__)
            etype, evalue = type(better), better.with_traceback(trace)
            stb = self._render(evalue)
        if issubclass(etype, SystemExit):
            # IPython shows no traceback of SystemExit, which ends the program in a terminal.
            stb = self._render(evalue)
        if evalue is self._first:
            # IPython takes the line at which a frame ended for that at which it raised.
            freed, stb = False, frames.in_lines(evalue, text(evalue))
        line = self._line_of(evalue)
        slot = evalue.slot if isinstance(evalue, MismatchError) else None
        self.failure = Failure(
            etype.__name__, text(evalue), tuple(stb), time.time(), freed, line, slot
        )

    def exited(self, error: SystemExit, code: int) -> None:
        """Note that a script has ended itself with an exit code that is not 0."""
        line = self._line_of(error)
        if not isinstance(error.code, int):  # as Python does
            sys.stderr.write(f"{error.code}\n")
        text = f"exit code {code}"
        shown = (f"SystemExit: {text} ({line})" if line else f"SystemExit: {text}",)
        self.failure = Failure("SystemExit", text, shown, time.time(), self.freed, line)

    def unshown(self, error: BaseException) -> Failure:
        """The exception that ended the cell, where IPython has not shown it.

        An interrupt that arrives while IPython shows an exception ends that as well.
        """
        freed, line = self._is_end(type(error)), self._line_of(error)
        if freed:
            error = KeyboardInterrupt()
        return Failure(type(error).__name__, text(error), (), time.time(), freed, line)

    def _line_of(self, error: BaseException) -> str:
        find = frames.line_in_script if self.in_script else frames.line_of
        return find(error.__traceback__)

    def _is_end(self, etype: type[BaseException]) -> bool:
        """Whether an exception is the result of freeing the rank."""
        ends = (*_INTERRUPTS, RuntimeError) if self.cut else _INTERRUPTS
        return self.freed and issubclass(etype, ends)

    def _on_unraisable(self, unraisable: Any) -> None:
        """Say nothing of what freeing has ended in a destructor: the verdict says it."""
        if not self._is_end(unraisable.exc_type):
            self._unraisable(unraisable)

    def _raised_first(
        self, error: BaseException
    ) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
        """The exception that the cell was handling when the rank was freed, which began it all."""

        def is_end(one: BaseException) -> bool:
            torchs = isinstance(one, RuntimeError) and frames.ends_in_torch(one.__traceback__)
            return isinstance(one, _INTERRUPTS) or (self.cut and torchs)

        self._first = handling.original(error, is_end, frames.led_through_a_person)
        if self._first is None:
            return None
        return type(self._first), self._first, self._first.__traceback__

    def _render(self, error: BaseException) -> list[str]:
        render = self._shell.InteractiveTB.structured_traceback
        lines: list[str] = render(type(error), error, error.__traceback__, tb_offset=1)
        return lines

    def _show(self, exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        """Show an exception; while the rank is being freed, ignore further interrupts."""
        if self.outbox is None or not self.freed:
            self._shows(exc_tuple, *args, **options)
            return
        with ignore_ctrl_c(_SHOWING):
            error = (exc_tuple or sys.exc_info())[1]
            if error is not None and self._is_end(type(error)):
                exc_tuple = self._raised_first(error) or _interrupt(error)
            self._shows(exc_tuple, *args, **options)


def ends_in_semicolon(cell: str) -> bool:
    """Whether a cell ends in a semicolon, comments apart: then its value is not shown.

    IPython has a function for this from 8.10 on, which raises where a cell is not Python.

    Args:
        cell: The cell with IPython's own syntax replaced.
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
"""What an interrupt raises in a cell. A cut connection raises one of torch's RuntimeErrors."""

_SHOWING = 1.0
"""Seconds for showing an exception; only a person's ``__str__`` takes longer."""


def _interrupt(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """The ``KeyboardInterrupt`` that stands for an exception by which a rank was freed.

    How torch came to raise ("connection closed by peer", and an exception during another) does not
    help a person, and showing it takes half a second on a slow core.
    """
    trace = frames.outside_torch(error.__traceback__)
    interrupt = KeyboardInterrupt(*(error.args if isinstance(error, KeyboardInterrupt) else ()))
    return KeyboardInterrupt, interrupt.with_traceback(trace), trace


def text(value: BaseException) -> str:
    """The message of an exception, whatever its ``__str__`` does."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a person's __str__ can raise anything
        return f"<its message cannot be shown: {type(error).__name__}: {error}>"
