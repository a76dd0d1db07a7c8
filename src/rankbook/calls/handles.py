"""The calls of handles: of a ``Work``, a future, or a tensor to be waited for."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import torch.distributed.distributed_c10d as c10d
from torch._C import Future

from rankbook.calls.records import Record, handle_of, is_open

__all__ = ["Handles"]

_KEPT = 1024
_AT_ONCE = 16
"""How many handles are checked together."""
_MANY, _OLD = 8, 5_000_000
"""How many handles, or how many ns after the last check, let the next call check them: one by one,
between the kernels of a training step, each check would cost three times as much."""

_GET_FUTURE, _VALUE = vars(c10d.Work)["get_future"], vars(Future)["value"]
"""torch's own functions, which the account replaces by others that report waits."""


class Handles:
    """The handles of a process, each with its call.

    A reference to a ``Work`` keeps its tensors alive. So a handle is kept only until its call is
    done, which is checked at a later call, and never for calls on a device.
    """

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._futures: dict[int, tuple[Callable[[], Any], tuple[Record, ...]]] = {}
        self._givers: dict[int, Record] = {}
        self._former: dict[int, tuple[Callable[[], Any], Record]] = {}
        self.held: deque[Record] = deque(maxlen=_KEPT)
        self._checked = 0

    def add(self, work: Any, record: Record) -> None:
        """Note the call of a handle."""
        if record.stream_ordered:
            record.seen = weakref.ref(work)
        else:
            record.work = work
            self.held.append(record)
        if len(self._records) >= _KEPT:
            self._forget()
        self._records[id(work)] = record

    def drop(self, record: Record) -> None:
        """Drop the latest handle if its call is done: blocking calls end at once."""
        held = self.held
        if held and held[-1] is record and (latest := held.pop()) is not record:
            held.append(latest)  # another thread has just begun a call

    def add_future(self, future: Any, work: Any) -> None:
        """Note that a future belongs to the same call as a handle."""
        record = self.record_of(work) or self.former(work)
        if record is not None:
            self._note(future, (record,))

    def add_made_future(self, future: Any, sources: Iterable[Any]) -> None:
        """Note that a future was made of others, by ``then`` or ``collect_all``."""
        found = [self._futures.get(id(source)) for source in sources]
        records = tuple(chain.from_iterable(each[1] for each in found if each is not None))
        if records:
            self._note(future, records)

    def _note(self, future: Any, records: tuple[Record, ...]) -> None:
        while len(self._futures) >= _KEPT:
            self._futures.pop(next(iter(self._futures)), None)
        self._futures[id(future)] = weakref.ref(future), records

    def record_of(self, work: Any) -> Record | None:
        """The call of a handle; None if unknown."""
        record = self._records.get(id(work))
        if record is None or record.work is work or handle_of(record) is work:
            return record
        return None

    def record_of_future(self, future: Any) -> Record | None:
        """The call of a future, the first open one of several; None if unknown."""
        found = self._futures.get(id(future))
        if found is None or found[0]() is not future:
            return None
        return next((record for record in found[1] if is_open(record)), found[1][-1])

    def gave(self, record: Record, tensors: Sequence[Any]) -> None:
        """Note the functional call that returned tensors."""
        givers = self._givers
        while len(givers) >= _KEPT:
            givers.pop(next(iter(givers)), None)
        for tensor in tensors:
            givers[tensor.data_ptr()] = record

    @property
    def has_given(self) -> bool:
        """Whether some functional call has returned tensors that nobody has waited for."""
        return bool(self._givers)

    def giver_of(self, tensor: Any) -> Record | None:
        """The functional call that returned a tensor, once; None if unknown."""
        return self._givers.pop(tensor.data_ptr(), None)

    def are_many_or_old(self, now: int) -> bool:
        """Whether it is time to check the held handles.

        Args:
            now: ns since the epoch.
        """
        held = self.held
        if not held or (len(held) < _MANY and now - self._checked < _OLD):
            return False
        self._checked = now
        return True

    def done(self) -> list[tuple[Record, bool]]:
        """Drop held handles whose calls are done; return those calls, and whether each failed."""
        found = []
        for _ in range(min(len(self.held), _AT_ONCE)):
            try:
                record = self.held.popleft()
            except IndexError:  # other threads have dropped those that they waited for
                break
            work = record.work
            if work is not None and not work.is_completed():
                self.held.append(record)
            elif work is not None:
                found.append((record, _has_failed(work)))
                self.leave(work, record)
        return found

    def release(self) -> None:
        """Drop all held handles."""
        for record in self.held.copy():
            if (work := record.work) is not None:
                self.leave(work, record)
            record.work = None
        self.held.clear()

    def leave(self, work: Any, record: Record) -> None:
        """Note the call of a handle, or of a tensor, that is no longer held for it."""
        while len(self._former) >= _KEPT:
            self._former.pop(next(iter(self._former)), None)
        self._former[id(work)] = weakref.ref(work), record

    def former(self, work: Any) -> Record | None:
        """The call of a handle, or of a tensor, that was left; None if it is not known."""
        found = self._former.get(id(work))
        return found[1] if found is not None and found[0]() is work else None

    def _forget(self) -> None:
        records = self._records
        for key, record in list(records.items()):
            if handle_of(record) is None:
                records.pop(key, None)
        while len(records) >= _KEPT:  # none of them was waited for
            records.pop(next(iter(records)), None)


def _has_failed(work: Any) -> bool:
    """Whether a call that is done failed; False for one without a future: a send, a recv.

    (``is_success`` and ``exception`` of a handle write to stderr that they are deprecated.)
    """
    try:
        future = _GET_FUTURE(work)
    except Exception:  # noqa: BLE001 - of a person's own subclass, too
        return False
    try:
        _VALUE(future)
    except Exception:  # noqa: BLE001 - whatever ended the call
        return True
    return False
