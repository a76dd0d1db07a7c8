"""Which calls this rank made, and when they ended, for the timeline: read from its account."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from rankbook.calls import Ledger
from rankbook.engine.group.nccl import Streams
from rankbook.models.calls import Call, Place
from rankbook.models.recorded import Entry, EntryGroup, Recording

__all__ = ["Epoch", "History"]


class Epoch(NamedTuple):
    """A process group of the session: since when, and which rank this engine was in it."""

    began: int
    """ns since the epoch."""
    generation: int
    rank: int


class History:
    """Tells what was called since it was asked last."""

    def __init__(self, ledger: Ledger, streams: Streams) -> None:
        """Begin.

        Args:
            ledger: What this process calls.
            streams: When NCCL's calls ended, which return, as waits for them do, before that.
        """
        self._ledger = ledger
        self._streams = streams

    def tell(self, epochs: Sequence[Epoch], after: int | None, mark: str = "") -> Recording:
        """Tell what was called.

        Args:
            epochs: The session's groups, the oldest first.
            after: Tell of calls with a higher id; None: of none.
            mark: Of the last answer; if nothing was called or has ended since then, nothing is
                looked up.
        """
        # Of CPU: while this thread waits for the GIL, or for a core, it holds up no other.
        begun = time.thread_time()
        # The clock is read first: what is called later than that is not in this answer.
        answer = Recording(time.time())
        if after is not None:
            # Taken before the calls: what is called in between is told of once more.
            present = self._ledger.mark + self._streams.mark().decode()
            if present != mark:
                answer = replace(self._recording(epochs, after), now=answer.now, mark=present)
        return replace(answer, took=time.thread_time() - begun)

    def _recording(self, epochs: Sequence[Epoch], after: int) -> Recording:
        calls, dropped = self._ledger.since(after)
        ends = _ends_of_streams(self._streams.entries())
        ranks = {epoch.generation: epoch.rank for epoch in epochs}
        ops: dict[str, int] = {}
        groups: dict[EntryGroup, int] = {}
        places = {"": 0}
        entries = []
        for call in calls:
            if call.generation not in ranks:
                continue
            group = _group(call, ranks[call.generation])
            ended = call.completed
            if call.stream_ordered and not call.failed:
                ended = ends.get((call.group, call.number))
            entries.append(
                Entry(
                    call.id,
                    ops.setdefault(call.op, len(ops)),
                    groups.setdefault(group, len(groups)),
                    call.number,
                    call.issued,
                    ended,
                    ended is not None,
                    call.nbytes,
                    call.failed,
                    places.setdefault(_where(call), len(places)),
                )
            )
        return Recording(
            now=0.0,
            first=max(0, after) + dropped + 1 if calls or dropped else 0,
            ops=tuple(ops),
            groups=tuple(groups),
            places=tuple(places),
            entries=tuple(entries),
        )


def _where(call: Call) -> str:
    """The line that made a call, in words."""
    return _in_words(call.place, call.called_from) if call.place else ""


@lru_cache(maxsize=1024)
def _in_words(place: Place, called_from: Place | None) -> str:
    return f"{place}, called from {called_from}" if called_from else str(place)


def _group(call: Call, rank: int) -> EntryGroup:
    """Whose call it is: of all members of a group, or of the two ends of a send and a recv."""
    if not call.is_p2p:
        return EntryGroup(call.key or call.group, call.ranks, call.generation, rank)
    ends = (rank, call.peer) if call.op == "send" else (call.peer, rank)
    known = tuple(sorted(end for end in ends if end is not None))
    tag = f" tag {call.tag}" if call.tag else ""
    direction = "→".join("any" if end is None else str(end) for end in ends)
    return EntryGroup(f"{call.key or call.group}: {direction}{tag}", known, call.generation, rank)


def _ends_of_streams(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], float]:
    """By group and number, when calls ended by the account of NCCL's recorder."""
    return {
        (entry["process_group"][0], entry["collective_seq_id"]): ended / 1e9
        for entry in entries
        if not entry["is_p2p"] and (ended := _ended(entry)) is not None
    }


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
