"""Which line of user code a call comes from, found in a microsecond."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType

import torch

from rankbook.calls import compiled
from rankbook.cellnames import cell_of, is_cell
from rankbook.models.calls import Place

__all__ = [
    "Spot",
    "cell_above",
    "in_words",
    "innermost",
    "is_entrance",
    "is_of_rankbook",
    "is_told_of",
    "line_of_call",
    "lines_above",
    "place_of",
    "spot",
    "spot_of",
    "text_of",
    "user_lines",
]

_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_OF_THE_AGENT = f"{_OURS}engine{os.sep}agent.py"
_ENTRANCES = {
    str(Path(_OURS, "engine", "cells", "script.py")),
    str(Path(_OURS, "testing", "on_rank.py")),
    str(Path(_OURS, "teach", "judging.py")),
}
"""What calls user code that no cell contains: it calls a script, the body of a test, or a
learner's function that is tried."""
_STAND_INS = {
    str(Path(__file__).with_name(f"{name}.py")) for name in ("blocking", "kernels", "methods")
}
_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_STANDARD_LIBRARY = f"{sysconfig.get_path('stdlib')}{os.sep}"

_MACHINERY = tuple(
    f"{_TORCH}{room}"
    for room in ("_dynamo", "_functorch", "_inductor", "_library", "_ops.py", f"fx{os.sep}")
)
"""The parts of torch that run compiled code or call any operator: no user calls them."""
_WRITTEN_BY_NOBODY = ("<frozen ", "<string>")

_OTHERS, _OF_TORCH, _BELOW, _GRAPH, _AGENT, _CELL, _ENTRANCE = range(7)
"""Kinds of files: the user's or a library's, torch's, one that is never named, that of a compiled
graph, the engine's agent, which runs all that a session asks for, a cell, and what calls a script
or a test."""

_HELPERS = {"wrapper", "inner", "<lambda>", "<genexpr>", "<listcomp>"}
"""torch functions that no one calls by name."""

_DEEPEST = 24
"""How many frames above a line of user code are searched for its cell."""

_MOST = 4096
"""How many lines are remembered."""

_kinds: dict[str, int] = {}
_spots: dict[tuple[int, int], Spot] = {}


class Spot:
    """One instruction of user code; its line is computed once."""

    __slots__ = ("code", "place")

    def __init__(self, code: CodeType, line: int) -> None:
        self.code = code  # keeps its id from being reused
        self.place = place_of(code, line)

    @property
    def text(self) -> str:
        """The text of the line; empty if unknown."""
        return text_of(self.code, self.place.line)


def place_of(code: CodeType, line: int) -> Place:
    """The place of a line of code."""
    cell = cell_of(code.co_filename)
    scope = compiled.scope(code.co_name)
    if scope.startswith("<"):  # a lambda, a comprehension: the function around it
        scope = getattr(code, "co_qualname", "").partition(".<locals>")[0]
        scope = "" if scope.startswith("<") else scope.rpartition(".")[2]
    return Place(cell or code.co_filename, line, scope, bool(cell))


def text_of(code: CodeType, line: int) -> str:
    """The text of a line of code; empty if unknown."""
    if not is_cell(code.co_filename):
        linecache.checkcache(code.co_filename)  # it may have been edited and loaded again
    return linecache.getline(code.co_filename, line).strip()


def spot(frame: FrameType | None) -> tuple[Spot | None, Spot | None, str]:
    """Find the user's line above a frame.

    Returns:
        The innermost line outside of torch, rankbook and the standard library; the cell's line that
        led there, if that is another one; and the torch function that was called there.
    """
    function = ""
    kinds = _kinds
    while frame is not None:
        code = frame.f_code
        kind = kinds.get(code.co_filename)
        if kind is None:
            kind = _kind(code.co_filename)
        if kind == _OF_TORCH:  # most of them, so it is asked first
            name = code.co_name
            if name not in _HELPERS and name[0] != "_":
                function = name
        elif kind == _CELL:
            return spot_of(frame), None, function
        elif kind == _OTHERS:
            return spot_of(frame), cell_above(frame), function
        elif kind == _GRAPH and (found := _of_persons(compiled.lines(frame))):
            return *_in_graph(found, frame), function
        elif kind == _AGENT:
            break  # no user code called it: an engine joins or leaves a group
        frame = frame.f_back
    return None, None, function


def lines_above(frame: FrameType | None) -> Iterator[compiled.Line]:
    """The code of a frame and of those that called it, with its line; of compiled code its source.

    What runs compiled code stands in no line of it, and is left out.
    """
    runs: CodeType | None = None
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(compiled.GRAPH) and (found := compiled.lines(frame)):
            yield from found
            runs = found[-1][0]
        elif runs is not None and _is_same(code, runs):
            runs = None
        else:
            yield code, frame.f_lineno
        frame = frame.f_back


