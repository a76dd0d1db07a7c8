"""Which exception ended a cell, and how it is shown.

A freed rank was interrupted, or its connections were cut. The resulting exception is meaningless,
so the exception that the cell was handling is shown, or a plain ``KeyboardInterrupt``.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError

from rankbook.distributed import adopting, healing, remote
from rankbook.engine.cells import loguru, stacks, tracebacks
from rankbook.engine.looking import handling, traces
from rankbook.engine.looking.leftovers import Leftovers
from rankbook.errors import MismatchError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import Failure

__all__ = ["Failures", "text"]


class Failures:
    """Replaces IPython's display of exceptions; installed once per engine.

    Attributes:
        last: The exception shown last in the present or last cell.
        freed: Whether the session has interrupted the cell, or is about to.
        cut: Whether it has cut the cell's connections, or is about to.
        in_script: Whether a script runs instead of a cell.
        leftovers: The objects that exceptions keep alive.
    """

    def __init__(self, shell: Any) -> None:
        self.last: Failure | None = None
        self.freed = self.cut = self.in_script = False
        self.leftovers = Leftovers()
        self._is_on = self._is_again = False
        self._first: BaseException | None = None
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
        self._shell = shell
        self._shows, shell.showtraceback = shell.showtraceback, self._show
        # Private in IPython, unchanged in IPython 7 to 9: ipykernel overrides the first to send its
        # 'error' message. tests/unit/test_private_api.py fails if one goes.
        self._missing = [name for name in _PRIVATE if not hasattr(shell, name)]
        if not self._missing:
            self._showtraceback, shell._showtraceback = shell._showtraceback, self._on_error
            tracebacks.hide(shell.InteractiveTB)
        loguru.begin_at_cells()
        stacks.begin_at_cells()

    def lacking(self) -> tuple[str, ...]:
        """What is not as it should be where IPython lacks private names, a sentence; else empty."""
        if not self._missing:
            return ()
        names = " and ".join(self._missing)
        return (
            f"a cell's errors are shown as plain Python tracebacks: this IPython has no {names}.",
        )

    def begin(self, *, in_script: bool = False) -> None:
        """From now on, count shown exceptions as the end of the cell, or script."""
        self.last, self._first = None, None
        self.freed = self.cut = False
        self.in_script, self._is_on = in_script, True

    def end(self) -> Failure | None:
        """Leave exceptions to IPython; return the one that was shown meanwhile."""
        self._is_on = False
        return self.last

    def _on_error(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        if not self._is_on:
            self._showtraceback(etype, evalue, stb)
            return
        if self._is_again:
            print("\n".join(stb))  # noqa: T201 - it has not ended this cell
            return
        freed = self.is_end(etype)
        if (
            freed and etype is not KeyboardInterrupt and evalue is not self._first
        ):  # the rank was freed while IPython showed an exception
            etype, evalue, _ = _interrupt(evalue)
        elif better := _explained(evalue):
            trace = traces.outside_torch(evalue.__traceback__)
            etype, evalue = type(better), better.with_traceback(trace)
            stb = self._render(evalue)
        if issubclass(etype, SystemExit):
            # IPython shows no traceback of SystemExit, which ends the program in a terminal.
            stb = self._render(evalue)
        if freed or evalue is self._first:
            freed = evalue is not self._first
            stb = traces.in_lines(evalue, text(evalue))
        line = self._line_of(evalue)
        slot = evalue.slot if isinstance(evalue, MismatchError) else None
        self.last = Failure(
            etype.__name__, text(evalue), tuple(stb), time.time(), freed, line, slot
        )
        if not freed:
            self.leftovers.note(evalue.__traceback__, self.last)

    def exited(self, error: SystemExit, code: int) -> None:
        """Note that a script exited with a code that is not 0."""
        line = self._line_of(error)
        if not isinstance(error.code, int):  # as Python does
            sys.stderr.write(f"{error.code}\n")
        text = f"exit code {code}"
        shown = (f"SystemExit: {text} ({line})" if line else f"SystemExit: {text}",)
        self.last = Failure("SystemExit", text, shown, time.time(), self.freed, line)

    def unshown(self, error: BaseException) -> Failure:
        """The exception that ended the cell, where IPython has not shown it.

        An interrupt that arrives while IPython shows an exception ends that display.
        """
        freed, line = self.is_end(type(error)), self._line_of(error)
        if freed:
            error = KeyboardInterrupt()
        return Failure(type(error).__name__, text(error), (), time.time(), freed, line)

    def _line_of(self, error: BaseException) -> str:
        find = traces.line_in_script if self.in_script else traces.line_of
        return find(error.__traceback__)

    def is_end(self, etype: type[BaseException]) -> bool:
        """Whether an exception is the result of freeing the rank."""
        ends = (*_INTERRUPTS, RuntimeError) if self.cut else _INTERRUPTS
        return self.freed and issubclass(etype, ends)

    def _on_unraisable(self, unraisable: Any) -> None:
        """Hide exceptions of destructors that freeing ended: the verdict explains them."""
        if not self.is_end(unraisable.exc_type):
            self._unraisable(unraisable)

    def _raised_first(
        self, error: BaseException
    ) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
        """The original exception, which the cell was handling when the rank was freed."""

        def is_end(one: BaseException) -> bool:
            torchs = isinstance(one, RuntimeError) and traces.ends_in_torch(one.__traceback__)
            return isinstance(one, _INTERRUPTS) or (self.cut and torchs)

        self._first = handling.original(error, is_end, traces.passes_user_code)
        if self._first is None:
            return None
        return type(self._first), self._first, self._first.__traceback__

    def _render(self, error: BaseException) -> list[str]:
        if self._missing:
            return tracebacks.plain(error, error.__traceback__)
        render = self._shell.InteractiveTB.structured_traceback
        lines: list[str] = render(type(error), error, error.__traceback__, tb_offset=1)
        return lines

    def _show(self, exc_tuple: Any = None, *args: Any, **options: Any) -> None:
        """Show an exception; while the rank is being freed, ignore further interrupts."""
        if not (self._is_on and self.freed):
            self._present(exc_tuple, *args, **options)
            return
        with ignore_ctrl_c(_SHOWING):
            error = (exc_tuple or sys.exc_info())[1]
            if error is not None and self.is_end(type(error)):
                # IPython would take half the time in which many ranks of a host are freed, and
                # mistakes the line at which a frame ended for the line that raised.
                kind, error, trace = self._raised_first(error) or _interrupt(error)
                _keep_last(kind, error, trace)
                self._on_error(kind, error, [])
                return
            self._present(exc_tuple, *args, **options)

    def _present(self, exc_tuple: Any, *args: Any, **options: Any) -> None:
        """Have IPython show an exception, except those that it prints without returning them."""
        kind, error, trace = exc_tuple or sys.exc_info()
        if self._is_on and isinstance(error, UsageError):
            error = _of_the_notebook(error)
            self._on_error(type(error), error, [f"UsageError: {error}"])
            return
        is_ours = self._is_on and (self._missing or tracebacks.has_group(error))
        if error is None or not is_ours:
            if (short := traces.shortened(trace)) is not trace:
                exc_tuple = kind, error, short
            self._is_again = error is None  # %tb: nothing has been raised now
            try:
                self._shows(exc_tuple, *args, **options)
            finally:
                self._is_again = False
            return
        if exc_tuple is None and trace is not None:
            trace = trace.tb_next  # the first entry is IPython's own
        _keep_last(type(error), error, trace)
        self._on_error(type(error), error, tracebacks.plain(error, trace))


_PRIVATE = ("_showtraceback", "InteractiveTB")

_INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)
"""The exceptions of an interrupt in a cell. A cut connection raises torch's RuntimeError."""

