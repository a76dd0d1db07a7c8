"""The account of a process: its calls of ``torch.distributed``, and what its threads wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from sys import _current_frames, _getframe
from threading import get_ident
from time import time_ns
from types import FrameType
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.blackbox import BlackBox
from rankbook.calls.checks import Check
from rankbook.calls.counts import Counts
from rankbook.calls.groups import Groups
from rankbook.calls.handles import Handles
from rankbook.calls.keeping import Keeper
from rankbook.calls.places import Spot, is_told_of
from rankbook.calls.places import spot as find_spot
from rankbook.calls.polls import Polls
from rankbook.calls.records import (
    P2P,
    Group,
    Record,
    Site,
    is_open,
    measure,
    to_call,
)
from rankbook.errors import MismatchError
from rankbook.models.calls import Call, Fingerprint, Slot, Wait

__all__ = ["Awaited", "Ledger"]

_KEPT = 4096
_SITES = 4096
_SOON = 60.0
"""Seconds of a timeout of its own up to which a wait is left to end by itself."""

_BLOCKING = {"monitored_barrier"}
"""What is over when it returns, so that others may have met a call that raises."""

Awaited = tuple[int, str, Record | None, float | None, Sequence[str]]
"""When a wait began (ns since the epoch), its kind, the call, the timeout of its own, and the keys
of a store."""


class Ledger:
    """What a process has called, calls, and waits for.

    Written by the thread that calls, read by any. Its memory is bounded: ``since`` says how many
    calls it no longer has.

    Attributes:
        generation: Of the session's group; calls are counted from 1 again when it changes.
        handles: Which call a handle is of.
        groups: The process groups that it knows.
        counts: What is added up over the calls.
        polls: The threads that ask whether a call is done, again and again.
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
        self._waiting: dict[int, Awaited] = {}
        self._issuing: dict[int, Record] = {}
        self._ends = 0
        self.counts = Counts()
        self.polls = Polls()
        self.check: Check | None = None
        self.keeper: Keeper | None = None

    def count_again(self) -> None:
        """Count the calls of every group from 1 again, as all its ranks do at this moment."""
        with self._lock:
            self.groups.count_again(self.generation)

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
        # A thread that issues a call waits no longer, even if an interrupt has kept that from being
        # announced.
        self._waiting.pop(thread, None)
        record.cell = self.counts.cell
        record.returned = record.awaited = record.completed = 0
        record.failed = False
        record.work = record.seen = None
        self._issuing[thread] = record
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
        self._issuing.pop(record.thread, None)
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
        self._issuing.pop(record.thread, None)
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

    def wait(
        self,
        kind: str,
        record: Record | None = None,
        timeout: float | None = None,
        keys: Sequence[str] = (),
    ) -> Awaited | None:
        """Announce that this thread begins to wait.

        Returns:
            What it waited for already, to be given to :meth:`waited`.
        """
        thread = get_ident()
        outer = self._waiting.get(thread)
        now = time_ns()
        self._waiting[thread] = (now, kind, record, timeout, keys)
        if record is not None:
            record.awaited = record.awaited or now
            if self.box is not None:
                self.box.awaited(record)
        return outer

    def asked(self, record: Record, frame: FrameType) -> None:
        """Announce that this thread has asked whether a call is done, and was told that it is not.

        Args:
            record: The call.
            frame: What has asked.
        """
        self.polls.asked(record, (self._last, self._ends), frame)

    def present_wait(self) -> Awaited | None:
        """What this thread waits for."""
        return self._waiting.get(get_ident())

    def waited(self, outer: Awaited | None) -> None:
        """Announce that this thread's latest wait has ended."""
        thread = get_ident()
        ended = self._waiting.pop(thread, None)
        if outer is not None:
            self._waiting[thread] = outer
        elif ended is not None:
            self.counts.present.waiting += time_ns() - ended[0]

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

    def recent(self, count: int) -> list[Call]:
        """The latest calls, oldest first."""
        self.settle()
        return [to_call(each) for each in list(self._records.copy())[-count:]]

    def latest(self, since: int, kept: int) -> list[tuple[Call, bool]]:
        """The latest calls of each group, oldest first, each with whether it is open.

        Of a group that was destroyed and made again under the same name, only the new one's: there
        this process may have called nothing yet.

        Args:
            since: Earlier ones are left out; ns since the epoch.
            kept: Calls of each group before the first open one, and from there on.
        """
        self.settle()
        groups: dict[str, tuple[Group, list[tuple[Record, bool]]]] = {}
        for record in self._records.copy():
            group = record.group
            if record.issued < since or group.generation != self.generation or not record.number:
                continue
            if (pg := group.ref()) is None or pg not in c10d._world.pg_names:
                continue
            name = record.group.name
            if name not in groups or groups[name][0] is not record.group:
                groups[name] = record.group, []
            groups[name][1].append((record, is_open(record)))
        found: list[tuple[Record, bool]] = []
        for _, records in groups.values():
            first = next((i for i, (_, opened) in enumerate(records) if opened), len(records))
            found += records[max(0, min(first, len(records) - kept)) : first + kept]
        found.sort(key=lambda each: each[0].id)
        return [(to_call(record), opened) for record, opened in found]

    def open(self) -> list[Call]:
        """The calls that are not known to be done, oldest first.

        Not those whose handle was thrown away: nothing more is ever heard of them.
        """
        self.settle()
        return [to_call(each) for each in self._records.copy() if is_open(each)]

    def waits(self) -> dict[int, Wait]:
        """By thread, what it waits for; also to be given a handle."""
        # An interrupt may have kept a wait from announcing its end: a function of ours must be on
        # the stack of a thread that waits.
        threads = _current_frames()
        telling = {thread for thread, frame in threads.items() if is_told_of(frame)}
        found = {
            thread: Wait(
                kind,
                thread,
                began / 1e9,
                to_call(record) if record else None,
                timeout,
                tuple(keys),
                may_end=timeout is not None and timeout <= _SOON,
            )
            for thread, (began, kind, record, timeout, keys) in self._waiting.copy().items()
            if thread in telling
        }
        for thread, record in self._issuing.copy().items():
            if thread in telling and not record.returned and not record.completed:
                wait = Wait("issue", thread, record.issued / 1e9, to_call(record))
                found.setdefault(thread, wait)
        self.polls.keep(set(threads))
        for thread, poll in self.polls.present((self._last, self._ends)).items():
            if not poll.record.completed:
                found.setdefault(thread, poll.told(thread))
        return found

    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """What was called in each group of this generation, and which were made, hashed.

        Only what was not told before.
        """
        generation = self.generation
        groups = [each for each in self.groups.by_id.values() if each.generation == generation]
        return *self.groups.made_by_all(generation), *self.counts.fingerprints(groups)

    def collective(self, slot: Slot) -> Call | None:
        """What was called as one collective of a group; None if it is not kept."""
        for record in reversed(self._records.copy()):
            group = record.group
            found = Slot(group.key, group.ranks, group.generation, record.number)
            if found == slot and record.site.op not in P2P:
                spot = record.site.spot
                return replace(to_call(record), text=spot.text if spot else "")
        return None

    def settle(self) -> None:
        """Find out which calls are done of those that nobody in Python has a handle of."""
        # A thread that waits for one knows in a moment whether it has failed.
        awaited = {id(record) for _, _, record, *_ in self._waiting.copy().values()}
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

    def _site(self, op: str, reduce_op: str, function: str, *spots: Spot | None) -> Site:
        if len(self._sites) >= _SITES:
            self._sites.clear()
        site = Site(op, reduce_op, function, *spots)
        self._sites[(op, reduce_op, function, *spots)] = site
        return site
