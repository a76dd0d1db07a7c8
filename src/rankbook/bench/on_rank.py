"""On a rank: issue a collective again and again, and take the time."""

from __future__ import annotations

import json
import math
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from rankbook.errors import InputError
from rankbook.models import to_dict
from rankbook.models.benchmarks import Timings

__all__ = ["Encoded", "measure"]

_WARM = 3
"""Operations before the first that counts: connections are made, memory is touched."""

_ROUND = 0.02
"""Seconds that a repetition lasts at least, unless one operation lasts longer."""

_MOST = 200
"""Operations of one repetition at most."""


class Encoded:
    """Timings on their way: the ``repr`` of a cell's value comes with its result."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings

    def __repr__(self) -> str:
        return json.dumps(to_dict(self._timings))


@dataclass(frozen=True)
class _Bench:
    """Where a rank measures."""

    group: Any
    rank: int
    """In the group."""
    size: int
    device: torch.device


def measure(
    namespace: Mapping[str, Any], collective: str, sizes: list[int], rounds: int, group: str
) -> Encoded:
    """Measure a collective.

    Args:
        namespace: The variables of the rank's cells.
        collective: One of :data:`rankbook.bench.collectives.BUS`.
        sizes: Bytes; none: only the group is looked up, and nothing is called.
        rounds: Repetitions.
        group: A dimension of a mesh and the variable that holds it, ``mesh.dp``; the variable of
            a group, or of a mesh of one dimension; empty: all ranks.

    Returns:
        How long it took; nothing on a rank that is in no such group, or alone in it.

    Raises:
        InputError: There is no such group.
    """
    chosen = _group(namespace, group)
    device = namespace["dist_info"].device
    if _is_of_others(chosen):
        return Encoded(Timings((), str(device), {}, socket.gethostname()))
    bench = _Bench(chosen, dist.get_rank(chosen), dist.get_world_size(chosen), device)
    seconds = {}
    for nbytes in sizes if bench.size > 1 else ():
        act = _ACTS[collective](bench, nbytes)
        seconds[nbytes] = tuple(_timed(bench, act, rounds))
    ranks = tuple(dist.get_process_group_ranks(chosen or dist.group.WORLD))
    return Encoded(Timings(ranks, str(device), seconds, socket.gethostname()))


def _group(namespace: Mapping[str, Any], name: str) -> Any:
    if not name:
        return None
    variable, _, dim = name.partition(".")
    found = namespace.get(variable)
    if isinstance(found, DeviceMesh):
        if not dim and found.ndim > 1:
            raise InputError(
                f"{variable} has several dimensions: name one, for example {variable}.dp."
            )
        return found.get_group(dim or 0)
    if isinstance(found, dist.ProcessGroup) or _is_of_others(found):
        return found
    raise InputError(f"{variable!r} is neither a dimension of the mesh nor a group.")


def _is_of_others(group: Any) -> bool:
    """Whether it is what ``new_group`` returns on a rank that is not in the group."""
    outside: Any = dist.GroupMember.NON_GROUP_MEMBER
    return type(group) is type(outside) and bool(group == outside)


def _timed(bench: _Bench, act: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of one operation, by repetition."""
    for _ in range(_WARM):
        act()
    _finish(bench)
    first = statistics.median(_round(bench, act, 1) for _ in range(3))
    # All ranks must issue equally many.
    longest = torch.tensor([first], dtype=torch.float64, device=bench.device)
    dist.all_reduce(longest, dist.ReduceOp.MAX, group=bench.group)
    count = max(1, min(_MOST, math.ceil(_ROUND / float(longest.item()))))
    return [_round(bench, act, count) for _ in range(rounds)]


def _round(bench: _Bench, act: Callable[[], Any], count: int) -> float:
    dist.barrier(group=bench.group)
    begin = time.perf_counter()
    for _ in range(count):
        act()
    _finish(bench)
    return (time.perf_counter() - begin) / count


def _finish(bench: _Bench) -> None:
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)


def _floats(bench: _Bench, nbytes: int) -> torch.Tensor:
    return torch.zeros(max(1, nbytes // 4), dtype=torch.float32, device=bench.device)


def _parts(bench: _Bench, nbytes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One rank's part of a buffer, and the whole."""
    part = _floats(bench, nbytes // bench.size)
    return part, part.new_zeros(part.numel() * bench.size)


def _all_reduce(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    x = _floats(bench, nbytes)
    return lambda: dist.all_reduce(x, group=bench.group)


def _all_gather(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    part, whole = _parts(bench, nbytes)
    return lambda: dist.all_gather_into_tensor(whole, part, group=bench.group)


def _reduce_scatter(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    part, whole = _parts(bench, nbytes)
    return lambda: dist.reduce_scatter_tensor(part, whole, group=bench.group)


def _all_to_all(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    _, whole = _parts(bench, nbytes)
    other = torch.empty_like(whole)
    return lambda: dist.all_to_all_single(other, whole, group=bench.group)


def _broadcast(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    x = _floats(bench, nbytes)
    return lambda: dist.broadcast(x, group=bench.group, group_src=0)


def _reduce(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    x = _floats(bench, nbytes)
    return lambda: dist.reduce(x, group=bench.group, group_dst=0)


def _gather(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    part, whole = _parts(bench, nbytes)
    into = list(whole.chunk(bench.size)) if bench.rank == 0 else None
    return lambda: dist.gather(part, into, group=bench.group, group_dst=0)


def _scatter(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    part, whole = _parts(bench, nbytes)
    out_of = list(whole.chunk(bench.size)) if bench.rank == 0 else None
    return lambda: dist.scatter(part, out_of, group=bench.group, group_src=0)


def _send_recv(bench: _Bench, nbytes: int) -> Callable[[], Any]:
    """Each rank to the next, in a ring."""
    x = _floats(bench, nbytes)
    y = torch.empty_like(x)
    ranks = dist.get_process_group_ranks(bench.group or dist.group.WORLD)
    to, source = ranks[(bench.rank + 1) % bench.size], ranks[bench.rank - 1]

    def act() -> None:
        ops = [
            dist.P2POp(dist.isend, x, to, bench.group),
            dist.P2POp(dist.irecv, y, source, bench.group),
        ]
        for work in dist.batch_isend_irecv(ops):
            work.wait()

    return act


_ACTS = {
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "all_to_all": _all_to_all,
    "broadcast": _broadcast,
    "reduce": _reduce,
    "gather": _gather,
    "scatter": _scatter,
    "send_recv": _send_recv,
}
