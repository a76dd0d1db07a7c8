"""A request to end what the last script has left, answered on this rank's main thread."""

from __future__ import annotations

from rankbook.engine.cells import script
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import EndFormer

__all__ = ["end_former"]


@operation(EndFormer, on=MAIN)
def end_former(job: Job, _request: EndFormer) -> None:
    """End its threads, its servers and its stores."""
    script.former.end(job.engine.namespace)
