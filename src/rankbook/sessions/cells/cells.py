"""The cells of a session: the running one, and a history of those before it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from rankbook.cellnames import name_of
from rankbook.errors import RankbookError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import CellSpan, Diagnosis
from rankbook.models.requests import EndFormer, EndScript
from rankbook.sessions.cells.aftermath import Aftermath
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.cells.collecting import CellOutput
from rankbook.sessions.cells.comparing import Comparing
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.cells.running import RunningCell
from rankbook.sessions.cells.watch import Hang
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.repair import Repair
from rankbook.sessions.members import Members
from rankbook.sessions.members.following import Following
from rankbook.sessions.members.freeing import Freed
from rankbook.sessions.members.looks import Progress, diagnose

__all__ = ["Cells"]

_REMEMBERED = 300
"""How many cells the history keeps."""


class Cells:
    """Runs one cell at a time; answers questions about it from any thread meanwhile."""

    def __init__(self, members: Members, group: Group, repair: Repair) -> None:
        self._members = members
        self._repair = repair
        self._comparing = Comparing(members)
        self._aftermath = Aftermath(members, group, repair)
        self._following = Following(members)
        self._running: RunningCell | None = None
        self._verdict: Diagnosis | None = None
        self._hang: Hang | None = None
        self._count = 0
        self._had_script = False
        self._failed: tuple[int, ...] = ()
        self._spans: deque[CellSpan] = deque(maxlen=_REMEMBERED)
        members.changes.subscribe(self._look_soon)

    def run(self, cell: Cell, output: CellOutput | None) -> CellResult:
        """Run a cell; free ranks and repair the group where that is needed to end it.

        Args:
            cell: What is to run, and where.
            output: Shows the output of the ranks.

        Raises:
            SessionError: The group is broken, and cannot be re-created now.
            StuckError: Some ranks do not let go.
            ClusterError: The controller is gone.
        """
        made = self._repair.begin_cell()
        if made and output is not None:
            output.note(made)
        self._following.tell()
        self._count += 1
        cell = replace(cell, name=name_of(cell.number, self._count))
        if cell.scripts:
            self._end_former()
        started = time.time()  # before a rank can have called anything
        running = RunningCell(self._members, self._repair, self._comparing, cell, output)
        self._running, self._verdict, self._hang = running, None, None
        span = CellSpan(
            cell.number,
            cell.label,
            started,
            code=cell.code,
            ranks=cell.ranks,
            name=cell.name,
            first_line=cell.first_line,
        )
        self._spans.append(span)
        result: CellResult | None = None
        try:
            result, freed = running.finish()
        finally:
            ended = replace(self._spans[-1], ended=time.time())
            if result is not None:
                raised = {rank: one.error.ename for rank, one in result.items() if one.error}
                cut = tuple(rank for rank, one in result.items() if one.error and one.error.freed)
                ended = replace(ended, traffic=result.traffic, raised=raised, freed=cut)
            self._spans[-1] = ended
            hang = running.watch.hang
            self._hang = hang
            self._verdict = result.diagnosis if result else hang.diagnosis if hang else None
            self._running = None
        # With the end of a script its calls are forgotten.
        seen = self._aftermath.seen(result)
        if cell.scripts:
            self._end_script(result, freed)
        result = self._aftermath.settle(
            result, freed, cell.ranks, seen, is_script=bool(cell.scripts)
        )
        failed = [ranks for ranks, failure in result.failures() if not failure.freed]
        self._failed = tuple(failed[0]) if failed else self._failed
        result.note = result.note or made
        self._verdict = result.diagnosis  # deaths and mismatches are known only now
        self._spans[-1] = replace(self._spans[-1], diagnosis=result.diagnosis)
        return result

    def _end_former(self) -> None:
        """Have ranks end what the last script has left, before any of them begins another one."""
        if self._had_script:
            patience = self._members.timing.leave
            # A rank that does not answer shows it in the cell that follows.
            with ignore_ctrl_c(patience), suppress(RankbookError):
                self._members.living().ask(EndFormer(), patience)
        self._had_script = True

    def _end_script(self, result: CellResult, freed: Freed | None) -> None:
        """Restore the session's group on the ranks where a script has ended."""
        ranks = set(result) - (freed.busy if freed else set())
        party = self._members.living().only(ranks)
        # A rank that does not answer is seen when the group is judged.
        with ignore_ctrl_c(self._members.timing.leave), suppress(RankbookError):
            party.ask(EndScript(), self._members.timing.leave)

    @property
    def spans(self) -> Sequence[CellSpan]:
        """When the latest cells ran on the ranks, the newest last."""
        return tuple(self._spans)

    @property
    def failed(self) -> Sequence[int]:
        """The ranks on which the latest failed cell failed first; none if none did."""
        return self._failed

    @property
    def verdict(self) -> tuple[Diagnosis | None, bool]:
        """Why the running cell cannot end, or the last one could not; and whether it runs."""
        running = self._running
        if running is None:
            return self._verdict, False
        return running.watch.verdict, running.watch.verdict is not None

    @property
    def progress(self) -> Progress:
        """By rank, how the running cell has gone so far; empty while none runs."""
        running = self._running
        return {} if running is None else running.progress

    def diagnose(self) -> Diagnosis:
        """Say what the ranks do or wait for, and why."""
        return diagnose(self._members, self.progress)

    def forget_verdict(self) -> None:
        """Forget the verdict: the group is renewed on request."""
        self._verdict = self._hang = None

    def interrupt(self) -> None:
        """Keep what is seen of the running cell: its ranks are about to be freed on request."""
        if (running := self._running) is not None:
            running.watch.interrupt(running.progress)

    @property
    def hang(self) -> Hang | None:
        """What was seen of the last cell before its ranks were freed; None if they were not."""
        return self._hang

    def _look_soon(self) -> None:
        """Look at the ranks at once, if a cell runs: something has changed."""
        if (running := self._running) is not None:
            running.watch.soon()
