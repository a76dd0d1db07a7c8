"""Describing a value of this rank so that it can be drawn."""

from __future__ import annotations

from rankbook.engine.jobs import Job
from rankbook.engine.operations import ASIDE, CONTROL, operation
from rankbook.engine.values.expressions import value_of
from rankbook.engine.values.meshes import described
from rankbook.engine.values.showing import held
from rankbook.errors import InputError
from rankbook.models.meshes import GetMesh, HeldMesh
from rankbook.models.shown import Held, Show

__all__ = ["get_mesh", "show"]

_LINE = 200
"""How many characters of an error are shown."""


@operation(Show, on=ASIDE)
def show(job: Job, request: Show) -> Held:
    """Describe the rank's value of an expression."""
    try:
        return held(value_of(request.expression, job.engine.namespace))
    except Exception as error:  # noqa: BLE001 - of a user's class, or the name is not there
        first = str(error).split("\n")[0][:_LINE]
        return Held(first if isinstance(error, InputError) else f"{type(error).__name__}: {first}")


@operation(GetMesh, on=CONTROL)
def get_mesh(job: Job, request: GetMesh) -> HeldMesh:
    """Describe the mesh that a variable holds, if it holds one."""
    names = job.engine.namespace
    return described(names[request.name]) if request.name in names else HeldMesh()