_SHOWING = 1.0
"""Seconds for showing an exception; only a user's ``__str__`` takes longer."""


def _keep_last(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Keep an exception for debuggers, as IPython does with those that it shows."""
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace


def _interrupt(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """The ``KeyboardInterrupt`` shown instead of the exception of a freed rank.

    How torch came to raise ("connection closed by peer", and an exception during another) does not
    help a user, and showing it takes half a second on a slow core.
    """
    trace = traces.outside_torch(error.__traceback__)
    interrupt = KeyboardInterrupt(*(error.args if isinstance(error, KeyboardInterrupt) else ()))
    return KeyboardInterrupt, interrupt.with_traceback(trace), trace


def _explained(error: BaseException) -> BaseException | None:
    """An error that says what to do, where torch's does not; None where there is none."""
    return healing.explain(error) or adopting.explain(error) or remote.explain(error)


def _of_the_notebook(error: UsageError) -> UsageError:
    """The error for a magic that a rank lacks and the notebook may have."""
    found = re.search("magic (?:function )?`(%+(?:dist(?:_[a-z]+)?|rank))`", str(error))
    if found is None:
        return error
    return UsageError(
        f"{found[1]} is a magic of the notebook: run it in a cell without %%dist and %%rank."
    )


def text(value: BaseException) -> str:
    """The message of an exception, whatever its ``__str__`` does."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a user's __str__ can raise anything
        return f"<its message cannot be shown: {type(error).__name__}: {error}>"
