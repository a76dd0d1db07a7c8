"""Copying FSDP2 modules: how they were sharded, and what was set on them.

The receiving rank shards modules with parameters of the same shapes, without asking other ranks.
Their values have to be loaded from a checkpoint, except those of ``replicate()``, which each rank
has.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import torch
from torch import nn

from rankbook.distributed.copying import sharding
from rankbook.distributed.healing import fsdp2, replicated
from rankbook.heap import UNFINISHED, instances

__all__ = [
    "has_values",
    "is_sharded",
    "prefetched",
    "reduce_module",
    "reduce_parameter",
    "replacing",
    "set_module",
    "set_optimizer",
    "set_prefetched",
    "shards",
    "why_not",
]

_contract: Any = import_module("torch.distributed._composable.contract")

_OF_FSDP = {"_is_fsdp_managed_module", "_fsdp_use_orig_params"}

_SET = ("_all_gather_comm", "_all_reduce_hook", "_reduce_scatter_comm")
"""What methods set on a parameter group, besides plain public attributes."""

_SEPARATE = "reduce_scatter_process_group"
"""The group of ``set_separate_reduce_scatter_group``."""


def _base() -> Any:
    return getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", ())


def shards() -> dict[int, Any]:
    """By identity of a parameter that FSDP manages, FSDP's record of it."""
    found: dict[int, Any] = {}
    for module in instances(_base()) if _base() else ():
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
    """Whether FSDP shards this very module, or replicates it."""
    return issubclass(type(module), _base())


def has_values(record: Any) -> bool:
    """Whether this rank has all values of a parameter, by FSDP's record of it.

    Args:
        record: One of :func:`shards`.
    """
    return record.mesh_info.shard_mesh_dim is None and not record.is_dtensor


def why_not(module: Any) -> str:
    """Why an FSDP module cannot be made again elsewhere; empty if it can."""
    groups = fsdp2.param_groups(module)
    if len(groups) > 1:
        return "its parameters are sharded on several meshes: make it again on all ranks"
    for group in groups:
        after = group.post_forward_mesh_info
        if after is not None and after is not group.mesh_info:
            return "it is resharded to a smaller mesh: make it again on all ranks"
    return ""


def reduce_module(
    module: Any, state: dict[str, Any]
) -> tuple[type, dict[str, Any], dict[str, Any] | None]:
    """Take an FSDP module apart: its class, its attributes, and how it was sharded.

    Args:
        module: A module sharded by FSDP.
        state: Its attributes.

    Returns:
        The class, the attributes, and the rest; None: it was sharded together with another one,
        which has the rest.
    """
    own = {_contract.STATE_KEY, _contract.REGISTRY_KEY, *_OF_FSDP}
    state = {name: value for name, value in state.items() if name not in own}
    cls = next(one for one in type(module).__mro__ if not issubclass(one, _base()))
    fsdp = module._get_fsdp_state()
    first, *others = fsdp._modules
    if module is not first:
        return cls, state, None
    options: dict[str, Any] = {"mp_policy": fsdp._mp_policy}
    terms: dict[str, Any] = {"options": options, "others": others}
    terms["is_replica"] = is_replica = replicated.is_replica(module)
    for group in fsdp2.param_groups(module):
        mesh_info = group.mesh_info
        options["mesh"] = mesh_info.mesh
        options["offload_policy"] = group.offload_policy
        terms["settings"] = _settings(group)
        terms["separate"] = getattr(mesh_info, _SEPARATE, None)
        if is_replica:
            continue
        is_kept = group.post_forward_mesh_info is not None
        options["reshard_after_forward"] = None if fsdp._auto_reshard_after_forward else is_kept
        places = [
            (parameter.sharded_param, parameter.fsdp_placement) for parameter in group.fsdp_params
        ]
        if any(place.dim for _, place in places):
            terms["placements"] = places
    return cls, state, terms


def _settings(group: Any) -> dict[str, Any]:
    """What methods such as ``set_gradient_divide_factor`` have set on a parameter group."""
    plain = {
        name: value
        for name, value in vars(group).items()
        if isinstance(value, (bool, int, float)) and not name.startswith("_")
    }
    return plain | {name: getattr(group, name) for name in _SET if hasattr(group, name)}


