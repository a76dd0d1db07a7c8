"""The position of the main thread, read from its Python frames by the control thread."""

from __future__ import annotations

import os
import selectors
import sys
import threading
import traceback
from collections.abc import Collection
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rankbook import calls
from rankbook.calls import blocking, checks, places
from rankbook.calls.waits import SOON
from rankbook.engine.looking import timers
from rankbook.engine.looking.locks import waits_for_lock
from rankbook.engine.looking.owners import is_cell, is_own, where
from rankbook.heap import frames_of_others

__all__ = [
    "Position",
    "line_of",
    "main_frame",
    "other_threads_in_torch_distributed",
    "others_go_on",
    "position",
    "stack",
    "user_threads",
    "waits_for_thread",
]

_TORCH = f"{os.sep}torch{os.sep}"
_TORCH_DISTRIBUTED = f"{_TORCH}distributed{os.sep}"

_WAITS = f"{os.sep}rankbook{os.sep}distributed{os.sep}"
"""Our Python code in which torch waits: for a key of a store, or for all ranks."""

_HELPERS = {"wrapper", "inner", "<module>", "<lambda>", "<genexpr>", "<listcomp>"}
"""Functions of ``torch.distributed`` that the user does not call by name."""

_EXECUTOR, _WORKER = f"concurrent{os.sep}futures{os.sep}thread.py", "_worker"
"""The loop in which an executor's thread waits for work; above it, it does some."""

_EVENT_LOOP = ("selectors.py", f"asyncio{os.sep}base_events.py")

_AGENT = f"{os.sep}rankbook{os.sep}engine{os.sep}agent.py"


@dataclass(frozen=True)
class Position:
    """The position of the main thread.

    Attributes:
        line: The innermost line of user code, from :func:`.owners.where`; empty if neither a cell
            nor a script is on the stack.
        call: The public function of ``torch.distributed`` that it is in; empty if none.
        arguments: The local names of that call, which include its arguments.
        in_torch: Whether the innermost frame is torch's, or waits for a torch handle, so that it
            works or waits in C++.
        awaits: Its announced wait, see :func:`rankbook.calls.blocking.awaited`.
        in_loop: Whether it waits in the event loop, or our agent is about to return there.
        in_lock: Whether it waits for another Python thread.
        gives_up: Whether that wait ends by itself soon: it has a timeout.
        in_store: Whether torch, or user code, waits in our Python code, which polls.
        mark: A value that changes when the thread moves.
    """

    line: str = ""
    call: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    in_torch: bool = False
    awaits: str = ""
    in_loop: bool = False
    in_store: bool = False
    in_lock: bool = False
    gives_up: bool = False
    mark: tuple[tuple[int, int], ...] = ()


def main_frame() -> tuple[FrameType | None, str, bool]:
    """The main thread's innermost frame, below our wrappers of waits.

    Returns:
        The frame, its wait in one of them, and whether it polls there.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return None, "", False
    polls, awaits = checks.is_ours(frame.f_code), blocking.awaited(frame)
    while calls.is_ours(frame.f_code) and frame.f_back is not None:
        frame = frame.f_back
    return frame, awaits, polls


def stack() -> list[str]:
    """The main thread's Python stack, formatted, outermost call first."""
    frame, _, _ = main_frame()
    return traceback.format_stack(frame) if frame else []


def position() -> Position:
    """The present position of the main thread."""
    innermost, awaits, polls = main_frame()
    if innermost is None:
        return Position()
    # Skip our own frames below torch: the position is where torch waits.
    polling = innermost
    while polling.f_back is not None and _is_polling(polling):
        polling = polling.f_back
    filename = polling.f_code.co_filename
    in_store = polling is not innermost and (
        _TORCH in filename or is_cell(filename) or is_own(filename)
    )
    if in_store:
        innermost = polling
    walk = _Walk(innermost)
    return Position(
        where(places.lines_above(innermost)),
        walk.call.f_code.co_name if walk.call else "",
        dict(walk.call.f_locals) if walk.call else {},
        in_torch=bool(awaits) or _TORCH in _below_threading(innermost).f_code.co_filename,
        awaits=awaits,
        in_store=in_store or polls,
        in_lock=_waits_for_threads(innermost),
        gives_up=_gives_up(innermost),
        in_loop=walk.in_loop,
        mark=tuple(walk.mark),
    )


