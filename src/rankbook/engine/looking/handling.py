"""The exception for which a rank runs an ``except``, ``finally``, ``__exit__`` or a destructor.

Such a rank has raised, but its cell has not ended: it may wait there in a collective, and the
original exception would never be seen. Objects that an exception kept alive are destroyed at the
end of the ``except`` that handled it: by then only that place is known, not the exception.
"""

from __future__ import annotations

import dis
import gc
import inspect
import itertools
import linecache
import sys
import traceback
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import cast

from rankbook.heap import instances

__all__ = ["original", "raised_by", "when_dropped"]

_CONTROL_FLOW = (StopIteration, StopAsyncIteration, GeneratorExit)

_DESTRUCTORS = {"__del__", "close", "aclose"}

_RAISES = {"RAISE_VARARGS", "RERAISE", "END_ASYNC_FOR", "CLEANUP_THROW"}
"""Operations that raise again what has come to the frame before, at another place."""


Raised = tuple[BaseException, "TracebackType | None"]
"""An exception, and its traceback."""


def raised_by(thread: int, is_user_code: Callable[[TracebackType | None], bool]) -> Raised | None:
    """The exception that a thread handles, or that is on its way through it; None if none is.

    Args:
        thread: ``threading.get_ident()`` of the thread.
        is_user_code: Whether a traceback leads through user code: torch and other
            libraries use exceptions for purposes of their own.
    """
    active = sys._current_exceptions().get(thread)
    error = active[1] if isinstance(active, tuple) else active  # before Python 3.12
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        seen.add(id(error))
        if not isinstance(error, _CONTROL_FLOW) and is_user_code(error.__traceback__):
            return error, error.__traceback__
        error = error.__context__
    return _on_its_way(sys._current_frames().get(thread), is_user_code)


def _on_its_way(
    frame: FrameType | None, is_user_code: Callable[[TracebackType | None], bool]
) -> Raised | None:
    """The exception that unwinds a stack, on which an object is being destroyed because of it.

    While a frame is left, what only that frame held is destroyed: a generator is closed,
    ``__del__`` runs. Python keeps the exception out of sight; its traceback has the frame.
    """
    stack = [each for each, _ in traceback.walk_stack(frame)]
    if not any(map(_is_destroyed, stack)):
        return None
    found = instances(BaseException, TracebackType)
    try:
        return _unwinding(found, stack, is_user_code)
    finally:
        found.clear()  # another thread may have seen this frame, which would keep its objects alive


def _unwinding(
    found: list[object],
    stack: list[FrameType],
    is_user_code: Callable[[TracebackType | None], bool],
) -> Raised | None:
    """Find the exception whose traceback leads through frames that are still on a stack."""

    def is_its(trace: TracebackType | None) -> bool:
        return trace is not None and _unwinds(trace, stack) and is_user_code(trace)

    errors = [cast("BaseException", x) for x in found if type(x) is not TracebackType]
    known = [error.__traceback__ for error in errors]
    errors = [error for error in errors if not isinstance(error, _CONTROL_FLOW)]
    for error in errors:
        if is_its(error.__traceback__):
            return error, error.__traceback__
    # Before Python 3.12 an exception gets its traceback when it is caught, and nothing holds it.
    traces = [x for x in found if type(x) is TracebackType and is_its(x)]
    traces = [trace for trace in traces if not any(trace is other for other in known)]
    # Finding its holders means looking at every object, which is slow with thousands of them. So
    # the newest come first: those that code has made and keeps, without raising them, are older.
    bare = [error for error in reversed(errors) if error.__traceback__ is None]
    for error in bare if traces else ():
        holders = [each for each in gc.get_referrers(error) if not isinstance(each, list)]
        if all(isinstance(each, FrameType) for each in holders):
            return error, traces[0]
    return None


def _unwinds(trace: TracebackType, stack: list[FrameType]) -> bool:
    """Whether the frame that an exception has reached is on a stack, and still where it came.

    An exception that was caught in a frame, and is kept, has that frame in its traceback, too; but
    there the frame went on, and has called something by itself.
    """
    return any(
        caller is trace.tb_frame
        and (caller.f_lasti == trace.tb_lasti or _operation(caller) in _RAISES)
        and _is_destroyed(called)
        for called, caller in itertools.pairwise(stack)
    )


def _is_destroyed(frame: FrameType) -> bool:
    """Whether a frame may run because an object goes.

    A generator that is closed cannot be told from one that is asked for its next value.
    """
    return frame.f_code.co_name in _DESTRUCTORS or bool(
        frame.f_code.co_flags & inspect.CO_GENERATOR
    )


def _operation(frame: FrameType) -> str:
    """What a frame does at this moment, as :mod:`dis` calls it."""
    steps = dis.get_instructions(frame.f_code)
    return next((step.opname for step in steps if step.offset == frame.f_lasti), "")


def when_dropped(
    thread: int, is_user_code: Callable[[CodeType], bool]
) -> list[tuple[CodeType, int]] | None:
    """Where an exception was handled, if a thread runs a destructor due to its release.

    Args:
        thread: ``threading.get_ident()`` of the thread.
        is_user_code: Whether code is the user's.

    Returns:
        Code and its line, the innermost first: that of the ``except``, or the ``with``, and of what
        called it. None if the thread runs no such destructor.
    """
    frame = sys._current_frames().get(thread)
    while frame is not None and (frame := frame.f_back) is not None:
        if is_user_code(frame.f_code) and _drops(frame):
            (_, line), *above = traceback.walk_stack(frame)
            handler = frame.f_code, _line_of_handler(frame.f_code.co_filename, line)
            return [handler, *((each.f_code, number) for each, number in above)]
    return None


def _drops(frame: FrameType) -> bool:
    """Whether a frame is at the end of an ``except``, where Python lets go of the exception."""
    for step, after in itertools.pairwise(dis.get_instructions(frame.f_code)):
        if step.offset == frame.f_lasti:
            # ``except … as error`` ends with ``error = None; del error``.
            unbinds = step.opname.startswith("STORE_") and after.opname.startswith("DELETE_")
            return step.opname == "POP_EXCEPT" or (unbinds and step.argval == after.argval)
    return False


def _line_of_handler(filename: str, line: int) -> int:
    """The line with which the ``except`` or ``with`` around a line begins."""
    depth = sys.maxsize
    for number in range(line, 0, -1):
        text = linecache.getline(filename, number)
        stands = text.strip()
        if stands and (indent := len(text) - len(text.lstrip())) < depth:
            depth = indent
            if stands.startswith(("except", "with ", "async with ", "finally")):
                return number
    return line


def original(
    error: BaseException,
    is_end: Callable[[BaseException], bool],
    is_user_code: Callable[[TracebackType | None], bool],
) -> BaseException | None:
    """The exception that a rank handled when it was freed; None if it handled none.

    Args:
        error: The exception that ended its cell.
        is_end: Whether an exception comes from freeing the rank.
        is_user_code: See :func:`raised_by`.
    """
    seen: set[int] = set()
    context = error.__context__
    while context is not None and id(context) not in seen:
        seen.add(id(context))
        is_theirs = not is_end(context) and not isinstance(context, _CONTROL_FLOW)
        if is_theirs and is_user_code(context.__traceback__):
            return context
        context = context.__context__
    return None
