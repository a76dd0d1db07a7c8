"""The cells of a session: the one that runs, and what is remembered of those that ran."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from rankbook.models import CellSpan, Diagnosis
from rankbook.sessions.cells.aftermath import Aftermath
from rankbook.sessions.cells.collecting import CellOutput
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.cells.running import Cell, RunningCell
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.repair import Repair
from rankbook.sessions.members import Members
from rankbook.sessions.members.looks import Progress, diagnose

__all__ = ["Cells"]

_REMEMBERED = 300
"""Cells of which it is known when they ran."""


class Cells:
    """Runs one cell at a time; everything else is answered from any thread meanwhile."""

    def __init__(self, members: Members, group: Group, repair: Repair) -> None:
        self._members = members
        self._repair = repair
        self._aftermath = Aftermath(members, group, repair)
        self._running: RunningCell | None = None
        self._verdict: Diagnosis | None = None
        self._spans: deque[CellSpan] = deque(maxlen=_REMEMBERED)
        members.changes.subscribe(self._look_soon)

    def run(self, cell: Cell, output: CellOutput | None) -> CellResult:
        """Run a cell to its end, whatever it takes.

        Args:
            cell: What is to run, and where.
            output: Shows what the ranks say.

        Raises:
            SessionError: The group is of no use, and cannot be made again now.
            StuckError: Some ranks do not let go.
            ClusterError: The controller is gone.
        """
        self._repair.begin_cell()
        running = RunningCell(self._members, self._repair, cell, output)
        self._running, self._verdict = running, None
        span = CellSpan(cell.number, cell.label, time.time(), code=cell.code, ranks=cell.ranks)
        self._spans.append(span)
        result: CellResult | None = None
        try:
            result, freed = running.finish()
        finally:
            self._spans[-1] = replace(self._spans[-1], ended=time.time())
            self._verdict = running.watch.proof if result is None else result.diagnosis
            self._running = None
        result = self._aftermath.settle(result, freed, cell.ranks)
        self._verdict = result.diagnosis  # of ranks that died, or disagreed, it is known by now
        return result

    @property
    def spans(self) -> Sequence[CellSpan]:
        """When the latest cells ran on the ranks, the newest last."""
        return tuple(self._spans)

    @property
    def verdict(self) -> tuple[Diagnosis | None, bool]:
        """Why the cell that runs cannot end, or the last one could not; and whether it runs."""
        running = self._running
        if running is None:
            return self._verdict, False
        return running.watch.verdict, running.watch.verdict is not None

    @property
    def progress(self) -> Progress:
        """By rank, what has become of the cell that runs; empty while none does."""
        running = self._running
        return {} if running is None else running.progress

    def diagnose(self) -> Diagnosis:
        """Say what the ranks do or wait for, and why."""
        return diagnose(self._members, self.progress)

    def forget_verdict(self) -> None:
        """The group is renewed by request: what was wrong before is no news any more."""
        self._verdict = None

    def confirm(self) -> None:
        """Keep what is wrong with the cell that runs as a proof; it is about to be freed."""
        if (running := self._running) is not None:
            running.watch.confirm(running.progress)

    def _look_soon(self) -> None:
        """Something has changed: look at the ranks at once, if a cell runs."""
        if (running := self._running) is not None:
            running.watch.soon()
