"""Finding a cell's syntax errors before it is sent."""

from __future__ import annotations

import ast
import traceback
from typing import TYPE_CHECKING

from rankbook.errors import RankbookError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellSyntaxError", "check_cell"]


class CellSyntaxError(RankbookError):
    """The cell is not valid Python or IPython syntax; it was not sent to any rank."""

    def _render_traceback_(self) -> list[str]:
        return [self.args[0]]


def check_cell(shell: InteractiveShell, cell: str) -> None:
    """Compile a cell as the ranks will, to report an error once.

    Args:
        shell: Transforms ``!ls`` and magics into Python.
        cell: The cell's text.

    Raises:
        CellSyntaxError: Shows the line, and where in it.
    """
    try:
        code = shell.transform_cell(cell)
        compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, below Python 3.11.4
        shown = "".join(traceback.format_exception_only(error)).rstrip()
        raise CellSyntaxError(f"{shown}\nThe cell was not sent to any rank.") from None
