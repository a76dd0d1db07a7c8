"""The account of a process: its calls of ``torch.distributed``, and the waits of its threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import get_ident
from time import time_ns
from types import FrameType
from typing import Any

from rankbook.calls import queries
from rankbook.calls.blackbox import BlackBox
from rankbook.calls.checks import Check
from rankbook.calls.counts import Counts
from rankbook.calls.groups import Groups
from rankbook.calls.handles import Handles
from rankbook.calls.keeping import Keeper
from rankbook.calls.records import P2P, Record, is_open, measure, to_call
from rankbook.calls.sites import Sites
from rankbook.calls.waits import Waits
from rankbook.errors import MismatchError
from rankbook.models.calls import Call, Fingerprint, Slot, Wait

__all__ = ["Ledger"]

_KEPT = 4096
_BLOCKING = {"monitored_barrier"}
"""Operations that are over when they return, so that others may have met a call that raises."""


class Ledger:
    """The past and present calls of a process, and its waits.

    Written by the calling thread, read by any. Its memory is bounded; ``since`` says what is gone.

    Attributes:
        generation: The session's generation; calls are counted from 1 again when it changes.
        handles: The handles, with their calls.
        groups: The process groups that it knows.
        counts: Sums over the calls.
        waits: The waits of the threads.
        check: Compares calls before they are issued; None: they are not compared.
        keeper: Keeps the inputs and outputs of calls; None: nothing does.
        box: The file of the last calls; None if there is none.
    """

    def __init__(self, kept: int = _KEPT, file: Path | None = None) -> None:
        """Begin an empty account.

        Args:
            kept: How many calls to keep.
            file: The file that keeps the last calls when the process has died; None: none.

        Raises:
            OSError: The file cannot be made.
        """
        self.generation = 0
        self.box = BlackBox(file) if file else None
        self._lock = threading.RLock()
        self._records: deque[Record] = deque(maxlen=kept)
        self._sites = Sites()
        self._last = 0
        self.groups = Groups()
        self.handles = Handles()
        self._ends = 0
        self.counts = Counts()
        self.waits = Waits(self.counts, self.box)
        self.check: Check | None = None
        self.keeper: Keeper | None = None

    def count_again(self) -> None:
        """Count the calls of every group from 1 again, as all its ranks do at this moment."""
        with self._lock:
            self.groups.count_again(self.generation)
            if self.box is not None:  # otherwise a rank that ends now would seem to end after these
                self.box.forget()

    # Announcements, by the thread that calls.

    def issue(
        self,
        pg: Any,
        op: str,
        tensors: Any,
        reduce_op: str = "",
        root: int | None = None,
        peer: int | None = None,
        tag: int | None = None,
        reduces: Any = None,
    ) -> Record:
        """Announce a call that is about to be issued.

        Args:
            pg: The process group.
            op: The operation's name, equal on all ranks.
            tensors: The tensors that determine the size.
            reduce_op: Name of the reduce operation.
            root: Rank in the group.
            peer: Rank in the group.
            tag: Tag of a send or recv.
            reduces: The reduce operation in the form of C++, whose name is still to be read.
        """
        record = Record()
        group = self.groups.by_id.get(id(pg))
        if group is None or group.ref() is not pg or group.generation != self.generation:
            group = self.groups.know(pg, self.generation)
        record.group = group
        record.site = self._sites.of_caller(op, reduce_op)
        record.root = root if root is None else group.to_global(root)
        record.peer = peer if peer is None else group.to_global(peer)
        record.tag = tag
        record.reduces = reduces
        if len(tensors) == 1:
            [tensor] = tensors
            record.shapes = (tensor.shape,)
            record.dtypes = (tensor.dtype,)
            record.elements = tensor.numel()
            record.stream_ordered = not tensor.is_cpu
        else:
            measure(record, tensors)
        record.thread = thread = get_ident()
        record.cell = self.counts.cell
        record.returned = record.awaited = record.completed = 0
        record.failed = False
        record.work = record.seen = None
        self.waits.doing[thread] = record
        with self._lock:
            self._last = record.id = self._last + 1
            if op in P2P:
                record.number = group.next_of_pair(op, record.peer, tag)
            else:
                group.issued = record.number = group.issued + 1
            record.issued = time_ns()
            self._records.append(record)
            if self.box is not None:
                self.box.issued(record)
            self.counts.add(record)
        if self.handles.are_many_or_old(record.issued):
            self.settle()
        return record

    def returned(self, record: Record, work: Any) -> None:
        """Announce that torch returned a handle.

        Args:
            record: The record of the call.
            work: The handle; None where the call is over when it returns.
        """
        record.returned = time_ns()
        if work is None:
            self.ended(record)
        else:
            self.handles.add(work, record)

    def not_issued(self, record: Record, error: BaseException) -> None:
        """Announce that an exception came instead of a handle.

        torch refuses a call for its arguments before it counts it: no other rank meets it, and the
        next call of the group takes its number.

        Args:
            record: The record of the call.
            error: The exception. An interrupt may come after the call was issued, and comparisons
                of calls ask for this one by its number.
        """
        came = not isinstance(error, Exception) or isinstance(error, MismatchError)
        if not came and record.site.op not in _BLOCKING:
            with self._lock:
                record.group.give_back(record)
                if self.box is not None:
                    self.box.issued(record)
        self.ended(record, failed=True, was_under_way=record.site.op in _BLOCKING)

    def gave(self, record: Record, tensors: Sequence[Any]) -> None:
        """Announce that a functional call returned tensors that must be waited for."""
        record.returned = time_ns()
        self.handles.gave(record, tensors)
        if self.keeper is not None:
            self.keeper.gave(record, tensors)

    def ended(self, record: Record, *, failed: bool = False, was_under_way: bool = True) -> None:
        """Announce that a call is done, or has failed."""
        if failed and was_under_way:
            record.group.has_failed = True
        # The waiting thread must notify the keeper again, with the same handle.
        if self.keeper is None or failed or self.keeper.after(record):
            record.work = record.seen = None
            self.handles.drop(record)
        if record.completed:
            return  # it was seen to be done before it was waited for
        record.failed = failed
        self._ends += 1
        if failed or not record.stream_ordered:
            record.completed = time_ns()
        if self.box is not None:
            self.box.ended(record)

    def asked(self, record: Record, frame: FrameType) -> None:
        """Announce that this thread asked whether a call is done, and it was not.

        Args:
            record: The call.
            frame: The asking frame.
        """
        self.waits.polls.asked(record, (self._last, self._ends), frame)

    # Questions, from any thread.

    @property
    def last(self) -> int:
        """Id of the latest call; 0: there was none."""
        return self._last

    @property
    def mark(self) -> str:
        """A value that changes when a call is issued or ends."""
        self.settle()
        return f"{self._last}/{self._ends}"

    def since(self, last: int = 0) -> tuple[list[Call], int]:
        """The calls after one, oldest first, and how many of them are no longer kept.

        Calls that torch refused are left out.
        """
        self.settle()
        records = self._records.copy()
        first = records[0].id if records else self._last + 1
        found = [to_call(each) for each in records if each.id > last and each.number]
        return found, max(0, first - 1 - last)

    def latest(self, since: int, kept: int) -> list[tuple[Call, bool]]:
        """The latest calls of each group, oldest first, each with whether it is open.

        For a group that was destroyed and made again under the same name, only the new group's, in
        which this process may have called nothing yet.

        Args:
            since: Earlier ones are left out; ns since the epoch.
            kept: How many calls of each group before the first open one, and from there on.
        """
        self.settle()
        return queries.latest(self._records.copy(), self.generation, since, kept)

    def open(self) -> list[Call]:
        """The calls that are not known to be done, oldest first.

        Calls whose handle was dropped are left out: their end is never seen.
        """
        self.settle()
        return [to_call(each) for each in self._records.copy() if is_open(each)]

    def present_waits(self) -> dict[int, Wait]:
        """The wait of each thread: see :meth:`rankbook.calls.waits.Waits.by_thread`."""
        return self.waits.by_thread((self._last, self._ends))

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Hashes of the calls in each group of this generation, and of new groups.

        Only those not reported before.
        """
        generation = self.generation
        groups = [each for each in self.groups.by_id.values() if each.generation == generation]
        return *self.groups.made_by_all(generation), *self.counts.fingerprints(groups)

    def collective(self, slot: Slot) -> Call | None:
        """The call with a number in a group; None if it is not kept."""
        return queries.as_collective(self._records.copy(), slot)

    def settle(self) -> None:
        """Check calls without a handle in Python for completion."""
        awaited = self.waits.awaited()
        with self._lock:
            for record, failed in self.handles.done():
                if id(record) not in awaited:  # its waiting thread tells soon if it failed
                    self.ended(record, failed=failed, was_under_way=False)

    def reset(self) -> None:
        """Start over in a forked child, which made none of these calls."""
        if self.box is not None:
            self.box.detach()
        generation = self.generation
        self.__init__(self._records.maxlen or _KEPT)  # type: ignore[misc]
        self.generation = generation
        self.groups.leave_to_parent()
