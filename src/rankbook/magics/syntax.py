"""Finding a cell's syntax errors before it is sent."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from rankbook.errors import RankbookError
from rankbook.magics.lines import Typed, leading_blanks

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellSyntaxError", "check_cell"]

_FILE = re.compile(r'^( *)File "[^"]*", line (\d+)')


class CellSyntaxError(RankbookError):
    """The cell is not valid Python or IPython syntax; it was not sent to any rank."""

    def _render_traceback_(self) -> list[str]:
        return [self.args[0]]


def check_cell(
    shell: InteractiveShell, cell: Typed, is_understood: Callable[[str], bool] = lambda _: False
) -> None:
    """Compile a cell as the ranks will, to report an error once.

    Args:
        shell: Transforms ``!ls`` and magics into Python.
        cell: What was typed.
        is_understood: Asks a rank, whose cells may have added input transformers of their own.

    Raises:
        CellSyntaxError: Shows the line, and where in it.
    """
    above = cell.first_line - 1 + leading_blanks(cell.text.splitlines())
    try:
        code = shell.transform_cell(cell.text)
        compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, below Python 3.11.4
        if is_understood(cell.text):
            return
        shown = "".join(traceback.format_exception_only(error)).rstrip()
        # The first line names a file: the one above, or one that compiled a part of the cell.
        shown = _FILE.sub(lambda m: f"{m[1]}{cell.cell} line {int(m[2]) + above}", shown, count=1)
        raise CellSyntaxError(f"{shown}\nThe cell was not sent to any rank.") from None
