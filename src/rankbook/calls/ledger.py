"""The account of a process: its calls of ``torch.distributed``, and what its threads wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from sys import _getframe
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
from rankbook.calls.places import Spot
from rankbook.calls.places import spot as find_spot
from rankbook.calls.records import P2P, Record, Site, is_open, measure, to_call
from rankbook.calls.waits import Waits
from rankbook.errors import MismatchError
from rankbook.models.calls import Call, Fingerprint, Slot, Wait

__all__ = ["Ledger"]

_KEPT = 4096
_SITES = 4096
_BLOCKING = {"monitored_barrier"}
"""What is over when it returns, so that others may have met a call that raises."""


class Ledger:
    """What a process has called, calls, and waits for.

    Written by the thread that calls, read by any. Its memory is bounded: ``since`` says how many
    calls it no longer has.

    Attributes:
        generation: Of the session's group; calls are counted from 1 again when it changes.
        handles: Which call a handle is of.
        groups: The process groups that it knows.
        counts: What is added up over the calls.
        waits: What the threads wait for.
        check: Compares calls before they are issued; None: they are not compared.
        keeper: Keeps what calls put in and get out; None: nothing does.
        box: The file of the last calls; None if there is none.
    """

    def __init__(self, kept: int = _KEPT, file: Path | None = None) -> None:
        """Begin an empty account.

        Args:
            kept: Calls to keep.
            file: Where the last calls are to be found when the process has died; None: nowhere.

        Raises:
            OSError: The file cannot be made.
        """
        self.generation = 0
        self.box = BlackBox(file) if file else None
        self._lock = threading.RLock()
        self._records: deque[Record] = deque(maxlen=kept)
        self._sites: dict[tuple[object, ...], Site] = {}
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
            if self.box is not None:  # else a rank that ends now would have ended after these
                self.box.forget()

    # What happens: called where it does.

    def issue(
        self,
        pg: Any,
        op: str,
        tensors: Any,
        reduce_op: str = "",
        root: int | None = None,
        peer: int | None = None,
        tag: int | None = None,
    ) -> Record:
        """Announce a call that is about to be issued.

        Args:
            pg: The process group.
            op: As all ranks know it.
            tensors: A sequence of those that say how much.
            reduce_op: Name of the operation.
            root: Rank in the group.
            peer: Rank in the group.
            tag: Of a send or recv.
        """
        record = Record()
        group = self.groups.by_id.get(id(pg))
        if group is None or group.ref() is not pg or group.generation != self.generation:
            group = self.groups.know(pg, self.generation)
        spot, cell, function = find_spot(_getframe(1))
        site = self._sites.get((op, reduce_op, function, spot, cell))
        if site is None:
            site = self._site(op, reduce_op, function, spot, cell)
        record.group = group
        record.site = site
        record.root = root if root is None else group.to_global(root)
        record.peer = peer if peer is None else group.to_global(peer)
        record.tag = tag
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
        if self.handles.held:
            self.settle()
        return record

    def returned(self, record: Record, work: Any) -> None:
        """Announce that torch has given back a handle.

        Args:
            record: Of the call.
            work: The handle; None where the call is over when it returns.
        """
        record.returned = time_ns()
        if work is None:
            self.ended(record)
        else:
            self.handles.add(work, record)

    def not_issued(self, record: Record, error: BaseException) -> None:
        """Announce that an exception came where torch was to give back a handle.

        Torch refuses a call for its arguments before it counts it: so no other rank meets it, and
        the next call of the group takes its number.

        Args:
            record: Of the call.
            error: What came. An interrupt may come when the call has been issued, and what compares
                calls asks for this one by its number.
        """
        came = not isinstance(error, Exception) or isinstance(error, MismatchError)
        if not came and record.site.op not in _BLOCKING:
            with self._lock:
                record.group.give_back(record)
                if self.box is not None:
                    self.box.issued(record)
        self.ended(record, failed=True)

    def gave(self, record: Record, tensors: Sequence[Any]) -> None:
        """Announce that a functional call has given back tensors that are to be waited for."""
        record.returned = time_ns()
        self.handles.gave(record, tensors)
        if self.keeper is not None:
            self.keeper.gave(record, tensors)

    def ended(self, record: Record, *, failed: bool = False) -> None:
        """Announce that a call is done, or has failed."""
        # A keeper has to hear of it again from the thread that waits, by the same handle.
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
        """Announce that this thread has asked whether a call is done, and was told that it is not.

        Args:
            record: The call.
            frame: What has asked.
        """
        self.waits.polls.asked(record, (self._last, self._ends), frame)

    # What is to be known: any thread.

    @property
    def last(self) -> int:
        """Id of the latest call; 0: there was none."""
        return self._last

    @property
    def mark(self) -> str:
        """Differs between two moments if something was called or has ended meanwhile."""
        self.settle()
        return f"{self._last}/{self._ends}"

    def since(self, last: int = 0) -> tuple[list[Call], int]:
        """The calls after one, oldest first; and how many there were that are no longer kept.

        Without those that torch has refused.
        """
        self.settle()
        records = self._records.copy()
        first = records[0].id if records else self._last + 1
        found = [to_call(each) for each in records if each.id > last and each.number]
        return found, max(0, first - 1 - last)

    def latest(self, since: int, kept: int) -> list[tuple[Call, bool]]:
        """The latest calls of each group, oldest first, each with whether it is open.

        Of a group that was destroyed and made again under the same name, only the new one's: there
        this process may have called nothing yet.

        Args:
            since: Earlier ones are left out; ns since the epoch.
            kept: Calls of each group before the first open one, and from there on.
        """
        self.settle()
        return queries.latest(self._records.copy(), self.generation, since, kept)

    def open(self) -> list[Call]:
        """The calls that are not known to be done, oldest first.

        Not those whose handle was thrown away: nothing more is ever heard of them.
        """
        self.settle()
        return [to_call(each) for each in self._records.copy() if is_open(each)]

    def present_waits(self) -> dict[int, Wait]:
        """What each thread waits for: see :meth:`rankbook.calls.waits.Waits.by_thread`."""
        return self.waits.by_thread((self._last, self._ends))

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What was called in each group of this generation, and which were made, hashed.

        Only what was not told before.
        """
        generation = self.generation
        groups = [each for each in self.groups.by_id.values() if each.generation == generation]
        return *self.groups.made_by_all(generation), *self.counts.fingerprints(groups)

    def collective(self, slot: Slot) -> Call | None:
        """What was called as one collective of a group; None if it is not kept."""
        return queries.as_collective(self._records.copy(), slot)

    def settle(self) -> None:
        """Find out which calls are done of those that nobody in Python has a handle of."""
        # A thread that waits for one knows in a moment whether it has failed.
        awaited = self.waits.awaited()
        with self._lock:
            for record in self.handles.done():
                if id(record) not in awaited:
                    self.ended(record)

    def reset(self) -> None:
        """Begin again, in a forked child: nothing of this was called by it."""
        if self.box is not None:
            self.box.detach()
        generation = self.generation
        self.__init__(self._records.maxlen or _KEPT)  # type: ignore[misc]
        self.generation = generation
        self.groups.leave_to_parent()

    def _site(self, op: str, reduce_op: str, function: str, *spots: Spot | None) -> Site:
        if len(self._sites) >= _SITES:
            self._sites.clear()
        site = Site(op, reduce_op, function, *spots)
        self._sites[(op, reduce_op, function, *spots)] = site
        return site
