"""Copying DTensors, and optimizers with a part on each rank, without their values.

The receiving rank makes them with the usual functions, from parameters of the same shapes, without
asking other ranks. Their values have to be loaded from a checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

__all__ = [
    "DeviceMesh",
    "is_dtensor",
    "is_replicated",
    "is_zero",
    "make_dtensor",
    "reduce_dtensor",
    "reduce_zero",
    "set_zero",
    "spread",
    "stays",
    "zero_has_state",
]


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, ())


# -- DTensor -----------------------------------------------------------------------------------


def is_dtensor(tensor: Any) -> bool:
    """Whether a tensor is spread over a device mesh."""
    return isinstance(tensor, _class("torch.distributed.tensor", "DTensor"))


def is_replicated(tensor: Any) -> bool:
    """Whether every rank of its mesh has all of it."""
    return all(place.is_replicate() for place in tensor.placements)


def reduce_dtensor(tensor: Any) -> Any:
    """Reduce a DTensor; its values are included only if every rank has all of them."""
    local = tensor._local_tensor.detach() if is_replicated(tensor) else None
    made = (tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
    is_parameter = isinstance(tensor, nn.Parameter)
    return make_dtensor, (*made, is_parameter, tensor.device_mesh, tuple(tensor.placements), local)


def make_dtensor(
    size: tuple[int, ...],
    dtype: torch.dtype,
    requires_grad: bool,  # noqa: FBT001
    is_parameter: bool,  # noqa: FBT001
    mesh: Any,
    placements: tuple[Any, ...],
    local: Any,
) -> Any:
    """A DTensor made without asking other ranks; of zeros, where no values are given."""
    of = import_module("torch.distributed.tensor")
    if local is None:
        utils = import_module("torch.distributed.tensor._utils")
        here, _ = utils.compute_local_shape_and_global_offset(size, mesh, placements)
        local = torch.zeros(tuple(here), dtype=dtype, device=mesh.device_type)
    stride = torch.empty(size, device="meta").stride()
    options = {"run_check": False, "shape": torch.Size(size), "stride": stride}
    made = of.DTensor.from_local(local, mesh, placements, **options)
    return nn.Parameter(made, requires_grad) if is_parameter else made.requires_grad_(requires_grad)


def spread(state: Mapping[str, Any], parameter: Any) -> dict[str, Any]:
    """The state of a parameter, sharded like the parameter, without asking other ranks."""
    if not is_dtensor(parameter):
        return dict(state)
    of = import_module("torch.distributed.tensor")
    mesh, placements = parameter.device_mesh, parameter.placements
    return {
        name: of.distribute_tensor(value, mesh, placements, src_data_rank=None)
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape
        else value
        for name, value in state.items()
    }


# -- optimizers --------------------------------------------------------------------------------


def is_zero(optimizer: Any) -> bool:
    """Whether an optimizer keeps a part of its state on each rank."""
    return isinstance(optimizer, _class("torch.distributed.optim", "ZeroRedundancyOptimizer"))


def zero_has_state(optimizer: Any) -> bool:
    """Whether there is any state."""
    return optimizer._overlap_with_ddp or bool(optimizer.optim.state)


def reduce_zero(optimizer: Any) -> dict[str, Any]:
    """The arguments that made a ZeRO optimizer."""
    return {
        "params": optimizer.param_groups,
        "optimizer_class": optimizer._optim_constructor,
        "process_group": optimizer.process_group,
        "parameters_as_bucket_view": optimizer.parameters_as_bucket_view,
        "overlap_with_ddp": optimizer._overlap_with_ddp,
        **optimizer._optim_defaults,
    }


def set_zero(optimizer: Any, made: dict[str, Any]) -> None:
    """Make a ZeRO optimizer, with this rank's part of the parameters."""
    optimizer.__init__(**made)


# -- not copied --------------------------------------------------------------------------------


def stays(obj: Any) -> str:
    """Why an object of a pipeline, or of the older FSDP, is not copied; else empty."""
    stage = _class("torch.distributed.pipelining.stage", "_PipelineStageBase")
    schedule = _class("torch.distributed.pipelining.schedules", "_PipelineSchedule")
    if isinstance(obj, (stage, schedule)):
        return "each rank has a stage of its own: make it again there"
    is_wrapper = isinstance(obj, _class("torch.distributed.fsdp", "FullyShardedDataParallel"))
    if is_wrapper or (isinstance(obj, torch.Tensor) and hasattr(obj, "_fsdp_flattened")):
        return "FullyShardedDataParallel keeps a part of it on each rank: make it again on all"
    return ""
