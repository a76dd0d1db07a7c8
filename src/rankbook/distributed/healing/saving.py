"""Checkpoints of DTensors on a mesh that has ended, where ranks with their parts are gone.

torch compares what the ranks are about to save with the whole tensor, and lists what is missing in
many lines. It does not on one rank alone, which would save its part over a whole checkpoint.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from math import prod
from typing import Any

import torch.distributed as dist

from rankbook.distributed.healing import meshes
from rankbook.errors import StaleGroupError

__all__ = ["explain", "refuse"]

_PLANNED = ("__create_write_items__", "__create_chunk_list__")
"""Methods of a DTensor that tell torch what to save and to load: not public, in torch 2.9-2.15."""

_MISSING = "Failed to validate global plan"
"""torch's message where the ranks' parts are not the whole tensor."""

_checked: set[str] = set()
"""Those methods that say so."""


def refuse() -> None:
    """Make DTensors on ended meshes say so when they are saved, or loaded, without all parts."""
    tensor = sys.modules.get("torch.distributed.tensor")
    cls: Any = getattr(tensor, "DTensor", None)
    for name in _PLANNED if cls is not None else ():
        if name not in _checked and (method := vars(cls).get(name)) is not None:
            setattr(cls, name, _check(method))
            _checked.add(name)


def _check(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def plan(tensor: Any, *args: Any) -> Any:
        mesh = tensor.device_mesh
        if meshes.has_ended(mesh) and _parts(tensor) > _present(mesh):
            raise StaleGroupError(_why(tensor))
        return method(tensor, *args)

    return plan


def _parts(tensor: Any) -> int:
    """The number of different parts of a DTensor."""
    sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
    return prod(size for size, placement in sizes if not placement.is_replicate())


def _present(mesh: Any) -> int:
    """How many ranks of a mesh there still are, at most."""
    return int((mesh.mesh < _world_size()).sum())


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _why(tensor: Any) -> str:
    size = tensor.device_mesh.size()
    return (
        f"this DTensor was made {meshes.origin_of(tensor.device_mesh)} on {size} ranks, and some "
        "of its parts are gone: make it again, distribute_tensor(tensor, init_device_mesh(...)), "
        "or its model, fully_shard(model), and load a checkpoint of before"
    )


def explain(error: BaseException) -> StaleGroupError | None:
    """The explanation of what torch raises on all ranks when some fail to save, or to load."""
    failures = getattr(error, "failures", None)
    if not isinstance(failures, Mapping) or type(error).__name__ != "CheckpointException":
        return None
    causes = [failures[rank][0] for rank in sorted(failures)]
    for cause in causes:
        if isinstance(cause, StaleGroupError):
            return StaleGroupError(*cause.args)
    if any(_MISSING in str(cause) for cause in causes):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for tensor in _tensors([*frame.f_locals.values()]):
                if meshes.has_ended(tensor.device_mesh):
                    return StaleGroupError(_why(tensor))
    return None


def _tensors(values: Sequence[Any]) -> Iterator[Any]:
    """The DTensors in the dictionaries among some values."""
    for value in values:
        if isinstance(value, dict):
            for one in value.values():
                if hasattr(type(one), "device_mesh"):
                    yield one
            yield from _tensors([*value.values()])
