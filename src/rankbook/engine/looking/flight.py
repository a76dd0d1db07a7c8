"""The calls in flight on this rank, from its account of calls and, for NCCL, its recorder.

The account numbers the collectives of each group, which shows whether two ranks are at the same
one, and knows the announced wait of each thread. A torch function without announcements, such as
joining a group, is read from the arguments of the call on the stack.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d

from rankbook.calls import Ledger
from rankbook.calls.blocking import OPENING, OTHER_STORE, STORE, WORK
from rankbook.calls.blocking import P2P as OF_TWO
from rankbook.calls.records import P2P
from rankbook.distributed import meets
from rankbook.dtypes import python_name
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.recorder import Recorder, members
from rankbook.models import Collective
from rankbook.models.calls import OPENS, SCRIPTS, Wait
from rankbook.models.meetings import Meets

__all__ = ["called", "open_p2p", "recorded", "waits_in"]

_P2P_TITLE = re.compile(r"(send|recv) \d+(?:->|<-)(\d+)")
"""NCCL's name of a send or a receive, with ranks of the group."""

_KEPT = 16
"""How many calls of each group a look carries."""


def called(ledger: Ledger, since_ns: int) -> tuple[Collective, ...]:
    """The latest calls of every group, in the order in which they were issued.

    Args:
        ledger: Has them.
        since_ns: Earlier ones are left out; ns since the epoch.
    """
    now = time.time()
    return tuple(
        # The backend's recorder knows which calls are open on a stream.
        replace(Collective.of(call, now), done=call.stream_ordered or not is_open)
        for call, is_open in ledger.latest(since_ns, _KEPT)
    )


def waits_in(
    ledger: Ledger, at: Position, wait: Wait | None, recent: tuple[Collective, ...]
) -> Collective | None:
    """The call in which the main thread waits; None if it is not of ``torch.distributed``.

    Args:
        ledger: The account of the process.
        at: The thread's position.
        wait: The announced wait.
        recent: The latest calls, as far as they were looked up.
    """
    if wait is not None and wait.call is not None:
        return Collective.of(wait.call, time.time())
    making = ledger.groups.under_way(threading.main_thread().ident or 0)
    if making is not None and at.call:
        return Collective(at.call, making.name, making.ranks, makes=True, meets=making.meets)
    if wait is not None and wait.kind in (OPENING, STORE, OTHER_STORE):
        return _in_store(ledger, at, wait)
    return _unannounced(ledger, at, recent)


def _in_store(ledger: Ledger, at: Position, wait: Wait) -> Collective | None:
    """The call in which a thread waits for keys of a store: many torch calls, or user code."""
    if at.call:
        return _from_arguments(ledger, at)
    op = OPENS if wait.kind == OPENING else "store.wait"
    return Collective(op, entries=wait.entries, meets=_meets()) if at.line else None


def _unannounced(ledger: Ledger, at: Position, recent: tuple[Collective, ...]) -> Collective | None:
    """The call of a thread that has announced only that it waits, or nothing."""
    if at.awaits == OF_TWO and not at.call:
        return Collective("wait")
    # Waits inside C++ are not announced, as at the end of DDP's backward. The call that started
    # first holds up the others.
    open_ones = [call for call in recent if not call.done and call.op not in P2P]
    if open_ones:
        return open_ones[0]
    if at.call:
        return _from_arguments(ledger, at)
    # A future without a known collective may belong to something else, such as a computing thread.
    return Collective("wait") if at.awaits in (WORK, OF_TWO) else None


def _meets() -> Meets | None:
    """Where the main thread waits for others with which it has no group yet."""
    return meets.of_thread(threading.main_thread().ident or 0)


def _from_arguments(ledger: Ledger, at: Position) -> Collective:
    given, place = at.arguments, _meets()
    name, ranks = _group(ledger, given.get("group"))
    if place is not None or at.call == "init_process_group":
        name = SCRIPTS if ledger.groups.world else name  # there it is known which ranks meet
        size = place.size if place is not None else _world_size(given)
        ranks = ledger.groups.in_session(range(size))
    tensors = [v for k in ("tensor", "tensor_list", "input", "output") for v in _tensors(given, k)]
    return Collective(
        at.call,
        name,
        ranks,
        sizes=tuple(tuple(t.shape) for t in tensors[:1]),
        dtypes=tuple(str(t.dtype).removeprefix("torch.") for t in tensors[:1]),
        peer=_peer(given, ranks),
        meets=place,
    )


