"""Which collectives this rank called, and when, for the timeline."""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from rankbook.dtypes import python_name
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.engine.recorder import Recorder, members
from rankbook.engine.waits import Wait, Waits
from rankbook.models.recorded import Entry, EntryGroup, Recording
from rankbook.models.requests import TellTimeline

__all__ = ["Epoch", "History", "tell_timeline"]


class Epoch(NamedTuple):
    """A process group of the session: since when, and which rank this engine was in it."""

    began: int
    """ns since the epoch."""
    generation: int
    rank: int


class History:
    """Tells what has been recorded since it was asked last."""

    def __init__(self, recorder: Recorder, waits: Waits) -> None:
        self._recorder = recorder
        self._waits = waits
        self._members: dict[tuple[str, int, int], tuple[int, ...]] = {}

    def tell(self, epochs: Sequence[Epoch], after: int | None, mark: str = "") -> Recording:
        """Tell what has been recorded.

        Args:
            epochs: The session's groups, the oldest first.
            after: Tell of entries with a higher id; None: of none.
            mark: Of the last answer; if nothing has been called or completed since then, nothing
                is looked up.
        """
        # Of CPU: while this thread waits for the GIL, or for a core, it holds up no other.
        begun = time.thread_time()
        # The clock is read first: what is called later than that is not in this answer.
        answer = Recording(time.time())
        if after is not None:
            # Taken before the entries: what is called in between is told of once more.
            present = self._mark()
            if present != mark:
                answer = replace(self._recording(epochs, after), now=answer.now, mark=present)
        return replace(answer, took=time.thread_time() - begun)

    def _mark(self) -> str:
        latest = self._recorder.mark() + repr(self._waits.last()).encode()
        return hashlib.blake2b(latest, digest_size=8).hexdigest()

    def _recording(self, epochs: Sequence[Epoch], after: int) -> Recording:
        # Read before the recorder, which may mark a collective as done before its wait returns.
        waiting = self._waits.waiting()
        recorded = [e for e in self._recorder.entries() if e["record_id"] > after]
        ends, last = _ends(recorded, self._waits.ended(), waiting)
        began = [epoch.began for epoch in epochs]
        self._know_members(epochs)
        ops: dict[str, int] = {}
        groups: dict[tuple[str, int, int], int] = {}
        entries = []
        for entry in recorded:
            number, created = entry["record_id"], entry["time_created_ns"]
            at = bisect_right(began, created) - 1
            if at < 0:
                continue
            nth = self._recorder.nth(entry, began[at])
            group = (entry["process_group"][0], nth, epochs[at].generation)
            ended, failed = ends.get(number, (_ended(entry), False))
            entries.append(
                Entry(
                    number,
                    ops.setdefault(entry["profiling_name"].rpartition(":")[2], len(ops)),
                    groups.setdefault(group, len(groups)),
                    entry["collective_seq_id"],
                    created / 1e9,
                    ended and ended / 1e9,
                    bool(ended or entry["retired"]) and number not in last,
                    _nbytes(entry),
                    failed,
                )
            )
        ranks = {epoch.generation: epoch.rank for epoch in epochs}
        return Recording(
            now=0.0,
            first=self._recorder.oldest,
            ops=tuple(ops),
            groups=tuple(self._group(key, ranks) for key in groups),
            entries=tuple(entries),
        )

    def _group(self, key: tuple[str, int, int], ranks: Mapping[int, int]) -> EntryGroup:
        name, nth, generation = key
        return EntryGroup(
            name=f"{name} ({nth})".strip() if nth > 1 else name,
            ranks=self._members.get(key, ()),
            generation=generation,
            rank=ranks[generation],
        )

    def _know_members(self, epochs: Sequence[Epoch]) -> None:
        """Remember the ranks of each group: a cell may destroy it before the next request."""
        if not epochs:
            return
        present, existing = epochs[-1], members()
        for name, ranks in existing.items():
            nth = max(1, self._recorder.latest(name, present.began))
            self._members[(name, nth, present.generation)] = ranks
        kept = {epoch.generation for epoch in epochs}
        names = existing.keys() | self._recorder.names
        self._members = {
            key: ranks for key, ranks in self._members.items() if key[0] in names and key[2] in kept
        }


@operation(TellTimeline, on=CONTROL)
def tell_timeline(job: Job, request: TellTimeline) -> Recording:
    """Tell what has been recorded."""
    return job.engine.history.tell(job.engine.group.epochs, request.after, request.mark)


def _ends(
    entries: Iterable[Mapping[str, Any]], waits: Iterable[Wait], waiting: Mapping[int, int]
) -> tuple[dict[int, tuple[int, bool]], set[int]]:
    """Which collectives the waits were for.

    A thread waits for the newest collective that it has called, unless that was waited for before.

    Returns:
        By id of the entry, when the collective ended and whether it failed; and the ids of the
        collectives that are still waited for.
    """
    called: dict[int, tuple[list[int], list[int]]] = {}
    for entry in entries:
        # A wait for a collective of NCCL only waits until it is enqueued.
        if entry["profiling_name"].startswith("gloo:"):
            ids, times = called.setdefault(int(entry["thread_id"], 0), ([], []))
            ids.append(entry["record_id"])
            times.append(entry["time_created_ns"])

    def newest(thread: int, begun: int) -> int | None:
        ids, times = called.get(thread, ([], []))
        at = bisect_left(times, begun)
        return ids[at - 1] if at else None

    ends: dict[int, tuple[int, bool]] = {}
    for begun, _, thread, ended, failed in waits:
        if (number := newest(thread, begun)) is not None:
            ends.setdefault(number, (ended, failed))
    last = {newest(thread, begun) for thread, begun in waiting.items()}
    return ends, {number for number in last if number is not None and number not in ends}


def _ended(entry: Mapping[str, Any]) -> int | None:
    """When a collective ended by the recorder's own account, which only NCCL's watchdog keeps.

    The watchdog notices the end late, by up to its period. The duration is that of the kernel; it
    is recorded only with ``TORCH_NCCL_ENABLE_TIMING``.
    """
    completed, started = entry["time_discovered_completed_ns"], entry["time_discovered_started_ns"]
    duration = entry.get("duration_ms")
    if completed is None or started is None or duration is None:
        return None if completed is None else int(completed)
    return int(min(completed, started + duration * 1e6))


_ITEMSIZE: dict[str, int] = {}


def _nbytes(entry: Mapping[str, Any]) -> int:
    total = 0
    for sizes, name in zip(entry["input_sizes"], entry["input_dtypes"], strict=False):
        size = _ITEMSIZE.get(name)
        if size is None:
            dtype = getattr(torch, python_name(name), None)
            size = _ITEMSIZE[name] = dtype.itemsize if isinstance(dtype, torch.dtype) else 0
        for length in sizes:
            size *= length
        total += size
    return total
