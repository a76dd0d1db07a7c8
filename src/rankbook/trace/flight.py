"""Calls of all ranks as dumps of torch's flight recorder, for ``torchfrtrace`` to analyse.

The calls are those of our own account, so they are there on any backend and any version of torch,
with the line that called them, and none of a group that was left. Its analyser finds the first
collective that not all ranks have called, or that they called differently.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rankbook.models import Collective, Look

__all__ = ["PREFIX", "dumps"]

PREFIX = "rank_"
"""How the file of a rank is called, with its number behind."""

_VERSION = "2.10"
"""Of the format, as torch 2.9 to 2.15 write and read it."""

_NAMES = {
    "all_gather_coalesced": "all_gather_into_tensor_coalesced",
    "all_gather_into_tensor": "_all_gather_base",
    "all_reduce_coalesced": "allreduce_coalesced",
    "gather_into_tensor": "gather",
    "monitored_barrier": "barrier",
    "reduce_scatter_tensor": "_reduce_scatter_base",
}
"""What the recorder calls operations, where that differs from the function."""

_KNOWN = {
    *("broadcast", "reduce", "all_gather", "all_reduce", "reduce_scatter", "gather", "scatter"),
    *("all_to_all", "all_to_all_single", "barrier", "reduce_scatter_tensor_coalesced"),
    *("send", "recv", *_NAMES.values()),
}
"""What the analyser of every version knows; it ends at anything else."""

_PLACE = re.compile(r"(?P<file>.+?)(?::| line )(?P<line>\d+)(?: in (?P<scope>[^\s,:]+))?")

_Sizes = Sequence[Sequence[int]]


def dumps(looks: Mapping[int, Look], now: float) -> dict[int, dict[str, Any]]:
    """Make dumps of what ranks have called lately.

    Args:
        looks: By rank; one that does not answer or has ended has no dump.
        now: Seconds since the epoch.

    Returns:
        By rank, what is to be pickled.
    """
    world = range(len(looks))
    calls = {
        rank: [call for call in look.recent if _name(call) in _KNOWN and call.seq is not None]
        for rank, look in looks.items()
        if look.state not in ("gone", "no answer")
    }
    begin = _first_numbers(calls)
    groups = {
        _group(call): call.ranks or tuple(world) for known in calls.values() for call in known
    }
    groups.setdefault("0", tuple(world))
    return {
        rank: {
            "version": _VERSION,
            "pg_config": {
                name: {"name": name, "desc": _description(ranks, world), "ranks": str(list(ranks))}
                for name, ranks in sorted(groups.items())
                if rank in ranks
            },
            "entries": [
                _entry(rank, number, call, looks[rank], world, now)
                for number, call in enumerate(
                    call for call in known if (call.seq or 0) >= begin.get(_group(call), 0)
                )
            ],
        }
        for rank, known in calls.items()
    }


def _first_numbers(calls: Mapping[int, Sequence[Collective]]) -> dict[str, int]:
    """By group, the number from which all ranks that used it tell its collectives."""
    first: dict[str, int] = {}
    for known in calls.values():
        here: dict[str, int] = {}
        for call in known:
            if not _is_p2p(call):
                here.setdefault(_group(call), call.seq or 0)
        first |= {name: max(number, first.get(name, 0)) for name, number in here.items()}
    return first


def _entry(
    rank: int, record: int, call: Collective, look: Look, world: range, now: float
) -> dict[str, Any]:
    ranks = call.ranks or tuple(world)
    inputs, outputs = _sizes(call, len(ranks))
    created = int((now - call.since) * 1e9)
    backend = (look.info.backend if look.info else "").rpartition(":")[2] or "gloo"
    return {
        "record_id": record,
        "pg_id": 0,
        "process_group": (_group(call), _description(ranks, world)),
        "collective_seq_id": 0 if _is_p2p(call) else call.seq,
        "p2p_seq_id": call.seq if _is_p2p(call) else 0,
        "op_id": record,
        "profiling_name": f"{backend}:{_name(call)}{_between(rank, call, ranks)}",
        "time_created_ns": created,
        "input_sizes": inputs,
        "output_sizes": outputs,
        "input_dtypes": list(call.dtypes),
        "output_dtypes": list(call.dtypes),
        "state": "completed" if call.done else "scheduled",
        "time_discovered_started_ns": None,
        "time_discovered_completed_ns": None,
        "retired": call.done,
        "timeout_ms": int(60_000 * look.info.timeout_minutes) if look.info else 0,
        "is_p2p": _is_p2p(call),
        "frames": list(_frames(call.line)),
    }


def _name(call: Collective) -> str:
    return _NAMES.get(call.op, call.op)


def _group(call: Collective) -> str:
    return call.group or "0"


def _description(ranks: Sequence[int], world: range) -> str:
    return "default_pg" if len(ranks) == len(world) else "undefined"


def _is_p2p(call: Collective) -> bool:
    return call.op in ("send", "recv")


def _between(rank: int, call: Collective, ranks: Sequence[int]) -> str:
    """``" 0->1"`` of a send, ``" 1<-0"`` of a recv, in ranks of the group."""
    if not _is_p2p(call):
        return ""
    here = ranks.index(rank)
    there = ranks.index(call.peer) if call.peer in ranks else here
    return f" {here}->{there}" if call.op == "send" else f" {here}<-{there}"


def _sizes(call: Collective, count: int) -> tuple[_Sizes, _Sizes]:
    """What goes in and comes out; the account keeps what a rank gives.

    Args:
        call: The call.
        count: Number of ranks of its group.
    """
    given = [list(size) for size in call.sizes]
    if not given:
        return [], []
    if "all_gather" in call.op:
        return given, [[count, *size] for size in given]
    if call.op == "reduce_scatter":
        return [[count, *given[0]]], given[:1]
    if "reduce_scatter" in call.op:
        return given, [[math.prod(size) // count] for size in given]
    return given, given


def _frames(line: str) -> Iterator[dict[str, Any]]:
    if match := _PLACE.match(line):
        yield {"name": match["scope"] or "", "filename": match["file"], "line": int(match["line"])}
