"""Objects that exceptions of cells left behind, whose destructors may wait.

A traceback keeps the local objects of its functions alive. IPython keeps the traceback, so a
``__del__`` may run several cells later, only on the rank that raised.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterable
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

from rankbook.engine.looking.owners import is_user_code
from rankbook.models import Failure

__all__ = ["OF_EVERYBODY", "Leftovers"]

_MOST = 1000
"""How many objects are remembered."""

_SEARCHED = 2000
"""How many objects of one exception are searched."""

OF_EVERYBODY = (CodeType, FrameType, FunctionType, ModuleType, TracebackType, type)
"""Types that are not searched, because they lead to the whole program."""


class Leftovers:
    """The objects with a ``__del__`` that exceptions keep alive; none is kept alive by this."""

    def __init__(self) -> None:
        self._by_id: dict[int, Failure] = {}

    def note(self, trace: TracebackType | None, failure: Failure) -> None:
        """Remember the objects that an exception keeps alive.

        Args:
            trace: Its traceback.
            failure: Its description.
        """
        frames = [frame for frame, _ in traceback.walk_tb(trace)]
        own = (i for i, frame in enumerate(frames) if is_user_code(frame.f_code))
        for one in _held(frames[next(own, len(frames)) :]):
            if hasattr(type(one), "__del__"):
                self._by_id[id(one)] = failure
        while len(self._by_id) > _MOST:
            del self._by_id[next(iter(self._by_id))]

    def being_destroyed(self, thread: int) -> Failure | None:
        """The exception whose leftover a thread destroys; None if it destroys none.

        Args:
            thread: ``threading.get_ident()`` of the thread.
        """
        for frame, _ in traceback.walk_stack(sys._current_frames().get(thread)):
            if frame.f_code.co_name == "__del__" and frame.f_code.co_argcount:
                instance = frame.f_locals.get(frame.f_code.co_varnames[0])
                if (failure := self._by_id.get(id(instance))) is not None:
                    return failure
        return None


def _held(frames: Iterable[FrameType]) -> list[Any]:
    """The objects that local names of functions hold, directly or indirectly, up to the limit."""
    # Names of a module, or a cell, live on without the exception.
    functions = [frame for frame in frames if frame.f_locals is not frame.f_globals]
    of_modules = {id(one) for frame in functions for one in frame.f_globals.values()}
    ahead = [one for frame in functions for one in frame.f_locals.values()]
    seen: dict[int, Any] = {}
    while ahead and len(seen) < _SEARCHED:
        one = ahead.pop(0)
        if id(one) not in seen and id(one) not in of_modules and type(one) not in OF_EVERYBODY:
            seen[id(one)] = one
            ahead += gc.get_referents(one)
    return list(seen.values())
