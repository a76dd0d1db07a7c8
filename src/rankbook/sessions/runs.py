"""The cells of a session: the one that runs, and what is remembered of those that ran."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rankbook.cluster.channel import Channel
from rankbook.models import CellSpan, Diagnosis, Failure
from rankbook.sessions.aftermath import Aftermath
from rankbook.sessions.cells import Cell, CellOutput, RunningCell
from rankbook.sessions.rescue import Rescue
from rankbook.sessions.results import CellResult
from rankbook.sessions.watching import Watch

__all__ = ["Runs"]

_REMEMBERED = 300
"""Cells of which it is known when they ran."""


class Runs:
    """Runs one cell at a time; everything else is answered from any thread meanwhile."""

    def __init__(self, channel: Channel, rescue: Rescue, aftermath: Aftermath) -> None:
        self._channel = channel
        self._rescue = rescue
        self._aftermath = aftermath
        self._cell: RunningCell | None = None
        self._watch: Watch | None = None
        self._verdict: Diagnosis | None = None
        self._spans: deque[CellSpan] = deque(maxlen=_REMEMBERED)

    def run(self, cell: Cell, engines: Sequence[int], output: CellOutput | None) -> CellResult:
        """Run a cell to its end, whatever it takes.

        Args:
            cell: What is to run, and where.
            engines: By rank, all ranks of the group.
            output: Shows what the ranks say.
        """
        rescue = self._rescue
        running = RunningCell(self._channel, cell, output, rescue.free, rescue.diagnose)
        self._watch = watch = Watch(
            self._channel,
            {engine: rank for rank, engine in enumerate(engines)},
            lambda looks: rescue.complete(engines, looks, running.progress),
        )
        self._cell, self._verdict = running, None
        self._spans.append(CellSpan(cell.number, cell.label, time.time()))
        result: CellResult | None = None
        try:
            result, freed = running.finish(watch)
        finally:
            self._spans[-1] = replace(self._spans[-1], ended=time.time())
            self._verdict = watch.proof if result is None else result.diagnosis
            self._cell = self._watch = None
        result = self._aftermath.settle(result, freed, cell.rank_of.values())
        self._verdict = result.diagnosis  # of ranks that died, or disagreed, it is known by now
        return result

    @property
    def spans(self) -> Sequence[CellSpan]:
        """When the latest cells ran on the ranks, the newest last."""
        return tuple(self._spans)

    @property
    def verdict(self) -> tuple[Diagnosis | None, bool]:
        """Why the cell that runs cannot end, or the last one could not; and whether it runs."""
        watch = self._watch
        if watch is None:
            return self._verdict, False
        return watch.verdict, watch.verdict is not None

    @property
    def progress(self) -> Mapping[int, Failure | str | None]:
        """By rank, what has become of the cell that runs; see :class:`RunningCell`."""
        cell = self._cell
        return {} if cell is None else cell.progress

    def forget_verdict(self) -> None:
        """The group is made anew by request: what was wrong before is no news any more."""
        self._verdict = None

    def confirm(self) -> None:
        """Keep what is wrong with the cell that runs as a proof; it is about to be freed."""
        if (watch := self._watch) is not None:
            watch.confirm(lambda: self._rescue.diagnose(self.progress))

    def look_soon(self) -> None:
        """Something has changed: look at the ranks at once, if a cell runs."""
        if (watch := self._watch) is not None:
            watch.soon()
