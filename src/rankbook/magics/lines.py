"""Where code is in the cell that the user edits."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rankbook.cellnames import is_cell, name_of

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Typed", "below", "in_line", "leading_blanks", "number_of"]


@dataclass(frozen=True)
class Typed:
    """Code that the user has typed into a cell."""

    text: str
    number: int
    """The number of the cell."""
    first_line: int
    """The line of the editor in which it begins."""

    @property
    def cell(self) -> str:
        """What the cell is called: ``In [4]``."""
        return name_of(self.number, 0)


def below(shell: InteractiveShell, code: str) -> Typed:
    """Find where in the cell the code of a cell magic begins; it reaches to the cell's end."""
    whole, body = _cell(shell), code.splitlines()
    above = len(whole) - len(body)
    is_end = above > 0 and [s.strip() for s in whole[above:]] == [s.strip() for s in body]
    is_all = [s.strip() for s in whole] == [s.strip() for s in body]  # %dist_mode is on
    first = 1 if is_all else above + 1 if is_end else 2  # below a first line of its own
    return Typed(code, number_of(shell), first)


def in_line(shell: InteractiveShell, code: str) -> Typed:
    """Find where in the cell the code of a line magic is."""
    line = 1
    for frame, at in traceback.walk_stack(inspect.currentframe()):
        if is_cell(frame.f_code.co_filename):
            line = at  # the outermost: the cell's own, not that of a function in it
    return Typed(code, number_of(shell), line + leading_blanks(_cell(shell)))


def leading_blanks(lines: list[str]) -> int:
    """How many empty lines come first; IPython drops them."""
    return next((i for i, line in enumerate(lines) if line.strip()), 0)


def number_of(shell: InteractiveShell) -> int:
    """The number of the running cell."""
    # Not execution_count: IPython 9 has already increased it, earlier versions have not.
    return len(shell.user_ns["In"]) - 1


def _cell(shell: InteractiveShell) -> list[str]:
    """The lines of the running cell, as typed."""
    typed = getattr(shell.history_manager, "input_hist_raw", None) or [""]
    return str(typed[-1]).splitlines()
