"""Profiling a cell: a profiler around it on each rank, and one trace of all of them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rankbook.errors import InputError, RankbookError
from rankbook.models import load
from rankbook.models.calls import Call
from rankbook.models.profiles import Profile, Taken
from rankbook.models.requests import StartProfile, TakeProfile
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.live.clocks import HostClocks
from rankbook.sessions.members import Members, looks
from rankbook.trace import merging, waits
from rankbook.words import in_words, ranks_do, sentence_start

__all__ = ["Profiling"]

_NONE = (
    "There is no trace: the cell has used a profiler of its own, of which a process has one at a "
    "time, or its ranks have ended."
)

_STOP = 60.0
"""Seconds for ranks to write their traces."""


class Profiling:
    """One profiled cell.

    Args:
        members: The ranks.
        ranks: Those that run it.
        path: Where the trace goes.

    Raises:
        InputError: It cannot be written there, or a profiler runs already.
    """

    def __init__(
        self, members: Members, ranks: tuple[int, ...], path: str | os.PathLike[str]
    ) -> None:
        self._members = members
        self._path = Path(path).expanduser().absolute()
        if self._path.is_dir() or not self._path.parent.is_dir():
            raise InputError(f"The trace cannot be written to {self._path}: give a file's name.")
        self._ranks = ranks
        self._costs: Mapping[int, float] = members.ranks(ranks).ask(StartProfile())

    def drop(self) -> None:
        """Stop the profilers, and drop what they recorded."""
        with suppress(RankbookError):  # the error of the cell is reported
            self._members.living().only(self._ranks).ask(TakeProfile(), _STOP)

    def finish(self, result: CellResult) -> Profile:
        """Stop the profilers, and write one trace.

        Args:
            result: The cell's result. A rank that died, or does not let go, has no trace.
        """
        party = self._members.living().only(self._ranks)
        call = party.request(TakeProfile())
        call.wait(_STOP)
        taken = {rank: load(Taken, value) for rank, value in sorted(call.values.items())}
        traces = {
            rank: json.loads(gzip.decompress(buffers[0]))
            for rank in taken
            if (buffers := call.buffers(rank))
        }
        call.forget()
        if not traces:
            return Profile("", notes=(_NONE,))
        ahead, error = self._clocks(taken)
        recorded = {
            rank: merging.Recorded(
                trace, taken[rank].host, ahead[rank], taken[rank].started, result[rank].seconds
            )
            for rank, trace in traces.items()
            if rank in result
        }
        met = waits.meetings(
            {rank: _by_our_clock(one.calls, ahead[rank]) for rank, one in taken.items()}
        )
        text, operations, events = merging.merge(recorded, met)
        self._write(text)
        shares = {
            rank: replace(
                waits.share(rank, taken[rank].main, one.seconds, met),
                overhead=operations[rank] * self._costs.get(rank, 0.0),
            )
            for rank, one in recorded.items()
        }
        notes = tuple(_notes(taken, sorted(set(self._ranks) - set(recorded))))
        return Profile(str(self._path), shares, waits.worst(met), events, error, notes)

    def _clocks(self, taken: Mapping[int, Taken]) -> tuple[dict[int, float], float]:
        """By rank, how far its clock is ahead; and the largest possible error of that."""
        clocks = HostClocks(self._members, None)
        seen = looks.looks(self._members.living().only(taken), closely=False)
        clocks.compare(seen)
        ahead = {rank: clocks.offset(one.host) or 0.0 for rank, one in taken.items()}
        return ahead, max((clock["error"] for clock in clocks.all), default=0.0)

    def _write(self, text: str) -> None:
        data = text.encode()
        if self._path.suffix == ".gz":
            data = gzip.compress(data, 1)
        try:
            self._path.write_bytes(data)
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror}.") from None


def _by_our_clock(calls: tuple[Call, ...], ahead: float) -> list[Call]:
    if not ahead:
        return list(calls)
    times = ("issued", "returned", "awaited", "completed")
    return [
        replace(
            call, **{t: value - ahead for t in times if (value := getattr(call, t)) is not None}
        )
        for call in calls
    ]


def _notes(taken: Mapping[int, Taken], missing: list[int]) -> list[str]:
    notes = []
    if missing:
        they = sentence_start(ranks_do(missing, "has", "have"))
        notes.append(f"{they} no trace: it has ended, or does not answer.")
    lost = {rank: one.dropped for rank, one in taken.items() if one.dropped}
    if lost:
        notes.append(
            f"The first {max(lost.values()):,} calls of {in_words(lost)} are not in the account "
            "any more: they count as computing."
        )
    return notes