class _Walk:
    """The findings on the way from a frame out to the cell or the script."""

    def __init__(self, innermost: FrameType) -> None:
        self.call: FrameType | None = None
        self.mark: list[tuple[int, int]] = []
        self.in_loop = innermost.f_code.co_filename.endswith(_EVENT_LOOP)
        frame: FrameType | None = innermost
        while frame is not None and self._passes(frame):
            frame = frame.f_back

    def _passes(self, frame: FrameType) -> bool:
        """Note a frame; return whether to go on with its caller."""
        code = frame.f_code
        self.mark.append((id(code), frame.f_lasti))
        self.in_loop = self.in_loop or code.co_filename.endswith(_AGENT)
        if _TORCH_DISTRIBUTED in code.co_filename:
            # The outermost function of torch.distributed is the one that the user called.
            if not code.co_name.startswith("_") and code.co_name not in _HELPERS:
                self.call = frame
        elif code.co_filename.startswith("<frozen importlib"):
            self.call = None  # the module is being imported
        elif is_cell(code.co_filename) or places.is_entrance(code.co_filename):
            return False
        return True


def _below_threading(frame: FrameType) -> FrameType:
    """The frame below ``threading``, where a thread waits for another one: RPC does."""
    while frame.f_back is not None and frame.f_code.co_filename == threading.__file__:
        frame = frame.f_back
    return frame


def _gives_up(frame: FrameType) -> bool:
    """Whether a wait in ``threading`` has a timeout that comes soon."""
    while frame.f_back is not None and frame.f_code.co_filename == threading.__file__:
        timeout = frame.f_locals.get("timeout")
        if isinstance(timeout, (int, float)) and 0 <= timeout <= SOON:
            return True
        frame = frame.f_back
    return False


def _is_polling(frame: FrameType) -> bool:
    return _WAITS in frame.f_code.co_filename or calls.is_ours(frame.f_code)


def user_threads() -> dict[int, bool]:
    """By thread beside the main one that runs what a person wants, whether it waits for another."""
    main = threading.main_thread().ident
    found = {}
    for ident, innermost in frames_of_others().items():
        frame: FrameType | None = innermost
        while frame is not None and ident != main:
            filename = frame.f_code.co_filename
            is_work = filename.endswith(_EXECUTOR) and frame.f_code.co_name != _WORKER
            if is_work or is_cell(filename) or is_own(filename):
                found[ident] = _waits_for_threads(innermost)
                break
            frame = frame.f_back
    return found


def others_go_on(waits: Collection[int]) -> bool:
    """Whether a thread runs what a person wants, and is not among these nor waits for another."""
    return any(
        thread not in waits and not is_in_lock for thread, is_in_lock in user_threads().items()
    )


def waits_for_thread(thread: int) -> bool:
    """Whether a thread waits for another one, or as an executor's for work, or has ended."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return True
    is_free = frame.f_code.co_filename.endswith(_EXECUTOR) and frame.f_code.co_name == _WORKER
    return is_free or _waits_for_threads(frame)


def line_of(thread: int) -> str:
    """The line of user code that a thread runs; empty if it runs none."""
    return places.line_of_call(sys._current_frames().get(thread))


def _waits_for_threads(frame: FrameType) -> bool:
    """Whether the innermost call of a thread ends only by an act of another Python thread."""
    filename, caller = frame.f_code.co_filename, frame.f_back
    if filename != selectors.__file__ or caller is None:
        return filename == threading.__file__ or waits_for_lock(frame)
    # An event loop that no timer wakes soon; its only file is the one by which threads wake it.
    selects = frame.f_code.co_name == "select" and caller.f_code.co_filename.endswith(_EVENT_LOOP)
    held = frame.f_locals if selects else {}
    if held.get("timeout", 0) == 0 or timers.pending(caller.f_locals.get("self")) != []:
        return False
    files = held["self"].get_map()
    return files is not None and len(files) == 1


def other_threads_in_torch_distributed() -> bool:
    """Whether a thread other than the main one is in a call of ``torch.distributed``."""
    main = threading.main_thread().ident
    for ident, innermost in frames_of_others().items():
        frame: FrameType | None = innermost
        while frame is not None and ident != main:
            if _TORCH_DISTRIBUTED in frame.f_code.co_filename:
                return True
            frame = frame.f_back
    return False
