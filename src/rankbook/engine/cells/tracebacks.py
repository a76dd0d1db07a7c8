"""Tracebacks without our wrappers of torch's functions, and without empty lines above a cell."""

from __future__ import annotations

import re
import traceback
from types import TracebackType
from typing import Any

from rankbook import calls
from rankbook.cellnames import cell_of

__all__ = ["has_group", "hide", "plain"]

_COLOUR = r"(?:\x1b\[[0-9;]*m)*"
_EMPTY_LINES_ABOVE = re.compile(rf"^([^\n]*\n)(?:{_COLOUR} *\d+{_COLOUR} *{_COLOUR}\n)+")
"""The first line of a frame, and the numbers of the empty lines below it."""

_FILE = re.compile(r'(?<=  )File "([^"\n]+)", line ')


def hide(formatter: Any) -> None:
    """Make IPython format tracebacks without frames of our wrappers, or empty lines above a cell.

    Where a cell has ``%%dist``, its code has an empty line, whose number IPython shows.

    Args:
        formatter: The shell's ``InteractiveTB``.
    """
    formats = formatter.structured_traceback

    def structured_traceback(
        etype: Any = None, evalue: Any = None, etb: Any = None, *args: Any, **options: Any
    ) -> Any:
        _remove_ours(evalue)
        lines = formats(etype, evalue, etb, *args, **options)
        return [_EMPTY_LINES_ABOVE.sub(r"\1", line) for line in lines]

    formatter.structured_traceback = structured_traceback


def has_group(error: BaseException | None) -> bool:
    """Whether an exception is an exception group, or was raised while one was handled.

    IPython (to 9) does not format these: it prints Python's own traceback.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # By name: Python 3.10 has none, and a backport has its own class.
        if any(cls.__name__ == "BaseExceptionGroup" for cls in type(error).__mro__):
            return True
        error = error.__context__
    return False


def plain(error: BaseException, trace: TracebackType | None) -> list[str]:
    """The traceback of an exception as Python prints it.

    Args:
        error: The exception.
        trace: The traceback to begin with.
    """
    _remove_ours(error)
    text = "".join(traceback.format_exception(type(error), error, trace))
    return _FILE.sub(_with_cell, text).rstrip("\n").split("\n")


def _with_cell(line: re.Match[str]) -> str:
    """The line of a frame; of a cell's with its name, which is the same on all ranks."""
    cell = cell_of(line[1])
    return f'File "{cell}", line ' if cell else line[0]


def _remove_ours(error: BaseException | None) -> None:
    """Remove our frames from the traceback of an exception and of its causes."""
    seen: set[int] = set()
    errors = [error]
    while errors:
        error = errors.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        errors += [error.__cause__, error.__context__]
        trace = error.__traceback__
        while trace is not None:
            # The first entry is never ours: it caught the exception.
            while trace.tb_next is not None and calls.is_ours(trace.tb_next.tb_frame.f_code):
                trace.tb_next = trace.tb_next.tb_next
            trace = trace.tb_next
