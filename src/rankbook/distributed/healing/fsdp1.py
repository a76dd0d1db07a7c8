"""Restarting ``FullyShardedDataParallel`` modules at the next step after one that was cut.

The parameters that an interrupted step gathered are freed, and its gradients dropped: a rank that
kept them would skip the ``all_gather`` that others wait for, and compute with partial data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

__all__ = ["hindrance", "is_amid", "is_gathered", "is_in_backward"]

logger = logging.getLogger(__name__)

_OF_A_STEP = {
    "_needs_pre_backward_unshard": False,
    "_needs_pre_forward_unshard": False,
    "_post_forward_index": None,
    "_prefetched": False,
    "_ran_pre_backward_hook": False,
}
"""Attributes that a handle sets in a step, with their values between steps."""


def is_amid(module: Any) -> bool:
    """Whether a module, or one in it, is in the middle of a step."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        states = module._all_fsdp_states if module._is_root else []
        parts = [state.training_state for state in states]
        parts += [one._training_state for one in _handles(states)]
        return any(part.name != "IDLE" for part in parts)
    return False


def is_in_backward(module: Any) -> bool:
    """Whether a backward of a module has begun, and has not come to its end."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        handles = _handles(module._all_fsdp_states) if module._is_root else []
        is_due = module._is_root and module._post_backward_callback_queued
        return is_due or any("BACKWARD" in one._training_state.name for one in handles)
    return False


def is_gathered(module: Any) -> bool:
    """Whether parameters of a module are gathered, as between a forward and its backward."""
    with suppress(AttributeError):  # :func:`hindrance` says so
        handles = _handles(module._all_fsdp_states) if module._is_root else []
        return any(one.uses_sharded_strategy and not one.needs_unshard() for one in handles)
    return False


def hindrance(module: Any, *, was_cut: bool) -> str:
    """Restart a module; return what this torch lacks for that, empty if nothing.

    Args:
        module: The module; modules in it are restarted with their root.
        was_cut: Whether a step was cut on some rank. This one may be between forward and backward.
    """
    try:
        _restart(module, was_cut=was_cut)
    except (AttributeError, TypeError) as error:
        logger.warning("an FSDP module cannot go on with this torch", exc_info=True)
        return str(error)
    return ""


def _restart(root: Any, *, was_cut: bool) -> None:
    if not root._is_root:
        return
    states = root._all_fsdp_states
    for state in states:
        _leave_unsharded(state)
    handles = _handles(states)
    if not was_cut and not is_amid(root):
        # After a forward some are gathered, and a backward may come.
        for handle in handles:
            if handle.uses_sharded_strategy and not handle.needs_unshard():
                _free(handle)
        return
    for handle in handles:
        _shard(handle)
    root._post_backward_callback_queued = False
    root._exec_order_data.handles_post_forward_order.clear()
    root._exec_order_data.current_order_index = 0
    for state in states:
        state.training_state = type(state.training_state).IDLE
        state._unshard_event = None


def _handles(states: Sequence[Any]) -> list[Any]:
    return [state._handle for state in states if state._handle is not None]


def _leave_unsharded(state: Any) -> None:
    """Leave what ``state_dict`` enters for each module; where it is cut, it does not itself."""
    while state._unshard_params_ctx:
        _, context = state._unshard_params_ctx.popitem()
        context.__exit__(None, None, None)


def _free(handle: Any) -> None:
    """Free gathered parameters."""
    handle.reshard(handle.uses_sharded_strategy)
    handle.post_reshard()


def _shard(handle: Any) -> None:
    """Reset a flat parameter to its state between steps, without a gradient."""
    flat = handle.flat_param
    handle._training_state = type(handle._training_state).IDLE
    with suppress(AttributeError):  # there was nothing to do in the backward
        flat._post_backward_hook_state[-1].remove()
        del flat._post_backward_hook_state
    flat.grad = None
    with suppress(AttributeError):  # the backward had not reached it
        del flat._saved_grad_shard
    flat._post_backward_called = False
    _free(handle)
    for name, value in _OF_A_STEP.items():
        setattr(handle, name, value)
