"""Taking variables from this rank, and setting some."""

from __future__ import annotations

from rankbook import values
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import Pull, Push

__all__ = ["pull", "push"]


@operation(Pull, on=MAIN)
def pull(job: Job, request: Pull) -> bool:
    """Send a variable back, if there is one of that name; tell whether there is."""
    namespace = job.engine.namespace
    if request.name not in namespace:
        return False
    job.attachments.append(values.dumps(namespace[request.name], request.name))
    return True


@operation(Push, on=MAIN)
def push(job: Job, request: Push) -> None:
    """Set variables."""
    # All or nothing: a value that does not unpickle here leaves the others unset as well.
    pairs = zip(request.names, job.buffers, strict=True)
    job.engine.namespace.update({name: values.loads(data) for name, data in pairs})
