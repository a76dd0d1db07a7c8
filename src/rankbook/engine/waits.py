"""Every wait for a collective is announced, in any code and through any handle.

``Work.wait``, and ``wait`` of the futures that a ``Work`` hands out, are replaced by functions that
call torch's. While one of them is on top of a thread's Python stack, the thread waits in C++. What
it waits for, and since when, are local variables of that frame, which another thread can read. So
nothing has to be stored, and no source text has to be understood.

For blocking collectives the moment of return is noted as well: torch's flight recorder knows when a
collective of gloo was called, not when it ended. It ends when the ``work.wait()`` in
``torch.distributed`` does. All this adds 3 microseconds to the smallest all_reduce of two ranks on
one host, which takes 95 (``benchmarks/timeline.py``). ``frames`` skips these functions, and so do
IPython's tracebacks.

Setting methods of pybind11 classes works in torch 2.8 to 2.15;
``tests/unit/test_private_api.py`` says so if torch begins to wait in another way.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from types import CodeType, FrameType
from typing import Any

import torch.distributed.distributed_c10d as c10d
from torch._C import Future

from rankbook import calls

__all__ = [
    "FUTURE",
    "P2P",
    "WORK",
    "Wait",
    "Waits",
    "above_the_account",
    "awaited",
    "hide",
    "is_ours",
]

Wait = tuple[int, CodeType, int, int, bool]
"""When it began, who waited, in which thread, when it ended (ns since the epoch), and whether in
an exception."""

_NOT_RECORDED = {"send", "recv"}
"""Blocking functions whose calls the flight recorder does not keep on gloo."""

WORK, P2P, FUTURE = "work", "p2p", "future"
"""What a thread can wait for: an asynchronous collective, a send or recv, or any future."""

_OF_TWO = {12, 13, 14}
"""torch's numbers for send, recv and recv from any source among the operations of a ``Work``."""

_OURS = {"wait", "wait_for_future"}
"""Names of the functions that replace torch's."""


class Waits:
    """Notes the waits of this process, of the functions that ``torch.distributed`` blocks in."""

    def __init__(self) -> None:
        size = os.environ.get("TORCH_FR_BUFFER_SIZE", "")
        kept = int(size) if size.isdecimal() else 0
        self._noted: deque[Wait] = deque(maxlen=2 * max(2000, kept))

    def install(self) -> None:
        """Note waits from now on, in place of an earlier instance."""
        below_work, below_future = vars(c10d.Work)["wait"], vars(Future)["wait"]
        # The account may have replaced them before; an earlier instance is taken out.
        below_work = getattr(below_work, "below", below_work)
        below_future = getattr(below_future, "below", below_future)
        c10d.Work.wait = _noting(self._noted, below_work)  # type: ignore[method-assign]
        Future.wait = _announcing(below_future)  # type: ignore[method-assign]

    @staticmethod
    def remove() -> None:
        """Stop noting: restore torch's own functions."""
        for owner in (c10d.Work, Future):
            replaced = vars(owner)["wait"]
            setattr(owner, "wait", getattr(replaced, "below", replaced))  # noqa: B010

    def ended(self) -> list[Wait]:
        """The latest waits for recorded collectives, in the order in which they ended."""
        return [wait for wait in self._noted.copy() if wait[1].co_name not in _NOT_RECORDED]

    def last(self) -> Wait | None:
        """The wait that ended last, for whatever call."""
        return self._noted[-1] if self._noted else None

    @staticmethod
    def waiting() -> dict[int, int]:
        """By thread that waits for a recorded collective, since when; ns since the epoch."""
        return {
            ident: began
            for ident, frame in sys._current_frames().items()
            if (began := _began(frame)) and _is_noted(frame) and _waiter(frame) not in _NOT_RECORDED
        }

    @staticmethod
    def since() -> int | None:
        """When the wait began that the main thread is in; None if it is in none."""
        frames = sys._current_frames()
        return _began(frames[threading.main_thread().ident or 0])


