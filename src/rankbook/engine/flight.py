"""What this rank has in flight, for a diagnosis: the flight recorder's view and the frames'.

torch's flight recorder numbers the collectives of each group, which tells whether two ranks stand
at the same one. It does not see send and recv, monitored_barrier, nor what is checked by
``TORCH_DISTRIBUTED_DEBUG=DETAIL``; those come from the arguments of the call on the stack. (2.8 to
2.13; the names are private, ``tests/unit/test_private_api.py`` says so if they go.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import psutil
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from torch._C._distributed_c10d import DebugLevel, get_debug_level

from rankbook.dtypes import python_name
from rankbook.engine import frames
from rankbook.engine.frames import Position
from rankbook.engine.recorder import Recorder, members
from rankbook.engine.waits import P2P, WORK
from rankbook.models import Collective, Look

__all__ = ["Observer"]

_KEPT = 16
"""Calls of each group that a look carries."""

_MOMENT = 0.03
"""Seconds in which a thread that computes uses its core."""

_SETTLED = 0.025
"""Seconds of standing still after which a thread inside C++ is taken to wait."""

_QUIET_CPU = 0.01
"""Share of one core that a quiet process may use: its control thread answers, timers tick."""

_QUIET_GROUP = 0.006
"""The same for each group: a thread of gloo's wakes a hundred times a second for nothing."""

_NOT_RECORDED = {"send", "recv", "isend", "irecv", "monitored_barrier", "batch_isend_irecv"}


class Observer:
    """Looks at this rank from the control thread, and remembers since when it has not moved."""

    def __init__(self, recorder: Recorder, silent_for: Callable[[str], float | None]) -> None:
        """Begin to look.

        Args:
            recorder: What torch has recorded.
            silent_for: See :meth:`rankbook.engine.sockets.GlooSockets.silent_for`.
        """
        self._recorder = recorder
        self._silent_for = silent_for
        self._mark: object = None
        self._cpu = 0.0
        self._still_since = self._quiet_since = self._last = time.monotonic()

    def forget(self) -> None:
        """Begin anew: the main thread is about to do something else."""
        self._mark = None

    def look(self, doing: str, cell: int | None, since_ns: int) -> Look:
        """See what the rank does.

        Args:
            doing: The request that the main thread works at, empty if none.
            cell: Number of the cell that runs, None if none does.
            since_ns: When the present group began, ns since the epoch: what the recorder kept of
                earlier ones is left out.
        """
        at = frames.position()
        still, quiet = self._stillness(at)
        passing = not doing and not at.in_loop  # some callback, of the heartbeat, say
        if passing or (at.in_torch and not still):
            # It may wait, or compute in C++, or be on its way through a call. That is seen only
            # after a moment, and asking torch what it has recorded would hold up one that moves.
            time.sleep(_MOMENT)
            at = frames.position()
            still, quiet = self._stillness(at)
        if not doing and at.in_loop:
            state = "running" if frames.other_threads_in_torch_distributed() else "idle"
            return Look(state, "", cell, None, _recorded(self._recorder, since_ns), still, quiet)
        line = at.line or (doing if doing != "run" else "")
        recent: tuple[Collective, ...] = ()
        waiting = None
        # A thread that computes need not be asked what it has started: it can go on in any case.
        if at.in_torch and still >= _SETTLED:
            recent = _recorded(self._recorder, since_ns)
            waiting = _waits_in(at, recent)
        state = "waiting" if waiting else "running"
        silent = self._silent_for(waiting.group) if waiting else None
        return Look(state, line, cell, waiting, recent, still, quiet, silent)

    def _stillness(self, at: Position) -> tuple[float, float]:
        """Seconds since the main thread, and since any thread, was seen to do something."""
        now = time.monotonic()
        # Who polls is given a core now and then, and stands still all the same.
        mark = (at.mark,) if at.in_store else (at.mark, _times_scheduled(), round(_main_cpu(), 3))
        cpu = time.process_time() - time.thread_time()
        if mark != self._mark:
            self._still_since = now
        share = _QUIET_CPU + _QUIET_GROUP * len(c10d._world.pg_map)
        if cpu - self._cpu > 0.002 + share * (now - self._last):
            self._quiet_since = now
        if at.in_store:
            # Nothing is on its way to who waits for a key: other ranks' main threads set those.
            self._quiet_since = self._still_since
        self._mark, self._cpu, self._last = mark, cpu, now
        return now - self._still_since, now - self._quiet_since


