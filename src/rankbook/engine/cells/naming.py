"""Compiling a cell's code under the cell's name, with the editor's line numbers.

IPython compiles the text that it gets; ``%%dist`` has cut off the first line, and more lines may
precede it. So empty lines are put before a cell's code. Then frames, tracebacks, warnings and the
fault handler all report the editor's line, and none of them has to be corrected.
"""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from IPython.core.compilerop import CachingCompiler

from rankbook.cellnames import cell_of, file_of, is_named
from rankbook.engine.cells import stacks
from rankbook.models.requests import Run

__all__ = ["Naming"]


class Naming:
    """Installed once per engine."""

    def __init__(self, shell: Any) -> None:
        self._cell: Run | None = None
        self._above = 0
        self._compiler = shell.compile = _Compiler(shell.compile)
        shell.input_transformers_cleanup.insert(0, self._see)
        shell.input_transformers_post.append(self._move)
        # Not ``formatwarning``: that hook is not told of the object that a warning is about.
        warnings._formatwarnmsg_impl = _format_warning  # type: ignore[attr-defined]

    def begin(self, cell: Run) -> None:
        """Name code that is compiled from now on."""
        self._cell = self._compiler.cell = cell
        self._compiler.file = ""

    def end(self) -> None:
        """Leave the naming of code to IPython again."""
        self._cell = self._compiler.cell = None

    def _see(self, lines: list[str]) -> list[str]:
        """Count the lines above a text that IPython is about to transform."""
        self._above = self._count(lines) if self._cell else 0
        return lines

    def _count(self, lines: list[str]) -> int:
        assert self._cell is not None  # noqa: S101 - lines are counted in cells only
        whole = self._cell.code.splitlines()
        blank = next((i for i, line in enumerate(lines) if line.strip()), 0)  # IPython drops them
        if [line.rstrip() for line in lines] == [
            line.rstrip() for line in whole[len(whole) - len(lines) :]
        ]:  # the cell, or the text below a magic in it
            return self._cell.first_line - 1 + len(whole) - len(lines) + blank
        # Another text, run by some line of the cell.
        return (_line_that_runs(self._compiler.file) or self._cell.first_line) - 1 + blank

    def _move(self, lines: list[str]) -> list[str]:
        return ["\n"] * self._above + lines


class _Compiler(CachingCompiler):
    """Names the code of our cells; leaves code of other clients to the former compiler."""

    def __init__(self, before: CachingCompiler) -> None:
        super().__init__()
        self._before = before
        self.flags = before.flags
        self.cell: Run | None = None
        self.file = ""
        """The latest compiled part of the cell."""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        if self.cell is None:
            return self._before.get_code_name(raw_code, transformed_code, number)
        self.file = file_of(self.cell.name)
        return self.file

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        name = super().cache(transformed_code, number, raw_code)
        if self.cell is not None and raw_code is not None:
            _show_as_typed(name, transformed_code, raw_code)
        return name

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        if is_named(name):
            cell = cell_of(name)
            return ("Cell", cell) if cell.startswith("In") else ("Cell", cell.removeprefix("cell "))
        return super().format_code_name(name)

    def __call__(self, source: Any, filename: str, symbol: str, **options: Any) -> Any:
        # Magics that compile the cell's text call it <timed exec> and so on.
        if self.file and self.cell is not None and filename.startswith("<"):
            filename = self.file
        return super().__call__(source, filename, symbol, **options)


def _show_as_typed(name: str, transformed: str, raw: str) -> None:
    """Show the lines of a cell as typed: ``%run train.py``, not its transformation."""
    made, typed = transformed.splitlines(), raw.strip("\n").splitlines()
    above = next((i for i, line in enumerate(made) if line), 0)
    is_magic = bool(typed) and typed[0].startswith("%%")
    if is_magic or len(made) - above == len(typed):
        lines = [*made[:above], *typed]
        linecache.cache[name] = len(raw), None, [f"{line}\n" for line in lines], name


def _line_that_runs(file: str) -> int:
    """The running line of a cell; 0 if none runs."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == file:
            return frame.f_lineno
        frame = frame.f_back
    return 0


_format: Callable[[warnings.WarningMessage], str] = warnings._formatwarnmsg_impl  # type: ignore[attr-defined]
"""What Python 3.6 to 3.14 format warnings with."""


def _format_warning(message: warnings.WarningMessage) -> str:
    """Format a warning; for a line of a cell, name the cell, equally on all ranks."""
    file, line = message.filename, message.lineno
    if stacks.is_below(file, line):  # a level beyond all that the person's code has
        its = message.message, message.category, "sys", 1, message.file, "", message.source
        return _format(warnings.WarningMessage(*its))
    told = _format(message)
    cell = cell_of(file)
    return told.replace(f"{file}:{line}:", f"{cell} line {line}:", 1) if cell else told
