"""What the account of a rank has of its calls, told: all that are new, one of them, the last."""

from __future__ import annotations

from pathlib import Path

from rankbook import lastcalls
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.calls import Call, LastCalls, Making
from rankbook.models.recorded import Recording
from rankbook.models.requests import ReadLastCalls, TellCall, TellMaking, TellTimeline

__all__ = ["read_last_calls", "tell_call", "tell_making", "tell_timeline"]


@operation(TellTimeline, on=CONTROL)
def tell_timeline(job: Job, request: TellTimeline) -> Recording:
    """Tell what was called."""
    return job.engine.history.tell(job.engine.group.epochs, request.after, request.mark)


@operation(TellCall, on=CONTROL)
def tell_call(job: Job, request: TellCall) -> Call | None:
    """Tell of one collective; None if it is no longer kept."""
    return job.engine.ledger.collective(request.slot)


@operation(TellMaking, on=CONTROL)
def tell_making(job: Job, request: TellMaking) -> Making | None:
    """Tell of one group that was made; None if it is no longer kept."""
    return job.engine.ledger.groups.making(request.slot)


@operation(ReadLastCalls, on=CONTROL)
def read_last_calls(_job: Job, request: ReadLastCalls) -> LastCalls | None:
    """Read what a process of this host has called last."""
    return lastcalls.read(Path(request.file))
