"""What the account of a rank has of its calls, told: all that are new, one of them, the last."""

from __future__ import annotations

from pathlib import Path

from rankbook import lastcalls
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.calls import Call, LastCalls, Making
from rankbook.models.recorded import Recording
from rankbook.models.requests import GetCall, GetMaking, GetTimeline, ReadLastCalls

__all__ = ["get_call", "get_making", "get_timeline", "read_last_calls"]


@operation(GetTimeline, on=CONTROL)
def get_timeline(job: Job, request: GetTimeline) -> Recording:
    """Tell what was called."""
    return job.engine.history.tell(job.engine.group.epochs, request.after, request.mark)


@operation(GetCall, on=CONTROL)
def get_call(job: Job, request: GetCall) -> Call | None:
    """Tell of one collective; None if it is no longer kept."""
    return job.engine.ledger.collective(request.slot)


@operation(GetMaking, on=CONTROL)
def get_making(job: Job, request: GetMaking) -> Making | None:
    """Tell of one group that was made; None if it is no longer kept."""
    return job.engine.ledger.groups.making(request.slot)


@operation(ReadLastCalls, on=CONTROL)
def read_last_calls(_job: Job, request: ReadLastCalls) -> LastCalls | None:
    """Read what a process of this host has called last."""
    return lastcalls.read(Path(request.file))
