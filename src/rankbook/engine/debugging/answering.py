"""Passing an answer to the cell of a rank that asks."""

from __future__ import annotations

from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.requests import Answer

__all__ = ["answer"]


@operation(Answer, on=CONTROL)
def answer(job: Job, request: Answer) -> bool:
    """Answer a question of the rank; return whether it was still open."""
    return job.engine.runner.prompt.answer(request.number, request.text)
