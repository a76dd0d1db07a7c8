"""Exceptions that were caught and are kept: in a variable, in a list, on an object.

A rank that has caught one goes on, perhaps to a collective that the others have not reached. This
rank alone cannot show that the exception is the cause: it is, if another rank is still in the lines
that the exception made this one leave.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from types import CodeType, FrameType

from rankbook.calls.places import place_of
from rankbook.calls.statements import innermost, of_file
from rankbook.engine.looking.leftovers import OF_EVERYBODY
from rankbook.models.looks import Lines

__all__ = ["exceptions", "left_by"]

_SEARCHED = 2000
"""How many objects are searched for exceptions."""

_MOST = 4
"""How many exceptions are reported."""


def exceptions(thread: int, is_user_code: Callable[[CodeType], bool]) -> list[BaseException]:
    """The exceptions that the names hold of what a thread runs.

    Args:
        thread: ``threading.get_ident()`` of the thread.
        is_user_code: Whether code is the user's.
    """
    stack = [each for each, _ in traceback.walk_stack(sys._current_frames().get(thread))]
    own = [frame for frame in stack if is_user_code(frame.f_code)]
    calls = [frame for frame in own if frame.f_locals is not frame.f_globals]
    modules = [frame for frame in own if frame.f_locals is frame.f_globals]
    found = _held(calls)
    # Names of cells may hold an exception of an earlier cell, which has another file.
    files = {frame.f_code.co_filename for frame in modules}
    found += [error for error in _held(modules) if _caught_in(error) in files]
    raised = [error for error in found if error.__traceback__ is not None]
    return list({id(error): error for error in raised}.values())[:_MOST]


def _caught_in(error: BaseException) -> str:
    return error.__traceback__.tb_frame.f_code.co_filename if error.__traceback__ else ""


def _held(frames: Iterable[FrameType]) -> list[BaseException]:
    """The exceptions among the objects that names of frames hold, directly or indirectly."""
    names = (reversed(list(frame.f_locals.values())) for frame in frames)
    ahead = deque(chain.from_iterable(names))
    found: list[BaseException] = []
    seen: set[int] = set()
    while ahead and len(seen) < _SEARCHED:
        one = ahead.popleft()
        if id(one) in seen or issubclass(type(one), OF_EVERYBODY):
            continue
        seen.add(id(one))
        if issubclass(
            type(one), BaseException
        ):  # reading __class__ of some objects has side effects
            found.append(one)
        else:
            ahead += gc.get_referents(one)
    return found


def left_by(error: BaseException, is_user_code: Callable[[CodeType], bool]) -> tuple[Lines, ...]:
    """The lines that an exception has thrown a rank out of.

    These are all lines of the functions that it ended, and the ``try`` of the one that caught it.
    """
    found = []
    for depth, (frame, line) in enumerate(traceback.walk_tb(error.__traceback__)):
        code = frame.f_code
        if not is_user_code(code):
            continue
        if not depth:
            first, last = _try_around(code.co_filename, line)
        else:
            numbers = [number for _, _, number in code.co_lines() if number]
            first, last = code.co_firstlineno, max(numbers)
        found.append(Lines(place_of(code, line).file, first, last))
    return tuple(found)


def _try_around(filename: str, line: int) -> tuple[int, int]:
    """First and last line of the body of the innermost ``try`` around a line."""
    found = innermost(of_file(filename) or (), line, "try")
    return (found.body[0].first, found.last) if found and found.body else (line, line)
