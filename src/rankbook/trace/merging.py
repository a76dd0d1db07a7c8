"""One Chrome trace of the traces of all ranks, as Perfetto and chrome://tracing show it; pure.

Each rank is a process, named with its host. Its own threads and streams follow below a track with
its calls of torch.distributed, which the account of calls knows. Arrows lead from the rank that
came last to a collective to those that waited for it, and from a send to its recv.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rankbook.models.calls import Call
from rankbook.trace.lanes import lanes
from rankbook.trace.waits import Meeting

__all__ = ["Recorded", "merge"]

_Event: TypeAlias = dict[str, Any]

_CALLS = 0
"""The track with calls of torch.distributed; a rank's threads come after it."""

_BESIDE = 1_000_000
"""Distance between the numbers of a track and of the next one for bars that overlap in it."""

_FLOWS = ("s", "t", "f")
_MARGIN = 1e-3
"""Seconds before and after the cell of which events are kept."""

_INSIDE = 0.001
"""Microseconds by which an arrow begins and ends within its bar."""


@dataclass(frozen=True)
class Recorded:
    """What one rank has recorded."""

    trace: Mapping[str, Any]
    """As ``torch.profiler`` exports it."""
    host: str
    ahead: float
    """Seconds by which the clock of its host is ahead of the one that counts."""
    started: float
    """When the cell began, by its own clock, seconds since the epoch."""
    seconds: float
    """How long the cell ran."""


def merge(
    recorded: Mapping[int, Recorded], met: Sequence[Meeting]
) -> tuple[str, dict[int, int], int]:
    """Merge traces.

    Args:
        recorded: By rank.
        met: The calls of all ranks, by the clock that counts.

    Returns:
        The trace as JSON; by rank, how many operations of the processor are in it; and how many
        events of all kinds.
    """
    zero = min(one.started - one.ahead for one in recorded.values())
    texts: list[str] = []
    operations, count = {}, 0
    for rank, one in recorded.items():
        events = [*_apart(list(_of_rank(rank, one, zero)))]
        count += len(events)
        operations[rank] = sum(event.get("cat") == "cpu_op" for event in events)
        texts += map(json.dumps, [*_names(rank, one.host), *events])
    texts += map(json.dumps, _apart(list(_of_calls(met, recorded.keys(), zero))))
    body = ",\n".join(texts)
    text = f'{{"schemaVersion": 1, "displayTimeUnit": "ms", "traceEvents": [\n{body}\n]}}\n'
    return text, operations, count


def _names(rank: int, host: str) -> Iterator[_Event]:
    def named(what: str, args: _Event, track: int | None = None) -> _Event:
        thread = {} if track is None else {"tid": track}
        return {"ph": "M", "name": what, "pid": rank, "ts": 0, "args": args, **thread}

    yield named("process_name", {"name": f"rank {rank} on {host}"})
    yield named("process_sort_index", {"sort_index": rank})
    yield named("thread_name", {"name": "torch.distributed"}, _CALLS)
    yield named("thread_sort_index", {"sort_index": -1}, _CALLS)


def _of_rank(rank: int, one: Recorded, zero: float) -> Iterator[_Event]:
    """The events of one rank, as its own process and by the clock that counts."""
    tracks: dict[tuple[Any, Any], int] = {}
    base = one.trace.get("baseTimeNanoseconds", 0) / 1e3
    shift = base - (one.ahead + zero) * 1e6
    begin = (one.started - one.ahead - zero - _MARGIN) * 1e6
    end = begin + (one.seconds + 2 * _MARGIN) * 1e6
    for event in one.trace["traceEvents"]:
        phase, thread = event["ph"], event.get("tid")
        where = (event.get("pid"), thread)
        if phase == "M":
            if event["name"] == "thread_name" and where not in tracks:
                track = tracks[where] = len(tracks) + 1
                yield {**event, "pid": rank, "tid": track, "ts": 0}
            continue
        at = event["ts"] + shift
        if not begin <= at <= end or event.get("cat") == "Trace" or phase == "i":
            continue
        track = tracks.get(where) or tracks.setdefault(where, len(tracks) + 1)
        own = {"id": f"{rank}.{event['id']}"} if phase in _FLOWS else {}
        yield {**event, "pid": rank, "tid": track, "ts": at, **own}


def _apart(events: list[_Event]) -> Iterator[_Event]:
    """Move bars that overlap others of their track, and their arrows, to tracks beside it."""
    tracks: dict[tuple[int, int], list[_Event]] = {}
    for event in events:
        if event["ph"] == "X":
            tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    moved: dict[Any, int] = {}
    for (rank, track), bars in tracks.items():
        found = lanes([(bar["ts"], bar["ts"] + bar["dur"]) for bar in bars])
        name = names.get((rank, track), "torch.distributed")
        for lane in sorted({*found} - {0}):
            where = {"ph": "M", "pid": rank, "tid": track + lane * _BESIDE, "ts": 0}
            yield {**where, "name": "thread_name", "args": {"name": f"{name}, beside it"}}
            if track == _CALLS:
                yield {**where, "name": "thread_sort_index", "args": {"sort_index": -1}}
        for bar, lane in zip(bars, found, strict=True):
            bar["tid"] += lane * _BESIDE
            moved[rank, bar["name"], bar["ts"]] = bar["tid"]
    for event in events:
        bar = event.pop("bar", None)
        yield event if bar is None else {**event, "tid": moved[bar]}


def _of_calls(met: Iterable[Meeting], ranks: Iterable[int], zero: float) -> Iterator[_Event]:
    known = set(ranks)
    for number, meeting in enumerate(met):
        for rank, call in meeting.calls.items():
            if rank in known:
                yield _bar(rank, call, meeting, zero)
        last = meeting.last
        for rank in meeting.calls.keys() & known if last in meeting.calls.keys() & known else ():
            if rank != last:
                yield from _arrow(f"c{number}.{rank}", last, rank, meeting, zero)


def _bar(rank: int, call: Call, meeting: Meeting, zero: float) -> _Event:
    waited, moved = meeting.waits(rank)
    return {
        "ph": "X",
        "cat": "torch.distributed",
        "name": f"{call.op} #{call.number}",
        "pid": rank,
        "tid": _CALLS,
        "ts": (call.issued - zero) * 1e6,
        "dur": (meeting.end(rank) - call.issued) * 1e6,
        "args": {
            "line": call.line,
            "group": call.key or call.group,
            "bytes": call.nbytes,
            "waited for others (us)": round(waited * 1e6, 1),
            "communicated (us)": round(moved * 1e6, 1),
            "last rank": meeting.last,
            "completed": call.completed is not None,
        },
    }


def _arrow(name: str, source: int, target: int, meeting: Meeting, zero: float) -> Iterator[_Event]:
    def at(rank: int, seconds: float, offset: float) -> _Event:
        ts = (seconds - zero) * 1e6 + offset
        call = meeting.calls[rank]
        bar = (rank, f"{call.op} #{call.number}", (call.issued - zero) * 1e6)
        return {"pid": rank, "tid": _CALLS, "ts": ts, "id": name, "bar": bar}

    plain = {"cat": "torch.distributed", "name": "came last"}
    begin = meeting.calls[source].issued
    yield {"ph": "s", **plain, **at(source, begin, _INSIDE)}
    end = meeting.end(target)
    yield {"ph": "f", "bp": "e", **plain, **at(target, end, -_INSIDE)}
