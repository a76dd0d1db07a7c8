"""The device mesh that a variable of this rank holds."""

from __future__ import annotations

from typing import Any

from torch.distributed.device_mesh import DeviceMesh

from rankbook.distributed.healing import meshes
from rankbook.models.meshes import HeldMesh

__all__ = ["described"]


def described(value: Any) -> HeldMesh:
    """Describe a value that may be a mesh."""
    kind = type(value).__name__
    if not isinstance(value, DeviceMesh):
        return HeldMesh(kind)
    dims = tuple(value.mesh_dim_names or ())
    ranks = tuple(int(rank) for rank in value.mesh.flatten().tolist())
    return HeldMesh(kind, dims, tuple(value.mesh.shape), ranks, meshes.has_ended(value))
