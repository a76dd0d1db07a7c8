"""The device mesh that a variable of this rank holds."""

from __future__ import annotations

from typing import Any

from torch.distributed.device_mesh import DeviceMesh

from rankbook.distributed.healing import meshes
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.meshes import HeldMesh, SayMesh

__all__ = ["described", "say_mesh"]


@operation(SayMesh, on=CONTROL)
def say_mesh(job: Job, request: SayMesh) -> HeldMesh:
    """Say which mesh a variable holds, if it holds one."""
    names = job.engine.namespace
    return described(names[request.name]) if request.name in names else HeldMesh()


def described(value: Any) -> HeldMesh:
    """Describe a value that may be a mesh."""
    kind = type(value).__name__
    if not isinstance(value, DeviceMesh):
        return HeldMesh(kind)
    dims = tuple(value.mesh_dim_names or ())
    ranks = tuple(int(rank) for rank in value.mesh.flatten().tolist())
    return HeldMesh(kind, dims, tuple(value.mesh.shape), ranks, meshes.has_ended(value))