def is_entrance(filename: str) -> bool:
    """Whether code of that file calls a script, or a test: cells above it do not count."""
    return filename in _ENTRANCES


def line_of_call(frame: FrameType | None) -> str:
    """Say which line of user code led to a frame: :attr:`rankbook.models.calls.Making.line`."""
    found, cell, _ = spot(frame)
    return in_words(found, cell)


def in_words(found: Spot | None, cell: Spot | None) -> str:
    """Name a line of user code, and the line of a cell that led there; empty if there is none."""
    if found is None:
        return ""
    place = f"{found.place}, called from {cell.place}" if cell else str(found.place)
    return f"{place}: {found.text}" if found.text else place


def user_lines(frame: FrameType | None) -> tuple[tuple[CodeType, int], ...]:
    """Code above a frame, up to the cell or the script, with its lines; not torch's or Python's."""
    found: list[tuple[CodeType, int]] = []
    for _ in range(_DEEPEST):
        if frame is None:
            break
        kind = _kinds.get(frame.f_code.co_filename)
        kind = _kind(frame.f_code.co_filename) if kind is None else kind
        if kind >= _AGENT and kind != _CELL:
            break
        if kind in (_OTHERS, _CELL):
            found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(found)


def innermost(thread: int) -> Place | None:
    """The present line of user code of a thread."""
    found, _, _ = spot(sys._current_frames().get(thread))
    return found.place if found else None


def is_of_rankbook(code: CodeType) -> bool:
    """Whether code is ours."""
    return code.co_filename.startswith(_OURS)


def is_told_of(frame: FrameType | None) -> bool:
    """Whether one of our replacements of torch functions is above a frame."""
    while frame is not None:
        if frame.f_code.co_filename in _STAND_INS:
            return True
        frame = frame.f_back
    return False


def spot_of(frame: FrameType) -> Spot:
    """The instruction at which a frame of user code stands, always the same object."""
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    found = _spots.get(key)
    if found is None or found.code is not code:
        if len(_spots) >= _MOST:
            _spots.clear()
        found = _spots[key] = Spot(code, frame.f_lineno)
    return found


def _of_persons(lines: tuple[compiled.Line, ...]) -> list[compiled.Line]:
    """Those lines that are neither torch's nor Python's."""
    return [each for each in lines if _kind(each[0].co_filename) in (_OTHERS, _CELL)]


def _in_graph(found: list[compiled.Line], frame: FrameType) -> tuple[Spot, Spot | None]:
    """The innermost of the lines that a graph was made of, and the cell's that led there."""
    inner, *outer = (_spot_at(*each) for each in found)
    if inner.place.is_cell:
        return inner, None
    return inner, next((each for each in outer if each.place.is_cell), cell_above(frame))


@lru_cache(maxsize=_MOST)
def _spot_at(code: CodeType, line: int) -> Spot:
    return Spot(code, line)


def _is_same(code: CodeType, other: CodeType) -> bool:
    return (code.co_filename, code.co_name) == (other.co_filename, other.co_name)


def cell_above(frame: FrameType) -> Spot | None:
    """The line of a cell that led to a frame of user code in a file; None if there is none."""
    above, kinds = frame.f_back, _kinds
    for _ in range(_DEEPEST):
        if above is None:
            return None
        filename = above.f_code.co_filename
        kind = kinds.get(filename)
        if kind is None:
            kind = _kind(filename)
        if kind >= _CELL:
            return spot_of(above) if kind == _CELL else None
        above = above.f_back
    return None


def _kind(filename: str) -> int:
    if filename == _OF_THE_AGENT:
        kind = _AGENT
    elif is_cell(filename):
        kind = _CELL
    elif filename in _ENTRANCES:
        kind = _ENTRANCE
    elif filename.startswith(compiled.GRAPH):
        kind = _GRAPH
    elif filename.startswith((_OURS, *_MACHINERY, *_WRITTEN_BY_NOBODY)):
        kind = _BELOW
    elif filename.startswith(_TORCH):
        kind = _OF_TORCH
    elif filename.startswith(_STANDARD_LIBRARY) and "-packages" not in filename:
        kind = _BELOW
    elif filename.endswith("typing_extensions.py") or "torchinductor_" in filename:
        kind = _BELOW  # torch decorates with it, or has written it
    else:
        kind = _OTHERS
    if len(_kinds) >= _MOST:
        _kinds.clear()
    _kinds[filename] = kind
    return kind
