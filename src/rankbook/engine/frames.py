"""Where the main thread stands, read from its Python frames by the control thread."""

from __future__ import annotations

import linecache
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import torch

from rankbook import calls, cellnames
from rankbook.calls import checks, places, waits
from rankbook.cellnames import is_cell

__all__ = [
    "Position",
    "ends_in_torch",
    "in_lines",
    "is_cell",
    "is_of_a_person",
    "led_through_a_person",
    "line_in_script",
    "line_of",
    "main_frame",
    "other_threads_in_torch_distributed",
    "outside_torch",
    "position",
    "stack",
    "threads_of_the_person",
    "where",
]

_TORCH = f"{os.sep}torch{os.sep}"
_NOT_OF_A_PERSON = tuple(
    f"{at}{os.sep}" for at in (Path(torch.__file__).parent, Path(__file__).parents[1])
)
_STANDARD_LIBRARY = sysconfig.get_path("stdlib") + os.sep
_TORCH_DISTRIBUTED = f"{_TORCH}distributed{os.sep}"

_WAITS = f"{os.sep}rankbook{os.sep}distributed{os.sep}"
"""Our Python in which torch waits: for a key of a store, or until every rank has come."""

_HELPERS = {"wrapper", "inner", "<module>", "<lambda>", "<genexpr>", "<listcomp>"}
"""Functions of ``torch.distributed`` that a person does not call by name."""

_EVENT_LOOP = ("selectors.py", f"asyncio{os.sep}base_events.py")

_AGENT = f"{os.sep}rankbook{os.sep}engine{os.sep}agent.py"


@dataclass(frozen=True)
class Position:
    """Where the main thread stands.

    Attributes:
        line: The innermost line of a person's code, as :func:`where` tells it, and in a script
            ``train.py:6 in step``; empty if neither a cell nor a script is on the stack.
        call: The public function of ``torch.distributed`` that it is in; empty if none.
        arguments: The local names of that call: what it was given.
        in_torch: Whether the innermost frame is torch's, or waits for a handle of torch's: then it
            works or waits in C++.
        awaits: What it has announced to wait for: see :func:`rankbook.calls.waits.awaited`.
        in_loop: Whether it waits in the event loop, or our agent is about to return there.
        in_lock: Whether it waits for another thread of Python.
        in_store: Whether torch, or a person, waits in Python of ours, which polls.
        mark: Differs between two moments if the thread has moved meanwhile.
    """

    line: str = ""
    call: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    in_torch: bool = False
    awaits: str = ""
    in_loop: bool = False
    in_store: bool = False
    in_lock: bool = False
    mark: tuple[tuple[int, int], ...] = ()


def main_frame() -> tuple[FrameType | None, str, bool]:
    """The main thread's innermost frame, below our wrappers of waits.

    Returns:
        It, what it waits for in one of them, and whether it asks there again and again.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return None, "", False
    polls, awaits = checks.is_ours(frame.f_code), waits.awaited(frame)
    while calls.is_ours(frame.f_code) and frame.f_back is not None:
        frame = frame.f_back
    return frame, awaits, polls


def stack() -> list[str]:
    """The main thread's Python stack, formatted, outermost call first."""
    frame, _, _ = main_frame()
    return traceback.format_stack(frame) if frame else []


def position() -> Position:
    """Where the main thread stands at this moment."""
    innermost, awaits, polls = main_frame()
    if innermost is None:
        return Position()
    # Skip our own frames below torch: the position is where torch waits.
    polling = innermost
    while polling.f_back is not None and _is_polling(polling):
        polling = polling.f_back
    filename = polling.f_code.co_filename
    in_store = polling is not innermost and (
        _TORCH in filename or is_cell(filename) or _is_own(filename)
    )
    if in_store:
        innermost = polling
    walk = _Walk(innermost)
    stack = ((each.f_code, each.f_lineno) for each, _ in traceback.walk_stack(innermost))
    return Position(
        where(stack),
        walk.call.f_code.co_name if walk.call else "",
        dict(walk.call.f_locals) if walk.call else {},
        in_torch=bool(awaits) or _TORCH in _below_threading(innermost).f_code.co_filename,
        awaits=awaits,
        in_store=in_store or polls,
        in_lock=innermost.f_code.co_filename == threading.__file__,
        in_loop=walk.in_loop,
        mark=tuple(walk.mark),
    )


class _Walk:
    """What is met on the way from a frame out to the cell or the script."""

    def __init__(self, innermost: FrameType) -> None:
        self.call: FrameType | None = None
        self.mark: list[tuple[int, int]] = []
        self.in_loop = innermost.f_code.co_filename.endswith(_EVENT_LOOP)
        frame: FrameType | None = innermost
        while frame is not None and self._passes(frame):
            frame = frame.f_back

    def _passes(self, frame: FrameType) -> bool:
        """Take note of a frame; return whether to go on with the one that called it."""
        code = frame.f_code
        self.mark.append((id(code), frame.f_lasti))
        self.in_loop = self.in_loop or code.co_filename.endswith(_AGENT)
        if _TORCH_DISTRIBUTED in code.co_filename:
            # The outermost function of torch.distributed is the one that the person called.
            if not code.co_name.startswith("_") and code.co_name not in _HELPERS:
                self.call = frame
        elif code.co_filename.startswith("<frozen importlib"):
            self.call = None  # the module is being imported
        elif is_cell(code.co_filename) or places.is_entrance(code.co_filename):
            return False
        return True