def reduce_parameter(obj: Any, record: Any) -> Any:
    """Reduce a parameter that FSDP manages to what is needed to make one like it.

    Args:
        obj: The parameter, which may be the gathered one: its module has that from a forward until
            it is sharded again, while the optimizer refers to the sharded one.
        record: FSDP's record of it.
    """
    parameter = record.sharded_param
    if obj is not parameter:
        return _same, (parameter,)
    spec = getattr(record, "_unsharded_dtensor_spec", None) or getattr(record, "_tp_spec", None)
    if spec is not None and record.is_dtensor:
        made = (tuple(spec.shape), parameter.dtype, parameter.requires_grad, True)
        return sharding.make_dtensor, (*made, spec.mesh, tuple(spec.placements), None)
    if has_values(record):
        return _parameter_with, (parameter._local_tensor.detach(), parameter.requires_grad)
    device = (
        record._spmd_mesh.device_type if hasattr(record, "_spmd_mesh") else parameter.device.type
    )
    size = tuple(record._orig_size)
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


def _parameter_with(values: torch.Tensor, requires_grad: bool) -> nn.Parameter:  # noqa: FBT001
    return nn.Parameter(values, requires_grad)


def set_module(module: Any, state: tuple[dict[str, Any], dict[str, Any] | None]) -> None:
    """Give a module its attributes, and shard it with those that are sharded together with it."""
    attributes, terms = state
    module.__setstate__(attributes)
    if terms is None:
        return
    options = terms["options"]
    placements = {id(one): place for one, place in terms.get("placements", ())}
    if placements:
        options["shard_placement_fn"] = lambda one: placements.get(id(one))
    modules = [module, *terms["others"]]
    before = [dict(one.named_parameters(remove_duplicate=False)) for one in modules]
    place = "torch.distributed.fsdp", "fully_shard"
    if terms["is_replica"]:
        place = replicated.ON_FSDP, "replicate"
    make = getattr(import_module(place[0]), place[1])
    make(modules if terms["others"] else module, **options)
    for group in fsdp2.param_groups(module):
        vars(group).update(terms["settings"])
        if terms["separate"] is not None:
            setattr(group.mesh_info, _SEPARATE, terms["separate"])
    for one, names in zip(modules, before, strict=True):
        for name, now in one.named_parameters(remove_duplicate=False):
            if names[name] is not now:
                _Loading.replaced[id(names[name])] = (names[name], now)


_PREFETCHED = {
    "forward": "_states_to_forward_prefetch",
    "backward": "_states_to_backward_prefetch",
}


def prefetched(module: Any) -> Iterator[tuple[str, Any, list[Any]]]:
    """What was set by ``set_modules_to_forward_prefetch`` and the like, if anything.

    Ranks with other settings gather parameters in another order.

    Returns:
        By direction, the module and those whose parameters it gathers early.
    """
    fsdp = module._get_fsdp_state()
    for direction, name in _PREFETCHED.items():
        states = getattr(fsdp, name, ())
        if states and module is fsdp._modules[0]:
            yield direction, module, [state._modules[0] for state in states]


def set_prefetched(every: Sequence[tuple[str, Any, Sequence[Any]]]) -> None:
    """Set what :func:`prefetched` returned for other modules, once all of them are sharded."""
    for direction, module, others in every:
        getattr(module, f"set_modules_to_{direction}_prefetch")([*others])


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
                group["params"] = [_now(one) for one in group["params"]]
            kept = {_now(one): entries for one, entries in optimizer.state.items()}
            optimizer.state = defaultdict(dict, kept)
    finally:
        _Loading.replaced, _Loading.optimizers = {}, []


def _now(parameter: Any) -> Any:
    """The shard that has replaced a parameter; the parameter itself if none has."""
    return _Loading.replaced.get(id(parameter), (parameter, parameter))[1]


def set_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Give an optimizer its attributes."""
    optimizer.__setstate__(state)
    _Loading.optimizers.append(optimizer)
