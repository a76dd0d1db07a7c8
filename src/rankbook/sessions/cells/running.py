"""Running a cell on several ranks, until every rank has answered or was given up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import CellOutcome, Failure, load
from rankbook.models.cells import Script
from rankbook.models.requests import Request, Run
from rankbook.sessions.cells.collecting import CellOutput, Collector
from rankbook.sessions.cells.comparing import Comparing
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.cells.watch import Watch
from rankbook.sessions.group.repair import Repair
from rankbook.sessions.members import Members
from rankbook.sessions.members.freeing import Freed
from rankbook.sessions.members.outcomes import PENDING

__all__ = ["Cell", "RunningCell"]

_ENDED, _HOPELESS, _INTERRUPTED = "ended", "hopeless", "interrupted"

_LABEL = 80
"""Characters of a cell's first line by which it is known."""


@dataclass(frozen=True)
class Cell:
    """What is to run, and where."""

    code: str
    ranks: tuple[int, ...]
    number: int = 0
    """Of the notebook's cell; 0: a program runs it."""
    name: str = "a cell"
    """What it is called: ``In [4]``, ``cell 3``."""
    first_line: int = 1
    """The line of the editor in which the code begins."""
    timeout: float | None = None
    """Seconds after which it is interrupted, None for never."""
    on_hang: str = "free"
    """One of :data:`rankbook.models.ON_HANG`."""
    scripts: Mapping[int, Script] = field(default_factory=dict)
    """By rank, what is to run there instead of code."""

    @property
    def label(self) -> str:
        """Its first line, cut if it is long."""
        first = next((line.strip() for line in self.code.splitlines() if line.strip()), "")
        return first[:_LABEL]

    def requests(self) -> dict[int, Request]:
        """By rank, what it is asked for."""
        return {
            r: Run(self.code, self.number, self.name, self.first_line, self.scripts.get(r))
            for r in self.ranks
        }


class RunningCell:
    """A running cell: waits for it, watches it, has its ranks freed.

    Attributes:
        watch: Decides whether it is hopeless.
    """

    def __init__(
        self,
        members: Members,
        repair: Repair,
        comparing: Comparing,
        cell: Cell,
        output: CellOutput | None,
    ) -> None:
        """Start it.

        Args:
            members: The ranks.
            repair: Frees them.
            comparing: Compares what they have called.
            cell: What to run.
            output: Shows the output of the ranks.
        """
        self.watch = Watch(members)
        self._timing = members.timing
        self._repair = repair
        self._comparing = comparing
        self._cell = cell
        self._collector = Collector(cell.ranks, output)
        self._deadline = None if cell.timeout is None else time.monotonic() + cell.timeout
        self._has_reported = False
        self._call = members.ranks(cell.ranks).request(cell.requests())

    @property
    def progress(self) -> dict[int, Failure | str | None]:
        """By rank, ``PENDING``, the exception that has ended the cell there, or None."""
        progress: dict[int, Failure | str | None] = dict.fromkeys(self._cell.ranks, PENDING)
        for rank, value in self._call.values.items():
            progress[rank] = load(CellOutcome, value).error
        return progress

    def finish(self) -> tuple[CellResult, Freed | None]:
        """Wait for its end; free its ranks in a hang, on Ctrl-C, and after the timeout.

        Returns:
            What it did on the ranks that answered, and the outcome of freeing, if it was needed.

        Raises:
            ClusterError: The controller is gone.
        """
        watch = self.watch
        freed = verdict = None
        try:
            while (outcome := self._wait()) != _ENDED:
                pending = self._call.pending
                if outcome == _HOPELESS:
                    # Ranks that others do not wait for may still run: they are left alone.
                    pending &= set(watch.diagnosis.stuck) if watch.diagnosis else set()
                with ignore_ctrl_c():  # it is being obeyed already
                    watch.confirm(self.progress)
                    # A look after ranks were freed says less than the one before.
                    verdict = verdict or watch.proof
                    freed = self._repair.free(pending)
                    watch.begin_again()
                    if outcome == _INTERRUPTED or freed.busy:
                        timeout = self._timing.answer_timeout(len(pending))
                        self._call.wait(timeout, self._collector.event)
                        break
        finally:
            with ignore_ctrl_c(self._timing.show):
                for rank, body in self._call.left():
                    self._collector.event(rank, body)
                self._collector.finish()
            self._call.forget()
        outcomes = {rank: load(CellOutcome, value) for rank, value in self._call.values.items()}
        result = self._collector.result(outcomes, self._call.failures)
        # If another thread freed the ranks, the proof from before that is the reason.
        was_freed = any(rank.error and rank.error.freed for rank in result.values())
        result.diagnosis = verdict or (watch.proof if was_freed else None)
        said = {rank: outcome.fingerprints for rank, outcome in outcomes.items()}
        differing = self._comparing.compare(said)
        was_refused = any(rank.error and rank.error.slot for rank in result.values())
        if result.diagnosis is None and not was_refused:  # else that says more
            result.mismatches = differing
            for found in differing:
                self._collector.mismatch(found)
        return result, freed

    def _wait(self) -> str:
        """Wait until the cell has ended, or its ranks are to be freed."""

        def pause() -> float:
            due = self._collector.pause(self._call.pending)
            return min(due, self.watch.pause(self.progress))

        left = None if self._deadline is None else self._deadline - time.monotonic()
        try:
            waited = self._call.wait(left, self._collector.event, pause, self._is_to_be_freed)
        except KeyboardInterrupt:
            waited = False
        if self._call.done:
            return _ENDED
        return _HOPELESS if waited else _INTERRUPTED

    def _is_to_be_freed(self) -> bool:
        """Whether it is hopeless and its ``on_hang`` is to free; reports it where that is asked."""
        hopeless = self.watch.is_hopeless()
        if hopeless and self._cell.on_hang == "report" and not self._has_reported:
            self._has_reported = True
            assert self.watch.diagnosis is not None  # noqa: S101 - or it would not be hopeless
            self._collector.note(self.watch.diagnosis.summary)
        return hopeless and self._cell.on_hang == "free"
