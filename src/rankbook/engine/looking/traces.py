"""Where an exception came from: the lines of user code that its traceback leads through."""

from __future__ import annotations

import traceback
from types import TracebackType

from rankbook.calls import places
from rankbook.engine.looking import owners
from rankbook.engine.looking.owners import is_cell, is_own, where

__all__ = [
    "ends_in_torch",
    "in_lines",
    "line_in_script",
    "line_of",
    "outside_torch",
    "passes_user_code",
    "shortened",
]


def line_of(trace: TracebackType | None) -> str:
    """The innermost line of user code that an exception came through; empty if there is none."""
    if trace is None:
        return ""
    inner = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    # What caught it may not be the cell.
    outer = traceback.walk_stack(trace.tb_frame.f_back) if trace.tb_frame.f_back else ()
    stack = [*reversed(inner), *((frame.f_code, line) for frame, line in outer)]
    return where(stack)


def in_lines(error: BaseException, message: str) -> list[str]:
    """A traceback of the user's lines, as text; the last entry is the exception's own."""
    stack = traceback.walk_tb(error.__traceback__)
    shown = ["Traceback (most recent call last):"]
    for frame, line in stack:
        code = frame.f_code
        if is_cell(code.co_filename) or is_own(code.co_filename):
            shown.append(f"  {places.place_of(code, line)}")
            if text := places.text_of(code, line):
                shown.append(f"    {text}")
    return [*shown, f"{type(error).__name__}: {message}".rstrip(": ")]


def passes_user_code(trace: TracebackType | None) -> bool:
    """Whether an exception came through a person's code, below where it was caught."""
    files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))
    return any(is_cell(filename) or is_own(filename) for filename in files)


def ends_in_torch(trace: TracebackType | None) -> bool:
    """Whether torch, or one of our replacements, raised an exception."""
    *_, last = ["", *(frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))]
    return last.startswith(owners.NOT_OF_A_PERSON)


def line_in_script(trace: TracebackType | None) -> str:
    """The innermost line of the user's files that an exception of a script came through."""
    line = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_own(code.co_filename):
            line = owners.with_text(
                str(places.place_of(code, trace.tb_lineno)), code, trace.tb_lineno
            )
        trace = trace.tb_next
    return line


def outside_torch(trace: TracebackType | None) -> TracebackType | None:
    """A copy of a traceback that ends with the last frame that is neither torch's nor ours.

    Frames of the standard library below torch's count as torch's.
    """
    frames, end = [], 0
    while trace is not None:
        frames.append(trace)
        filename = trace.tb_frame.f_code.co_filename
        is_below = len(frames) - 1 > end and owners.is_of_the_standard_library(filename)
        if not filename.startswith(owners.NOT_OF_A_PERSON) and not is_below:
            end = len(frames)
        trace = trace.tb_next
    copy = None
    for entry in reversed(frames[:end]):
        copy = TracebackType(copy, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return copy


def shortened(trace: TracebackType | None) -> TracebackType | None:
    """A very long traceback without its middle frames: showing all takes seconds."""
    frames, rest = [], trace
    while rest is not None:
        frames.append(rest)
        rest = rest.tb_next
    if len(frames) <= 2 * _AT_EACH_END:
        return trace
    copy = None
    for each in reversed([*frames[:_AT_EACH_END], *frames[-_AT_EACH_END:]]):
        copy = TracebackType(copy, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return copy


_AT_EACH_END = 15
"""How many outermost and innermost frames are shown."""
