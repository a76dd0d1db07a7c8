"""The answer to what a rank asks, on its way to the cell that waits for it."""

from __future__ import annotations

from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.requests import Answer

__all__ = ["answer"]


@operation(Answer, on=CONTROL)
def answer(job: Job, request: Answer) -> bool:
    """Answer what the rank asks; tell whether it still asked."""
    return job.engine.runner.prompt.answer(request.number, request.text)