def _noting(noted: deque[Wait], below: Any) -> Callable[..., Any]:
    """Make the function that replaces ``Work.wait``."""
    # Bound once: every blocking collective runs this, with cold caches after its wait, so each
    # object that is touched costs more than what is computed.
    call, of_torch = getattr(below, "__func__", below), vars(c10d)
    frame = sys._getframe
    note, now, ident = noted.append, time.time_ns, threading.get_ident

    def wait(work: c10d.Work, timeout: timedelta | None = None) -> Any:
        __tracebackhide__ = True  # in a debugger
        began = now()
        try:
            caller = frame(1)
        except ValueError:  # no caller: a thread was started with this function
            return call(work) if timeout is None else call(work, timeout)
        if caller.f_globals is not of_torch:
            return call(work) if timeout is None else call(work, timeout)
        failed = True
        try:
            done = call(work) if timeout is None else call(work, timeout)
            failed = False
            return done
        finally:
            note((began, caller.f_code, ident(), now(), failed))

    wait.below = below  # type: ignore[attr-defined]
    return wait


def _announcing(below: Any) -> Callable[..., Any]:
    """Make the function that replaces ``Future.wait``."""
    call, now = getattr(below, "__func__", below), time.time_ns

    def wait_for_future(future: Any) -> Any:
        __tracebackhide__ = True
        began = now()  # noqa: F841 - read from another thread
        return call(future)

    wait_for_future.below = below  # type: ignore[attr-defined]
    return wait_for_future


def is_ours(code: CodeType) -> bool:
    """Whether code belongs to one of the functions that replace torch's."""
    return (code.co_filename == __file__ and code.co_name in _OURS) or calls.is_ours(code)


def above_the_account(frame: FrameType) -> FrameType:
    """Skip the frames of the account's own functions, which call torch's."""
    while calls.is_ours(frame.f_code) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def awaited(frame: FrameType) -> str:
    """What the innermost frame of a thread waits for: ``WORK``, ``P2P``, ``FUTURE``, or nothing."""
    if frame.f_code.co_filename != __file__:
        return ""
    if frame.f_code.co_name == "wait_for_future":
        return FUTURE
    # The frame has no arguments yet before its first line runs.
    kind = getattr(frame.f_locals.get("work"), "_get_op_type", int)()
    return P2P if kind in _OF_TWO else WORK


def _began(frame: FrameType) -> int | None:
    """When the wait began that a thread is in; None if it is in none."""
    frame = above_the_account(frame)
    return frame.f_locals.get("began") if frame.f_code.co_filename == __file__ else None


def _is_noted(frame: FrameType) -> bool:
    """Whether a frame of ours notes its return: ``torch.distributed`` has called it."""
    frame = above_the_account(frame)
    return frame.f_back is not None and frame.f_back.f_globals is vars(c10d)


def _waiter(frame: FrameType) -> str:
    """The function of torch that called a frame of ours."""
    frame = above_the_account(frame)
    return frame.f_back.f_code.co_name if frame.f_back else ""


def hide(formatter: Any) -> None:
    """Make IPython format tracebacks as if ``Work.wait`` were torch's own."""
    formats = formatter.structured_traceback

    def structured_traceback(
        etype: Any = None, evalue: Any = None, etb: Any = None, *args: Any, **options: Any
    ) -> Any:
        _remove_ours(evalue)
        return formats(etype, evalue, etb, *args, **options)

    formatter.structured_traceback = structured_traceback


def _remove_ours(error: BaseException | None) -> None:
    """Remove our frames from the traceback of an exception and of its causes."""
    seen: set[int] = set()
    errors = [error]
    while errors:
        error = errors.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        errors += [error.__cause__, error.__context__]
        trace = error.__traceback__
        while trace is not None:
            # The first entry is never ours: the exception was caught there.
            while trace.tb_next is not None and is_ours(trace.tb_next.tb_frame.f_code):
                trace.tb_next = trace.tb_next.tb_next
            trace = trace.tb_next
