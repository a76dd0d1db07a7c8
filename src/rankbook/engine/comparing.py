"""Telling of one collective, where ranks have called it differently."""

from __future__ import annotations

from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.calls import Call
from rankbook.models.requests import TellCall

__all__ = ["tell_call"]


@operation(TellCall, on=CONTROL)
def tell_call(job: Job, request: TellCall) -> Call | None:
    """Tell of one collective; None if it is no longer kept."""
    return job.engine.ledger.collective(request.slot)