def _world_size(given: dict[str, Any]) -> int:
    """With how many ranks a default group is to be made; 0: unknown."""
    size = given.get("world_size")
    if not isinstance(size, int) or size <= 0:
        size = os.environ.get("WORLD_SIZE", "")
    return int(size) if str(size).isdigit() else 0


def _tensors(given: dict[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    values = value if isinstance(value, (list, tuple)) else [value]
    return [v for v in values if hasattr(v, "dtype") and hasattr(v, "shape")]


def _peer(given: dict[str, Any], ranks: tuple[int, ...]) -> int | None:
    for name in ("src", "dst"):
        if isinstance(given.get(name), int):
            return int(given[name])
    for name in ("group_src", "group_dst"):
        if isinstance(local := given.get(name), int):
            return ranks[local] if local < len(ranks) else local
    return None


def _group(ledger: Ledger, group: Any) -> tuple[str, tuple[int, ...]]:
    """Name and ranks of a group, None being the default one; empty if unknown."""
    group = dist.group.WORLD if group is None else group
    if not isinstance(group, dist.ProcessGroup):  # a mesh, or the group is being made
        return "", ledger.groups.world
    ranks = c10d._world.pg_group_ranks.get(group, ())
    return str(group.group_name), ledger.groups.in_session(ranks)


def recorded(
    recorder: Recorder,
    since_ns: int,
    ledger: Ledger | None = None,
) -> tuple[Collective, ...]:
    """The latest calls of every group, in the order in which they were made.

    Args:
        recorder: Has them.
        since_ns: Earlier ones are left out; ns since the epoch.
        ledger: Translates ranks and names of groups, which in a script differ.
    """
    now = time.time_ns()
    ranks, ledger = members(), ledger or Ledger()
    groups: dict[str, tuple[int, list[dict[str, Any]]]] = {}
    for entry in recorder.entries():
        if entry["time_created_ns"] < since_ns:
            continue
        name, nth = entry["process_group"][0], recorder.nth(entry, since_ns)
        if name not in groups or groups[name][0] != nth:
            groups[name] = (nth, [])  # a cell has destroyed the group and made another one
        groups[name][1].append(entry)
    kept = [entry for _, known in groups.values() for entry in _worth_keeping(known)]
    kept.sort(key=lambda entry: int(entry["record_id"]))
    return tuple(
        Collective(
            entry["profiling_name"].rpartition(":")[2],
            entry["process_group"][0],
            ledger.groups.in_session(ranks.get(entry["process_group"][0], ())),
            entry["collective_seq_id"],
            tuple(map(tuple, entry["input_sizes"])),
            tuple(map(python_name, entry["input_dtypes"])),
            done=bool(entry["retired"]),
            since=(now - entry["time_created_ns"]) / 1e9,
        )
        for entry in kept
    )


def open_p2p(recorder: Recorder, since_ns: int, ledger: Ledger) -> Collective | None:
    """The oldest send or receive that a stream has not completed, as :func:`recorded` found it."""
    now, ranks = time.time_ns(), members()
    for entry in recorder.open_p2p:
        title = _P2P_TITLE.search(entry["profiling_name"])
        if title is None or entry["time_created_ns"] < since_ns:
            continue
        name = entry["process_group"][0]
        in_session = ledger.groups.in_session(ranks.get(name, ()))
        peer = int(title[2])
        return Collective(
            title[1],
            name,
            in_session,
            sizes=tuple(map(tuple, entry["input_sizes"])),
            dtypes=tuple(map(python_name, entry["input_dtypes"])),
            peer=in_session[peer] if peer < len(in_session) else peer,
            since=(now - entry["time_created_ns"]) / 1e9,
        )
    return None


def _worth_keeping(entries: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The calls from the first open one on, and some before it."""
    first = next((i for i, entry in enumerate(entries) if not entry["retired"]), len(entries))
    return entries[max(0, min(first, len(entries) - _KEPT)) : first + _KEPT]
