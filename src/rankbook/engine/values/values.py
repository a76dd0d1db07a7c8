"""Taking variables from this rank, and setting some."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from rankbook import values
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import Pull, Push

if TYPE_CHECKING:
    from rankbook.engine.context import Engine

__all__ = ["pull", "push"]


@operation(Pull, on=MAIN)
def pull(job: Job, request: Pull) -> bool:
    """Send a variable, if it exists; return whether it does."""
    namespace = job.engine.namespace
    if request.name not in namespace:
        return False
    job.attachments.append(values.dumps(namespace[request.name], request.name))
    return True


@operation(Push, on=MAIN)
def push(job: Job, request: Push) -> None:
    """Set variables."""
    # All or nothing: a value that does not unpickle here leaves the others unset as well.
    pairs, made = zip(request.names, job.buffers, strict=True), list[Any]()
    given = {name: values.loads(data, made) for name, data in pairs}
    for value in made:
        _settle(job.engine, value)
    job.engine.namespace.update(given)


def _settle(engine: Engine, value: Any) -> None:
    """Give a function this rank's names, and make a class of the notebook findable by its name."""
    if isinstance(value, types.FunctionType):
        engine.group.names.lend(value)
    elif isinstance(value, type) and value.__module__ == "__main__":
        # Pickling an instance looks there.
        engine.namespace[value.__name__] = value
