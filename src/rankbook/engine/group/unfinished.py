"""A request to say what a cell has left amid a step, answered on this rank's main thread."""

from __future__ import annotations

from rankbook.distributed import healing
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.groups import Unfinished
from rankbook.models.requests import GetUnfinished

__all__ = ["unfinished"]


@operation(GetUnfinished, on=MAIN)
def unfinished(_job: Job, request: GetUnfinished) -> Unfinished:
    """Look at the wrappers and the optimizers."""
    return healing.unfinished(was_interrupted=request.was_interrupted)
