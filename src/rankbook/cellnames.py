"""The name of a cell, ``In [4]`` or ``cell 3``, and the file names of its code.

Python identifies code by a file name, in frames, tracebacks, warnings and the output of a process
that crashes. So the file of a cell has the cell's name, and its lines are numbered as in the
editor: a frame alone says where it is, on any machine.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

# Does not import the models: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.models.calls import Place

__all__ = ["cell_of", "file_of", "in_text", "is_cell", "is_named", "name_of", "where"]

_FILE = re.compile(r"ipykernel_\d+[/\\]\d+[/\\]([^/\\]+)\.py$")
_IN_TEXT = re.compile(r"[^\s\"']*ipykernel_\d+[/\\]\d+[/\\]([^/\\\n]+)\.py")
_OF_IPYTHON = re.compile(r"ipykernel_\d|<ipython-input")
"""Code that other clients of an engine run, ``%%px`` for example."""

_SOME_CELL = "a cell"

_serial = count(1)


def name_of(number: int, nth: int) -> str:
    """Name a cell.

    Args:
        number: Number of the notebook's cell; 0: a program ran it.
        nth: How many cells the session had run with it.
    """
    return f"In [{number}]" if number else f"cell {nth}"


def file_of(name: str) -> str:
    """Make up a file name for a cell, a new one each time because its code can change."""
    # Libraries recognise code of a notebook by the name of this folder.
    folder = f"ipykernel_{os.getpid()}"
    # Of every cell: a Path takes ten times as long.
    return os.path.join(tempfile.gettempdir(), folder, str(next(_serial)), f"{name}.py")  # noqa: PTH118


def is_cell(filename: str) -> bool:
    """Whether code of that file is a cell's."""
    return _OF_IPYTHON.search(filename) is not None


def is_named(filename: str) -> bool:
    """Whether a file is one of :func:`file_of`."""
    return _FILE.search(filename) is not None


def cell_of(filename: str) -> str:
    """The name of the cell whose code has that file name; empty if there is none."""
    if match := _FILE.search(filename):
        return match[1]
    return _SOME_CELL if is_cell(filename) else ""


def in_text(text: str) -> str:
    """Write in a text what cells are called, instead of their files: ``File: In [4]``."""
    return _IN_TEXT.sub(r"\1", text)


def where(stack: Iterable[Place]) -> str:
    """Say where code is, in the form of all messages.

    Args:
        stack: Lines of user code, innermost first.

    Returns:
        ``In [4] line 3`` for a cell; for a file or an earlier cell ``train.py:6 in step, called
        from In [4] line 2``; empty if no cell is on the stack.
    """
    lines = list(stack)
    cells = [line for line in lines if line.is_cell]
    if not cells:
        return ""
    running = next(line for line in cells if line.file == cells[-1].file)
    inner = lines[0]
    if inner is running:
        return str(running)
    scope = f" in {inner.scope}" if inner.is_cell and inner.scope else ""
    return f"{inner}{scope}, called from {running}"
