"""Measuring a collective: it runs as a cell, so it is watched, freed and interrupted like one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rankbook.bench import collectives, fitting, sizes
from rankbook.errors import InputError
from rankbook.models import load
from rankbook.models.benchmarks import Benchmark, Timings
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.cells.results import CellResult
from rankbook.words import in_words, plural

if TYPE_CHECKING:
    from rankbook.sessions.code import SessionCode

__all__ = ["bench"]

_CALL = "__import__('rankbook.bench.on_rank', fromlist=['measure']).measure(globals(), {})"


def bench(
    session: SessionCode,
    run: Callable[[Cell], CellResult],
    collective: str,
    wanted: str,
    group: str,
    rounds: int,
    number: int,
) -> Benchmark:
    """Measure a collective; see :meth:`rankbook.Session.bench`.

    Args:
        session: Whose ranks measure.
        run: Runs a cell of that session.
        collective: Its name.
        wanted: The sizes as typed.
        group: The group's name, empty for all ranks.
        rounds: Repetitions of each size.
        number: The number of the notebook's cell.
    """
    collectives.refuse(collective)
    nbytes = sizes.parse(wanted)
    if rounds < 1:
        raise InputError(f"rounds must be positive, for example 20, and not {rounds}.")
    _refuse_one(collective, session.world_size)
    where = _variable(session, group)

    def ask(nbytes: Sequence[int]) -> dict[int, Timings]:
        given = (collective, list(nbytes), rounds, where)
        call = _CALL.format(", ".join(map(repr, given)))
        cell = Cell(call, session.select("all"), number, title=f"measuring {collective}")
        return _timings(run(cell), collective, session.backend)

    if group:
        # Before anything is called: a rank that cannot take part would leave the others waiting.
        _refuse_one(collective, max(len(one.group) for one in ask(()).values()), group)
    timings = {rank: one for rank, one in ask(nbytes).items() if one.seconds}
    groups = {one.group for one in timings.values()}
    ranks = max(map(len, groups))
    factor = collectives.factor(collective, ranks)
    rows = fitting.measured(timings, factor)
    device = next(iter(timings.values())).device
    link = _link(timings, session.backend)
    fit = fitting.fit(rows)
    by = (ranks, len(groups), session.backend, device.partition(":")[0], link, factor)
    return Benchmark(collective, rows, fit, *by)


def _timings(result: CellResult, collective: str, backend: str) -> dict[int, Timings]:
    _raise_for(result, collective, backend)
    return {
        rank: load(Timings, json.loads(done.result_repr or "{}")) for rank, done in result.items()
    }


def _variable(session: SessionCode, group: str) -> str:
    """The expression for a group on the ranks; a dimension needs the mesh's variable."""
    mesh = session.members.named_mesh
    return f"{mesh.name}.{group}" if mesh and group in mesh.dims else group


def _refuse_one(collective: str, ranks: int, group: str = "") -> None:
    if ranks < 2:  # noqa: PLR2004
        instead = "name a group of two or more" if group else "%dist_init -n 2 makes two"
        raise InputError(f"{collective} moves nothing in a group of one rank: {instead}.")


def _raise_for(result: CellResult, collective: str, backend: str) -> None:
    """Raise a rank's error: ours as it is; what the backend cannot do, in one line."""
    errors = {
        rank: done.error for rank, done in result.items() if done.error and not done.error.freed
    }
    refused = {rank: one.evalue for rank, one in errors.items() if one.ename == "InputError"}
    if refused:
        where = f"On {in_words(refused)}, " if len(refused) < len(result) else ""
        raise InputError(f"{where}{next(iter(refused.values()))}")
    for error in errors.values():
        if "not support" in error.evalue or error.ename == "NotImplementedError":
            reason = error.evalue.partition("\n")[0].rstrip(".")
            raise InputError(f"{backend} has no {collective} here: {reason}.")
    result.raise_for_error()


def _link(timings: Mapping[int, Timings], backend: str) -> str:
    """What carried the bytes, as far as is known."""
    hosts = sorted({one.host for one in timings.values()})
    if len(hosts) > 1:
        return f"{plural(len(hosts), 'host')} ({', '.join(hosts)}), over the network between them"
    if "nccl" in backend:
        return f"one host ({hosts[0]}): NVLink, PCIe or shared memory, as NCCL_DEBUG=INFO says"
    return f"loopback on one host ({hosts[0]}): no network, it measures memory and the processor"
