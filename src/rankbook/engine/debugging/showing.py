"""How a debugger shows frames and places: in the words of the user, without what runs the cell."""

from __future__ import annotations

import linecache
import re
from collections import Counter
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from rankbook.engine.debugging.stepping import Stepping, runs_cells
from rankbook.engine.looking import owners

__all__ = ["Showing", "place"]

_AT = re.compile(r"(?<= at )(.+\.py):(\d+)")
"""The place of a breakpoint in pdb's words."""

_OFTEN = 5
"""How often ``where`` shows a line, which a recursion may reach a thousand times."""


class Showing(Stepping):
    """Calls a line of a cell ``In [7] line 4``, and leaves out the frames that run the cell."""

    def __init__(self, name_of: Callable[[str], str], **streams: Any) -> None:
        """Make one.

        Args:
            name_of: Returns the user's name of a file of code: ``In [7]``, ``train.py``.
            streams: Of pdb: ``stdin``, ``stdout``.
        """
        super().__init__(**streams)
        self._name_of = name_of

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames from the cell's own on, and the one to begin with: one of user code."""
        stack, index = super().get_stack(f, t)
        if t is not None:
            owned = [i for i, (frame, _) in enumerate(stack) if owners.is_user_code(frame.f_code)]
            index = owned[-1] if owned else index
        first = self._first_of_the_cell(stack, index)
        return stack[first:], index - first

    def _first_of_the_cell(self, stack: list[tuple[FrameType, int]], index: int) -> int:
        for i, (frame, _) in enumerate(stack[: index + 1]):
            if owners.is_cell(frame.f_code.co_filename):
                return i
        machinery = [i for i, (frame, _) in enumerate(stack[:index]) if runs_cells(frame)]
        return machinery[-1] + 1 if machinery else 0

    def format_stack_entry(self, frame_lineno: tuple[FrameType, int], lprefix: str = ": ") -> str:
        """A frame in the user's terms: ``In [7] line 4 in step()``, then the line."""
        frame, number = frame_lineno
        code = frame.f_code
        scope = "" if code.co_name == "<module>" else f" in {code.co_name}()"
        text = f"{place(self._name_of(code.co_filename), number)}{scope}"
        if "__return__" in frame.f_locals:
            text += f" -> {_in_short(frame.f_locals['__return__'])}"
        line = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        return f"{text}{lprefix}{line}" if line else text

    def message(self, msg: object) -> None:
        """Print a message, with the place of a breakpoint in the user's terms."""
        super().message(_AT.sub(lambda at: place(self._name_of(at[1]), int(at[2])), str(msg)))

    def print_stack_trace(self, count: int | None = None) -> None:
        """Show the frames, or ``count`` of them (Python 3.14); of a recursion, a few."""
        if count is not None:
            super().print_stack_trace(*[count])
            return
        shown: Counter[tuple[Any, int]] = Counter()
        for at, entry in enumerate(self.stack):
            shown[entry[0].f_code, entry[1]] += 1
            if shown[entry[0].f_code, entry[1]] <= _OFTEN or at == self.curindex:
                self.print_stack_entry(entry)
        if left_out := sum(max(0, times - _OFTEN) for times in shown.values()):
            self.message(f"  ({left_out:,} more frames stand in these lines.)")


def _in_short(value: object) -> str:
    """The beginning of a value's ``repr``, which may raise: a stop must not fail for that."""
    try:
        return f"{value!r:.200}"
    except Exception as error:  # noqa: BLE001 - it is the user's
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


def place(name: str, line: int) -> str:
    """A place in words: ``In [7] line 4``."""
    return f"{name} line {line}"
