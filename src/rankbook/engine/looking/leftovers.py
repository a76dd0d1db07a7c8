"""What the exceptions that ended cells have left: objects that wait when they are destroyed.

A traceback keeps alive what the functions held that it leads through. IPython keeps the traceback,
so that a ``__del__`` may run cells later, on the rank alone that has raised.
"""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Iterable
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

from rankbook.engine.looking.owners import is_of_a_person
from rankbook.models import Failure

__all__ = ["OF_EVERYBODY", "Leftovers"]

_MOST = 1000
"""Objects that are remembered."""

_SEARCHED = 2000
"""Objects of one exception among which they are looked for."""

OF_EVERYBODY = (CodeType, FrameType, FunctionType, ModuleType, TracebackType, type)
"""What is not searched: it holds what every part of a program holds."""


class Leftovers:
    """The objects with a ``__del__`` that exceptions keep alive; none is kept alive by this."""

    def __init__(self) -> None:
        self._by_id: dict[int, Failure] = {}

    def note(self, trace: TracebackType | None, failure: Failure) -> None:
        """Remember what an exception keeps alive.

        Args:
            trace: Its traceback.
            failure: What is said of it.
        """
        frames = [frame for frame, _ in traceback.walk_tb(trace)]
        own = (i for i, frame in enumerate(frames) if is_of_a_person(frame.f_code))
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
                its = frame.f_locals.get(frame.f_code.co_varnames[0])
                if (failure := self._by_id.get(id(its))) is not None:
                    return failure
        return None


def _held(frames: Iterable[FrameType]) -> list[Any]:
    """What the local names of functions hold, and what is held by that, as far as is searched."""
    # Names of a module, or a cell, hold on by themselves.
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
