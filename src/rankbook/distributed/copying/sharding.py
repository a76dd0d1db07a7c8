"""Copying sharded modules and optimizers without their values.

The receiving rank makes them with the usual functions, from parameters of the same shapes, without
asking other ranks. Their values have to be loaded from a checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from rankbook.distributed.healing import fsdp2
from rankbook.heap import UNFINISHED, instances

__all__ = [
    "DeviceMesh",
    "is_dtensor",
    "is_replicated",
    "is_sharded",
    "is_zero",
    "reduce_dtensor",
    "reduce_module",
    "reduce_parameter",
    "reduce_zero",
    "replacing",
    "set_module",
    "set_optimizer",
    "set_zero",
    "shards",
    "spread",
    "stays",
    "why_not",
    "zero_has_state",
]

_contract: Any = import_module("torch.distributed._composable.contract")

_OF_FSDP = {"_is_fsdp_managed_module", "_fsdp_use_orig_params"}


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, ())


# -- FSDP --------------------------------------------------------------------------------------


def shards() -> dict[int, Any]:
    """By identity of a parameter that FSDP manages, FSDP's record of it."""
    sharded = _class("torch.distributed.fsdp", "FSDPModule")
    found: dict[int, Any] = {}
    for module in instances(sharded) if sharded else ():
        groups: list[Any] = []
        with suppress(UNFINISHED):  # where torch lacks a name, only this module is left out
            groups = fsdp2.param_groups(module)
        for group in groups:
            for parameter in group.fsdp_params:
                found[id(parameter.sharded_param)] = parameter
                found[id(getattr(parameter, "_unsharded_param", parameter.sharded_param))] = (
                    parameter
                )
    return found


def is_sharded(module: Any) -> bool:
    """Whether FSDP shards this very module."""
    return issubclass(type(module), _class("torch.distributed.fsdp", "FSDPModule"))


def why_not(module: Any) -> str:
    """Why an FSDP module cannot be made again elsewhere; empty if it can."""
    if len(module._get_fsdp_state()._modules) > 1:
        return "several modules are sharded together: make it again on all ranks"
    for group in fsdp2.param_groups(module):
        after = group.post_forward_mesh_info
        if after is not None and after is not group.mesh_info:
            return "it is resharded to a smaller mesh: make it again on all ranks"
    return ""


def reduce_module(
    module: Any, state: dict[str, Any]
) -> tuple[type, dict[str, Any], dict[str, Any]]:
    """Take an FSDP module apart: its class, its attributes, and how it was sharded.

    Args:
        module: A module sharded by FSDP.
        state: Its attributes.
    """
    own = {_contract.STATE_KEY, _contract.REGISTRY_KEY, *_OF_FSDP}
    state = {name: value for name, value in state.items() if name not in own}
    fsdp = module._get_fsdp_state()
    terms: dict[str, Any] = {"mp_policy": fsdp._mp_policy}
    for group in fsdp2.param_groups(module):
        mesh_info = group.mesh_info
        terms["mesh"] = mesh_info.mesh
        terms["offload_policy"] = group.offload_policy
        is_kept = group.post_forward_mesh_info is not None
        terms["reshard_after_forward"] = None if fsdp._auto_reshard_after_forward else is_kept
        places = [
            (parameter.sharded_param, parameter.fsdp_placement) for parameter in group.fsdp_params
        ]
        if any(place.dim for _, place in places):
            terms["placements"] = places
    return type(module).__mro__[2], state, terms


def reduce_parameter(obj: Any, sharded: Any) -> Any:
    """Reduce a parameter that FSDP manages to what is needed to make one like it.

    Args:
        obj: The parameter, which may be the gathered one: its module has that from a forward until
            it is sharded again, while the optimizer refers to the sharded one.
        sharded: FSDP's record of it.
    """
    parameter = sharded.sharded_param
    if obj is not parameter:
        return _same, (parameter,)
    spec = getattr(sharded, "_unsharded_dtensor_spec", None) or getattr(sharded, "_tp_spec", None)
    if spec is not None and sharded.is_dtensor:
        made = (tuple(spec.shape), parameter.dtype, parameter.requires_grad, True)
        return _dtensor, (*made, spec.mesh, tuple(spec.placements), None)
    device = (
        sharded._spmd_mesh.device_type if hasattr(sharded, "_spmd_mesh") else parameter.device.type
    )
    size = tuple(sharded._orig_size)
    return _parameter, (size, parameter.dtype, parameter.requires_grad, device)


def _same(parameter: nn.Parameter) -> nn.Parameter:
    return parameter


def _parameter(
    size: tuple[int, ...],
    dtype: torch.dtype,
    requires_grad: bool,  # noqa: FBT001
    device: str,
) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size, dtype=dtype, device=device), requires_grad)


def set_module(module: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a module its attributes, and shard it."""
    attributes, terms = state
    placements = {id(one): place for one, place in terms.pop("placements", ())}
    if placements:
        terms["shard_placement_fn"] = lambda one: placements.get(id(one))
    module.__setstate__(attributes)
    before = dict(module.named_parameters(remove_duplicate=False))
    import_module("torch.distributed.fsdp").fully_shard(module, **terms)
    for name, now in module.named_parameters(remove_duplicate=False):
        if before[name] is not now:
            _Loading.replaced[id(before[name])] = (before[name], now)


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
    return _dtensor, (*made, is_parameter, tensor.device_mesh, tuple(tensor.placements), local)


def _dtensor(
    size: tuple[int, ...],
    dtype: torch.dtype,
    requires_grad: bool,  # noqa: FBT001
    is_parameter: bool,  # noqa: FBT001
    mesh: Any,
    placements: tuple[Any, ...],
    local: Any,
) -> Any:
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


class _Loading:
    """The state of a load."""

    replaced: dict[int, tuple[Any, Any]]
    """By identity of a parameter that FSDP sharded during the load: it, and its shard."""
    optimizers: list[Any]


@contextmanager
def replacing() -> Iterator[None]:
    """After the block, optimizers loaded in it refer to the shards of their parameters."""
    _Loading.replaced, _Loading.optimizers = {}, []
    try:
        yield
        for optimizer in _Loading.optimizers:
            for group in optimizer.param_groups:
                group["params"] = [
                    _Loading.replaced.get(id(one), (one, one))[1] for one in group["params"]
                ]
    finally:
        _Loading.replaced, _Loading.optimizers = {}, []


def set_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Give an optimizer its attributes."""
    optimizer.__setstate__(state)
    _Loading.optimizers.append(optimizer)


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
