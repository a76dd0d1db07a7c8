"""Which call a handle is of: of a ``Work``, of a future, of a tensor to be waited for."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rankbook.calls.records import Record

__all__ = ["Handles"]

_KEPT = 1024
_AT_ONCE = 16
"""Handles that are asked together whether they are done."""


class Handles:
    """The handles of a process, each with its call.

    They are not kept alive, for what holds a ``Work`` holds its tensors. Only those that nobody in
    Python has are held here, until they are done.
    """

    def __init__(self) -> None:
        self._records: dict[int, tuple[Callable[[], Any], Record]] = {}
        self._givers: dict[int, Record] = {}
        self.held: deque[Record] = deque(maxlen=_KEPT)

    def add(self, handle: Any, record: Record) -> Callable[[], Any]:
        """Note what call a handle is of.

        Returns:
            A weak reference to it.
        """
        ref = weakref.ref(handle)
        if len(self._records) >= _KEPT:
            self._forget()
        self._records[id(handle)] = (ref, record)
        return ref

    def record_of(self, handle: Any) -> Record | None:
        """The call that a handle is of; None if it is not known."""
        found = self._records.get(id(handle))
        return found[1] if found is not None and found[0]() is handle else None

    def gave(self, record: Record, tensors: Sequence[Any]) -> None:
        """Note which functional call gave tensors."""
        givers = self._givers
        while len(givers) >= _KEPT:
            givers.pop(next(iter(givers)), None)
        for tensor in tensors:
            givers[tensor.data_ptr()] = record

    def giver_of(self, tensor: Any) -> Record | None:
        """The functional call that gave a tensor, told once; None if it is not known."""
        return self._givers.pop(tensor.data_ptr(), None)

    def hold(self, work: Any, record: Record) -> None:
        """Keep a handle that nobody in Python has."""
        record.work = lambda: work
        self.held.append(record)

    def done(self) -> list[Record]:
        """Let go of handles that are held, as far as they are done, and return their calls."""
        found = []
        for _ in range(min(len(self.held), _AT_ONCE)):
            record = self.held.popleft()
            work = record.work and record.work()
            if work is not None and not work.is_completed():
                self.held.append(record)
            elif work is not None:
                found.append(record)
        return found

    def release(self) -> None:
        """Let go of all handles that are held."""
        for record in self.held.copy():
            record.work = None
        self.held.clear()

    def _forget(self) -> None:
        records = self._records
        for key, (ref, _) in list(records.items()):
            if ref() is None:
                records.pop(key, None)
        while len(records) >= _KEPT:  # all of them are kept by somebody
            records.pop(next(iter(records)), None)
