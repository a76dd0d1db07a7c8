"""Whose code a frame runs (a cell, a file of the user, torch, rankbook), and at which line."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

import torch

from rankbook import cellnames
from rankbook.calls import places
from rankbook.cellnames import is_cell
from rankbook.models.calls import Place

__all__ = [
    "NOT_OF_A_PERSON",
    "is_cell",
    "is_of_the_standard_library",
    "is_own",
    "is_user_code",
    "path",
    "where",
    "with_text",
]

NOT_OF_A_PERSON = tuple(
    f"{at}{os.sep}" for at in (Path(torch.__file__).parent, Path(__file__).parents[2])
)
"""How the paths of torch's files, and of ours, begin."""

_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep


def is_user_code(code: CodeType) -> bool:
    """Whether code is a person's: a cell's, or that of a file which belongs to no library."""
    return is_cell(code.co_filename) or is_own(code.co_filename)


def is_own(filename: str) -> bool:
    """Whether a file is the user's: not in a library, and not generated."""
    return not (
        filename.startswith((*NOT_OF_A_PERSON, _STANDARD_LIBRARY, "<")) or "-packages" in filename
    )


def is_of_the_standard_library(filename: str) -> bool:
    """Whether a file is one of Python's own."""
    return filename.startswith(_STANDARD_LIBRARY) and "-packages" not in filename


def where(stack: Iterable[tuple[CodeType, int]]) -> str:
    """Say where code is.

    Args:
        stack: Code and its line, innermost first.

    Returns:
        ``In [4] line 3: dist.all_reduce(x)`` for a cell; for a file or an earlier cell
        ``train.py:6 in step, called from In [4] line 2: dist.all_reduce(x)``, with the text of the
        innermost line; for a script or a test ``train.py:6 in step: dist.all_reduce(x)``; empty if
        none of these is on the stack.
    """
    own: list[tuple[CodeType, int]] = []
    for code, line in stack:
        if places.is_entrance(code.co_filename):
            return _in_files(own)
        if is_cell(code.co_filename) or is_own(code.co_filename):
            own.append((code, line))
    place = cellnames.where(places.place_of(*each) for each in own)
    return with_text(place, *own[0]) if place else ""


def _in_files(own: list[tuple[CodeType, int]]) -> str:
    """The innermost line of the user's files, and that of the script or the test that led there.

    Args:
        own: Code of those files and its line, the innermost first.
    """
    if not own:
        return ""
    inner, outer = own[0], own[-1]
    place = str(places.place_of(*inner))
    if inner[0].co_filename != outer[0].co_filename:
        place = f"{place}, called from {places.place_of(*outer)}"
    return with_text(place, *inner)


def path(stack: Iterable[tuple[CodeType, int]]) -> tuple[Place, ...]:
    """The lines of user code among code and its line, in the same order."""
    own = []
    for code, line in stack:
        if places.is_entrance(code.co_filename):
            break
        if is_user_code(code):
            own.append(places.place_of(code, line))
    return tuple(own)


def with_text(place: str, code: CodeType, line: int) -> str:
    """Add the text of a line to the words for its place, if known."""
    text = places.text_of(code, line)
    return f"{place}: {text}" if text else place
