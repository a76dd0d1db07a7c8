"""Restarting FSDP2 modules at the next step after one that was cut.

The parameters that an interrupted forward gathered are sharded again, and its gradients dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

__all__ = [
    "drop_kept_gradient",
    "drop_partly_reduced",
    "hindrance",
    "is_amid",
    "is_gathered",
    "is_in_backward",
    "kept_gradient",
    "param_groups",
    "restart",
]

logger = logging.getLogger(__name__)


def param_groups(module: Any) -> list[Any]:
    """FSDP2's parameter groups of a module, without those of modules in it."""
    return [*_param_groups(module._get_fsdp_state())]


def is_amid(module: Any) -> bool:
    """Whether a module is in the middle of a step."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        return any(one._training_state.name != "IDLE" for one in _parts(module._get_fsdp_state()))
    return False


def is_in_backward(module: Any) -> bool:
    """Whether a backward of a module has begun, and has not come to its end."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        root = module._get_fsdp_state()
        is_due = root._is_root and root._state_ctx.post_backward_final_callback_queued
        return is_due or any("BACKWARD" in one._training_state.name for one in _parts(root))
    return False


def is_gathered(module: Any) -> bool:
    """Whether parameters of a module are gathered, as between a forward and its backward."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        states = _states(module._get_fsdp_state())
        return any(one.is_unsharded for state in states for one in _param_groups(state))
    return False


def hindrance(module: Any, *, was_cut: bool) -> str:
    """Restart a module; return what this torch lacks for that, empty if nothing."""
    try:
        restart(module, was_cut=was_cut)
    except (AttributeError, TypeError) as error:
        logger.warning("an FSDP module cannot go on with this torch", exc_info=True)
        return str(error)
    return ""


def restart(module: Any, *, was_cut: bool = False) -> None:
    """Shard the parameters of an interrupted step, and drop its gradients.

    Where there is none, parameters that a forward has gathered are sharded all the same, and what
    the backward would prefetch is forgotten: a rank that was cut between forward and backward would
    not gather what the others do.

    Args:
        module: The module.
        was_cut: Whether its step was cut on some rank. This one may be between two parts of it, and
            have gradients of the first.
    """
    root = module._get_fsdp_state()
    parts = _parts(root)
    groups = [group for state in _states(root) for group in _param_groups(state)]
    for group in groups:
        group._all_gather_result = None  # nothing will complete it
    if not was_cut and all(one._training_state.name == "IDLE" for one in parts):
        for group in groups:
            group._to_sharded()
            group._post_forward_indices.clear()
        if groups:
            root._comm_ctx.post_forward_order.clear()
        return
    for group in groups:
        for parameter in group.fsdp_params:
            drop_kept_gradient(parameter)
    if not groups:
        return
    if hasattr(module, "reset_iter_state"):  # from torch 2.13 on
        module.reset_iter_state()
    else:
        _begin_again(root, groups)


def kept_gradient(parameter: Any) -> Any:
    """What FSDP2 keeps between the parts of a step, where ``zero_grad()`` does not see it."""
    accumulated = parameter.unsharded_accumulated_grad
    if accumulated is not None:
        return accumulated
    return getattr(getattr(parameter, "_unsharded_param", None), "grad", None)


def drop_kept_gradient(parameter: Any) -> None:
    """Drop it."""
    with suppress(AttributeError):  # from torch 2.15 on it is a view of the other one
        parameter.unsharded_accumulated_grad = None
    with suppress(AttributeError):  # it was never unsharded
        parameter._unsharded_param.grad = None


def drop_partly_reduced(group: Any) -> None:
    """Drop what a parameter group keeps that is reduced within a row of its mesh only."""
    group._partial_reduce_output = None
    if hasattr(group, "_partial_reduce_output_layout"):  # from torch 2.15 on
        group._partial_reduce_output_layout.clear()


def _begin_again(root: Any, groups: Sequence[Any]) -> None:
    """The part of ``reset_iter_state`` that concerns a CPU."""
    context = root._comm_ctx
    context.all_gather_state = context.reduce_scatter_state = None
    context.post_forward_order.clear()
    for group in groups:
        group._post_reduce_event = group._all_reduce_state = None
        group._reshard_after_forward_event = group._partial_reduce_output = None
        group._post_forward_indices.clear()
        group._to_sharded()
    idle = type(root._training_state).IDLE
    for one in _parts(root):
        one._training_state = idle
    root._state_ctx.iter_forward_root = None
    root._state_ctx.post_backward_final_callback_queued = False


def _states(state: Any) -> list[Any]:
    """The state of a root that has run, and those of the modules in it."""
    return list(state._state_ctx.all_states) if state._is_root else []


def _parts(root: Any) -> list[Any]:
    """The states of a root that has run, and their parameter groups."""
    states = _states(root)
    return [*states, *(group for state in states for group in _param_groups(state))]


def _param_groups(state: Any) -> Iterator[Any]:
    if hasattr(state, "_fsdp_param_groups"):
        yield from state._fsdp_param_groups
    elif state._fsdp_param_group is not None:
        yield state._fsdp_param_group
