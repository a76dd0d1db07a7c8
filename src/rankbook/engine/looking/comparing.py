"""Telling of one collective, or one group, where ranks have called or made it differently."""

from __future__ import annotations

from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.calls import Call, Making
from rankbook.models.requests import TellCall, TellMaking

__all__ = ["tell_call", "tell_making"]


@operation(TellCall, on=CONTROL)
def tell_call(job: Job, request: TellCall) -> Call | None:
    """Tell of one collective; None if it is no longer kept."""
    return job.engine.ledger.collective(request.slot)


@operation(TellMaking, on=CONTROL)
def tell_making(job: Job, request: TellMaking) -> Making | None:
    """Tell of one group that was made; None if it is no longer kept."""
    return job.engine.ledger.groups.making(request.slot)
