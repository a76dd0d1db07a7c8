"""What a rank reports of itself while its main thread computes, waits or is stuck."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace

from rankbook.engine.host import gpu, host
from rankbook.engine.jobs import Job
from rankbook.engine.looking import flight, frames
from rankbook.engine.looking.raised import with_what_left_it
from rankbook.engine.operations import CONTROL, operation
from rankbook.models import Look
from rankbook.models.requests import GetStacks, LookAt

__all__ = ["get_stacks", "look"]


@operation(LookAt, on=CONTROL)
def look(job: Job, request: LookAt) -> Look:
    """Say what the rank does."""
    engine = job.engine
    runner, info = engine.runner, engine.group.info
    asks = runner.prompt.asks
    if asks is not None:
        since = time.monotonic() - runner.prompt.since
        seen = Look("stopped", asks.place or asks.of, runner.cell, since=since)
    else:
        seen = engine.observer.look(
            engine.doing, runner.cell, engine.group.since, closely=request.closely
        )
    if request.calls and not seen.recent:
        seen = replace(seen, recent=flight.called(engine.ledger, engine.group.since))
    runs = seen.state == "running" and runner.cell is not None
    if runner.cell is not None and request.closely:
        seen = engine.observer.reasons.add_to(seen, runner.failures.last)
    if seen.state == "waiting" and request.closely and not seen.handles:
        # Between cells, too: what an exception kept alive may be destroyed at any time.
        seen = with_what_left_it(seen, runner.failures.leftovers)
    return replace(
        seen,
        since=time.time() - runner.started if runs else seen.since,
        overdue=engine.group.overdue(seen.waiting),
        engine=engine.id,
        info=info,
        in_group=not engine.group.is_destroyed,
        host=socket.gethostname(),
        pid=os.getpid(),
        memory=host.memory(),
        memory_total=host.memory_total(),
        gpu_memory=host.gpu_memory(info),
        gpu=gpu.current(info),
        last_error=runner.last_error,
        ran=runner.ran,
        is_script=runner.is_script,
        failed_at=runner.failed_at,
    )


@operation(GetStacks, on=CONTROL)
def get_stacks(_job: Job, _request: GetStacks) -> list[str]:
    """Say where the main thread stands."""
    return frames.stack()