def _in_files(own: list[tuple[CodeType, int]]) -> str:
    """The innermost line of a person's files, and that of the script or the test that led there.

    Args:
        own: Code of those files and its line, the innermost first.
    """
    if not own:
        return ""
    inner, outer = own[0], own[-1]
    place = str(places.place_of(*inner))
    if inner[0].co_filename == outer[0].co_filename:
        return place
    return f"{place}, called from {places.place_of(*outer)}"


def _below_threading(frame: FrameType) -> FrameType:
    """What waits for another thread of Python, where that is the innermost thing: RPC does."""
    while frame.f_back is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return frame


def _is_polling(frame: FrameType) -> bool:
    return _WAITS in frame.f_code.co_filename or calls.is_ours(frame.f_code)


def line_of(trace: TracebackType | None) -> str:
    """The innermost line of a person's that an exception came through; empty if there is none."""
    if trace is None:
        return ""
    inner = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    # What caught it may not be the cell.
    outer = traceback.walk_stack(trace.tb_frame.f_back) if trace.tb_frame.f_back else ()
    stack = [*reversed(inner), *((frame.f_code, line) for frame, line in outer)]
    return where(stack)


def in_lines(error: BaseException, message: str) -> list[str]:
    """A traceback of a person's lines, as text; the last entry is the exception's own."""
    stack = traceback.walk_tb(error.__traceback__)
    shown = ["Traceback (most recent call last):"]
    for frame, line in stack:
        code = frame.f_code
        if is_cell(code.co_filename) or _is_own(code.co_filename):
            shown.append(f"  {places.place_of(code, line)}")
            if text := linecache.getline(code.co_filename, line).strip():
                shown.append(f"    {text}")
    return [*shown, f"{type(error).__name__}: {message}".rstrip(": ")]


def led_through_a_person(trace: TracebackType | None) -> bool:
    """Whether an exception came through a person's code, below where it was caught."""
    files = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))
    return any(is_cell(filename) or _is_own(filename) for filename in files)


def ends_in_torch(trace: TracebackType | None) -> bool:
    """Whether an exception was raised by torch, or by what we put in its place."""
    *_, last = ["", *(frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace))]
    return last.startswith(_NOT_OF_A_PERSON)


def where(stack: Iterable[tuple[CodeType, int]]) -> str:
    """Say where code stands.

    Args:
        stack: Code and its line, innermost first.

    Returns:
        ``In [4] line 3: dist.all_reduce(x)`` of a cell; of a file or an earlier cell ``train.py:6
        in step, called from In [4] line 2``; in a script or a test ``train.py:6 in step``; empty if
        none of these is on the stack.
    """
    own: list[tuple[CodeType, int]] = []
    for code, line in stack:
        if places.is_entrance(code.co_filename):
            return _in_files(own)
        if is_cell(code.co_filename) or _is_own(code.co_filename):
            own.append((code, line))
    place = cellnames.where(places.place_of(*each) for each in own)
    if ", called from " in place or not place:
        return place
    code, line = own[0]
    text = linecache.getline(code.co_filename, line).strip()
    return f"{place}: {text}" if text else place


def line_in_script(trace: TracebackType | None) -> str:
    """The innermost line of a person's file that an exception of a script came through."""
    line = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_own(code.co_filename):
            line = str(places.place_of(code, trace.tb_lineno))
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
        is_below = len(frames) - 1 > end and _is_of_the_standard_library(filename)
        if not filename.startswith(_NOT_OF_A_PERSON) and not is_below:
            end = len(frames)
        trace = trace.tb_next
    copy = None
    for entry in reversed(frames[:end]):
        copy = TracebackType(copy, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return copy


def threads_of_the_person() -> dict[int, bool]:
    """By thread beside the main one that runs a person's code, whether it waits for another."""
    main = threading.main_thread().ident
    found = {}
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and ident != main:
            filename = frame.f_code.co_filename
            if is_cell(filename) or _is_own(filename):
                found[ident] = innermost.f_code.co_filename == threading.__file__
                break
            frame = frame.f_back
    return found


def other_threads_in_torch_distributed() -> bool:
    """Whether a thread other than the main one is in a call of ``torch.distributed``."""
    main = threading.main_thread().ident
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost
        while frame is not None and ident != main:
            if _TORCH_DISTRIBUTED in frame.f_code.co_filename:
                return True
            frame = frame.f_back
    return False


def _is_of_the_standard_library(filename: str) -> bool:
    return filename.startswith(_STANDARD_LIBRARY) and "-packages" not in filename


def _is_own(filename: str) -> bool:
    """Whether a file is a person's: no library's, and none that no one has written."""
    return not (
        filename.startswith((*_NOT_OF_A_PERSON, _STANDARD_LIBRARY, "<")) or "-packages" in filename
    )


def is_of_a_person(code: CodeType) -> bool:
    """Whether code is a person's: a cell's, or that of a file which belongs to no library."""
    return is_cell(code.co_filename) or _is_own(code.co_filename)
