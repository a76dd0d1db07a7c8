"""A request to run a cell, answered on this rank's main thread."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from rankbook.calls.keeping import Keeper
from rankbook.engine.cells.ends import SEE_ENDS, seeing_ends
from rankbook.engine.context import Engine
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, MAIN, Repeated, operation
from rankbook.models import CellOutcome
from rankbook.models.requests import Acknowledge, Run

__all__ = ["acknowledge", "run"]

_LOOK_PAST_PYTHON = 0.2
"""Seconds between two looks at what a cell has written past Python."""


def _beside(job: Job) -> list[Repeated]:
    """What the control thread does for a cell."""
    engine = job.engine

    def show() -> None:
        if engine.job is job:  # what is written before belongs to an earlier cell
            engine.runner.show_beside(job.outbox)

    return [(_LOOK_PAST_PYTHON, show), (SEE_ENDS, seeing_ends(engine.ledger))]


@operation(Run, on=MAIN, beside=_beside)
async def run(job: Job, request: Run) -> CellOutcome:
    """Run a cell."""
    runner, ledger = job.engine.runner, job.engine.ledger
    job.engine.group.before_cell()
    with _keeping(job.engine) if request.keep_values else contextlib.nullcontext():
        outcome = await runner.run(job.outbox, request)
    traffic = ledger.counts.traffic(request.number)
    computing = max(0.0, outcome.seconds - traffic.waiting)
    return replace(
        outcome,
        traffic=replace(traffic, computing=computing),
        fingerprints=ledger.fingerprints(),
        lost=ledger.groups.have_failed(ledger.generation),
    )


@operation(Acknowledge, on=CONTROL)
def acknowledge(job: Job, request: Acknowledge) -> None:
    """Let threads that wait for it print more."""
    if (running := job.engine.job) is not None:
        running.outbox.read(request.read)


@contextlib.contextmanager
def _keeping(engine: Engine) -> Iterator[None]:
    """Keep what is put into calls, and what they get out."""
    engine.kept = engine.ledger.keeper = keeper = Keeper()
    try:
        yield
    finally:
        engine.ledger.keeper = None
        keeper.finish()
