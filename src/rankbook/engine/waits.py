"""What waits for a collective announces itself, whoever wrote it and however the handle is kept.

``Work.wait``, and ``wait`` of the futures that a ``Work`` hands out, are replaced by functions that
call torch's. While one of them is on top of a thread's Python stack, the thread waits in C++: for
what, and since when, is in the names of that frame, which another thread can read. So nothing has
to be kept, and no source text has to be understood.

Of blocking collectives it is also noted when they returned: torch's flight recorder knows when one
of gloo's was called, not when it ended. It ends when the ``work.wait()`` in ``torch.distributed``
does. All that adds 3 microseconds to the smallest all_reduce of two ranks on one host, which takes
95 (``benchmarks/timeline.py``). ``frames`` passes over the functions that do it, and IPython's
tracebacks are shown without them.

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

__all__ = ["FUTURE", "P2P", "WORK", "Wait", "Waits", "awaited", "hide", "is_ours"]

Wait = tuple[int, CodeType, int, int, bool]
"""When it began, who waited, in which thread, when it ended (ns since the epoch), and whether in
an exception."""

_NOT_RECORDED = {"send", "recv"}
"""Blocking functions whose calls the flight recorder does not keep on gloo."""

WORK, P2P, FUTURE = "work", "p2p", "future"
"""What a thread can wait for: something asynchronous, a send or recv, or a future of whatever."""

_OF_TWO = {12, 13, 14}
"""torch's numbers for send, recv and recv from any source among the operations of a ``Work``."""

_THEIRS: Any = vars(c10d.Work)["wait"]
_OF_FUTURES: Any = vars(Future)["wait"]
_OURS = {"wait", "wait_for_future"}
"""The functions that stand where torch's do."""


class Waits:
    """Notes the waits of this process, of the functions that ``torch.distributed`` blocks in."""

    def __init__(self) -> None:
        size = os.environ.get("TORCH_FR_BUFFER_SIZE", "")
        kept = int(size) if size.isdecimal() else 0
        self._noted: deque[Wait] = deque(maxlen=2 * max(2000, kept))

    def install(self) -> None:
        """Begin to note, in place of whoever did."""
        c10d.Work.wait = _noting(self._noted)  # type: ignore[method-assign]
        Future.wait = _announcing()  # type: ignore[method-assign]

    @staticmethod
    def remove() -> None:
        """Note no more: what was replaced is torch's own again."""
        c10d.Work.wait = _THEIRS  # type: ignore[method-assign]
        Future.wait = _OF_FUTURES  # type: ignore[method-assign]

    def ended(self) -> list[Wait]:
        """The latest waits that have ended, of recorded collectives, in the order of their ends."""
        return [wait for wait in self._noted.copy() if wait[1].co_name not in _NOT_RECORDED]

    def last(self) -> Wait | None:
        """The wait that has ended last, whatever it was for."""
        return self._noted[-1] if self._noted else None

    @staticmethod
    def waiting() -> dict[int, int]:
        """By thread that waits for a recorded collective, since when; ns since the epoch."""
        return {
            ident: began
            for ident, its in sys._current_frames().items()
            if (began := _began(its)) and _is_noted(its) and _waiter(its) not in _NOT_RECORDED
        }

    @staticmethod
    def since() -> int | None:
        """When the wait began that the main thread is in, for whatever; None if it is in none."""
        frames = sys._current_frames()
        return _began(frames[threading.main_thread().ident or 0])


def _noting(noted: deque[Wait]) -> Callable[..., Any]:
    """Make what stands where ``Work.wait`` does."""
    # Bound once: every blocking collective comes through here, and finds nothing in the caches of
    # the core after it has waited, so that what is touched counts rather than what is computed.
    call, theirs, frame = _THEIRS.__func__, vars(c10d), sys._getframe
    note, now, ident = noted.append, time.time_ns, threading.get_ident

    def wait(work: c10d.Work, timeout: timedelta | None = None) -> Any:
        __tracebackhide__ = True  # in a debugger
        began = now()
        try:
            caller = frame(1)
        except ValueError:  # there is none: a thread was begun with this function
            return call(work) if timeout is None else call(work, timeout)
        if caller.f_globals is not theirs:
            return call(work) if timeout is None else call(work, timeout)
        failed = True
        try:
            done = call(work) if timeout is None else call(work, timeout)
            failed = False
            return done
        finally:
            note((began, caller.f_code, ident(), now(), failed))

    return wait


def _announcing() -> Callable[..., Any]:
    """Make what stands where the ``wait`` of futures does."""
    call, now = _OF_FUTURES.__func__, time.time_ns

    def wait_for_future(future: Any) -> Any:
        __tracebackhide__ = True
        began = now()  # noqa: F841 - read by who looks at this frame
        return call(future)

    return wait_for_future


def is_ours(code: CodeType) -> bool:
    """Whether code is that of a function that stands where one of torch's does."""
    return code.co_filename == __file__ and code.co_name in _OURS


def awaited(frame: FrameType) -> str:
    """What the innermost frame of a thread waits for: ``WORK``, ``P2P``, ``FUTURE``, or nothing."""
    if not is_ours(frame.f_code):
        return ""
    if frame.f_code.co_name == "wait_for_future":
        return FUTURE
    # Without its frame's arguments it has not got to its first line.
    kind = getattr(frame.f_locals.get("work"), "_get_op_type", int)()
    return P2P if kind in _OF_TWO else WORK


def _began(frame: FrameType) -> int | None:
    """When the wait began that a thread is in; None if it is in none."""
    return frame.f_locals.get("began") if is_ours(frame.f_code) else None


def _is_noted(frame: FrameType) -> bool:
    """Whether a frame of ours notes when it returns: it was called by ``torch.distributed``."""
    return frame.f_back is not None and frame.f_back.f_globals is vars(c10d)


def _waiter(frame: FrameType) -> str:
    """The function of torch's that waits in a frame of ours."""
    return frame.f_back.f_code.co_name if frame.f_back else ""


def hide(formatter: Any) -> None:
    """Have IPython format tracebacks as if ``Work.wait`` were torch's own."""
    formats = formatter.structured_traceback

    def structured_traceback(
        etype: Any = None, evalue: Any = None, etb: Any = None, *args: Any, **options: Any
    ) -> Any:
        _take_out(evalue)
        return formats(etype, evalue, etb, *args, **options)

    formatter.structured_traceback = structured_traceback


def _take_out(error: BaseException | None) -> None:
    """Take our frame out of the traceback of an exception, and of those that led to it."""
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
            # The first one is never ours: it is where the exception was caught.
            while trace.tb_next is not None and is_ours(trace.tb_next.tb_frame.f_code):
                trace.tb_next = trace.tb_next.tb_next
            trace = trace.tb_next
