"""Queries on the calls of an account: which of them, and which of those are open."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.records import P2P, Group, Record, is_open, to_call
from rankbook.models.calls import Call, Slot

__all__ = ["as_collective", "latest"]


def latest(
    records: Iterable[Record], generation: int, since: int, kept: int
) -> list[tuple[Call, bool]]:
    """Choose the latest calls of each group: see :meth:`rankbook.calls.ledger.Ledger.latest`."""
    groups: dict[str, tuple[Group, list[tuple[Record, bool]]]] = {}
    for record in records:
        group = record.group
        if record.issued < since or group.generation != generation or not record.number:
            continue
        if (pg := group.ref()) is None or pg not in c10d._world.pg_names:
            continue
        name = group.name
        if name not in groups or groups[name][0] is not group:
            groups[name] = group, []
        groups[name][1].append((record, is_open(record)))
    found: list[tuple[Record, bool]] = []
    for _, entries in groups.values():
        first = next((i for i, (_, opened) in enumerate(entries) if opened), len(entries))
        found += entries[max(0, min(first, len(entries) - kept)) : first + kept]
    found.sort(key=lambda each: each[0].id)
    return [(to_call(record), opened) for record, opened in found]


def as_collective(records: Sequence[Record], slot: Slot) -> Call | None:
    """Find the call with a number in a group; None if it is not kept."""
    for record in reversed(records):
        group = record.group
        found = Slot(group.key, group.ranks, group.generation, record.number)
        if found == slot and record.site.op not in P2P:
            spot = record.site.spot
            by_main = record.thread == threading.main_thread().ident
            return replace(to_call(record), text=spot.text if spot else "", by_main=by_main)
    return None
