"""When a blocking collective was waited for, noted in passing, without a trace of it.

torch's flight recorder knows when a collective of gloo was called, not when it returned. A blocking
one returns when the ``work.wait()`` in ``torch.distributed`` does, so that is where it is noted.
``Work.wait`` becomes a descriptor, which runs before the call; what it returns is made of C alone
and notes the end. So no frame of ours is on the stack while a rank waits, nor in any traceback, and
no signal can arrive in code of ours.

Reading ``Work.wait`` from a pybind11 class, and setting it, works in torch 2.8 to 2.13;
``tests/unit/test_private_api.py`` says so if torch begins to call it in another way.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch.distributed.distributed_c10d as c10d

if TYPE_CHECKING:
    from rankbook.engine.frames import Position

__all__ = ["Age", "Wait", "Waits"]

Wait = tuple[int, Any, int, int]
"""When it began, what it returned, in which thread, and when it ended; ns since the epoch."""

_NOT_RECORDED = frozenset(("send", "recv"))
"""Blocking functions whose calls the flight recorder does not keep on gloo."""

_THEIRS: Any = vars(c10d.Work)["wait"]

_IDENTS = iter(threading.get_ident, None)
_CLOCK = iter(time.time_ns, None)


class Waits:
    """Notes the waits of this process, of the functions that ``torch.distributed`` blocks in.

    A wait that raises is noted as begun only.
    """

    def __init__(self) -> None:
        size = os.environ.get("TORCH_FR_BUFFER_SIZE", "")
        kept = int(size) if size.isdecimal() else 0
        self._recorded: deque[Wait] = deque(maxlen=2 * max(2000, kept))
        self._others: deque[Wait] = deque(maxlen=16)
        self._begun: dict[int, int] = {}

    def install(self) -> None:
        """Begin to note, in place of whoever did."""
        noting = _noting(self._recorded, self._others, self._begun)
        c10d.Work.wait = noting  # type: ignore[method-assign,assignment]

    @staticmethod
    def remove() -> None:
        """Note no more: ``Work.wait`` is torch's own again."""
        c10d.Work.wait = _THEIRS  # type: ignore[method-assign]

    def ended(self) -> list[Wait]:
        """The latest waits that have ended, of recorded collectives, in the order of their ends."""
        return list(self._recorded.copy())

    def open(self) -> dict[int, int]:
        """By thread, when the wait began that it was in last, if its end was not noted."""
        begun = self._begun.copy()
        first = min(begun.values(), default=0)
        for noted in (self._recorded.copy(), self._others.copy()):
            for start, _, ident, ended in reversed(noted):
                if ended < first:
                    break
                if begun.get(ident) == start:
                    del begun[ident]
        return begun

    def last(self) -> Wait | None:
        """The last of :meth:`ended`."""
        return self._recorded[-1] if self._recorded else None

    def raised(self) -> None:
        """The cell has ended with an exception: so has what its thread waited in, if it did."""
        ident = threading.get_ident()
        begun = self.open().get(ident)
        if begun is not None:
            self._recorded.append((begun, None, ident, time.time_ns()))


def _noting(recorded: deque[Wait], others: deque[Wait], begun: dict[int, int]) -> object:
    """Make what stands where ``Work.wait`` does."""
    bind = _THEIRS.__get__
    # Bound once: this runs in every blocking collective, and takes a microsecond.
    theirs, frame, now, ident = vars(c10d), sys._getframe, time.time_ns, threading.get_ident
    note, note_other = recorded.extend, others.extend

    class Noting:
        def __get__(self, work: Any, owner: Any = None) -> Callable[..., Any]:
            caller = frame(1)
            if work is None or caller.f_globals is not theirs:
                return bind(work, owner)  # type: ignore[no-any-return]
            begun[ident()] = began = now()
            # zip makes one tuple: it asks each of its iterators once, from left to right.
            one = zip((began,), iter(bind(work, owner), None), _IDENTS, _CLOCK, strict=False)
            return partial(note_other if caller.f_code.co_name in _NOT_RECORDED else note, one)

    return Noting()


class Age:
    """For how long the main thread has been in what it is in."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._mark: object = None
        self._seen = time.time()

    def of(self, at: Position) -> float:
        """Seconds since the call of ``torch.distributed`` in which it is.

        What is not waited for in Python is counted from when it was first seen at its place.
        """
        now = time.time()
        if at.mark != self._mark:
            self._mark, self._seen = at.mark, now
        began = self._waits.open().get(threading.main_thread().ident or 0)
        return max(0.0, now - (began / 1e9 if began is not None else self._seen))