def _main_cpu() -> float:
    """CPU seconds of the main thread; 0 where the system does not tell."""
    ident = threading.main_thread().ident
    if ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def _times_scheduled() -> int:
    """How often the main thread was given a core: it has done nothing if that stays the same."""
    # On Linux psutil reads what the kernel says of the main thread; elsewhere of all threads, so
    # that a process in which one is busy is never taken to stand still.
    switches = psutil.Process().num_ctx_switches()
    return int(switches.voluntary + switches.involuntary)


def _waits_in(at: Position, recent: tuple[Collective, ...]) -> Collective | None:
    if at.call in _NOT_RECORDED or (at.call and get_debug_level() == DebugLevel.DETAIL):
        return _from_arguments(at)
    if at.awaits == P2P and not at.call:
        return Collective("wait")
    # What was started first is what the rest waits for.
    name, _ = _group(at.arguments.get("group")) if at.call else ("", ())
    open_ones = [call for call in recent if not call.done]
    open_ones = [call for call in open_ones if call.group == name] or open_ones
    if open_ones:
        # The recorder does not know roots; the call on the stack is the latest one.
        peer = _peer(at.arguments, open_ones[0].ranks) if len(open_ones) == 1 else None
        return replace(open_ones[0], peer=peer)
    if at.call:
        return _from_arguments(at)
    # A future of which no collective is known may be anybody's: of a thread that computes, say.
    return Collective("wait") if at.awaits in (WORK, P2P) else None


def _from_arguments(at: Position) -> Collective:
    given = at.arguments
    name, ranks = _group(given.get("group"))
    tensors = [v for k in ("tensor", "tensor_list", "input", "output") for v in _tensors(given, k)]
    return Collective(
        at.call,
        name,
        ranks,
        sizes=tuple(tuple(t.shape) for t in tensors[:1]),
        dtypes=tuple(str(t.dtype).removeprefix("torch.") for t in tensors[:1]),
        peer=_peer(given, ranks),
    )


def _tensors(given: dict[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    values = value if isinstance(value, (list, tuple)) else [value]
    return [v for v in values if hasattr(v, "dtype") and hasattr(v, "shape")]


def _peer(given: dict[str, Any], ranks: tuple[int, ...]) -> int | None:
    for name in ("src", "dst"):
        if isinstance(given.get(name), int):
            return int(given[name])
    for name in ("group_src", "group_dst"):
        if isinstance(its := given.get(name), int):
            return ranks[its] if its < len(ranks) else its
    return None


def _group(group: Any) -> tuple[str, tuple[int, ...]]:
    """Name and global ranks of a group; None is the default one, empty if unknown."""
    group = dist.group.WORLD if group is None else group
    if not isinstance(group, dist.ProcessGroup):  # a mesh, say; or it is only being made
        return "", ()
    return str(group.group_name), tuple(c10d._world.pg_group_ranks.get(group, ()))


def _recorded(recorder: Recorder, since_ns: int) -> tuple[Collective, ...]:
    """The latest calls of every group, in the order in which they were made."""
    now = time.time_ns()
    ranks = members()
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
            ranks.get(entry["process_group"][0], ()),
            entry["collective_seq_id"],
            tuple(map(tuple, entry["input_sizes"])),
            tuple(map(python_name, entry["input_dtypes"])),
            done=bool(entry["retired"]),
            since=(now - entry["time_created_ns"]) / 1e9,
        )
        for entry in kept
    )


def _worth_keeping(entries: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Those that have not completed, from the first on, and some before."""
    first = next((i for i, entry in enumerate(entries) if not entry["retired"]), len(entries))
    return entries[max(0, min(first, len(entries) - _KEPT)) : first + _KEPT]
