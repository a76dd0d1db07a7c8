"""Gradient scalers of this process, which drop the step in which their group was cut.

A scaler notes which optimizers have unscaled gradients until its ``update()``, and refuses to
unscale them again: so would the step that repeats the one that was cut.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from torch.amp.grad_scaler import GradScaler

__all__ = ["count", "is_scaler", "restart"]


def is_scaler(one: Any) -> bool:
    """Whether it is a scaler that scales."""
    return isinstance(one, GradScaler) and bool(vars(one).get("_enabled"))


def count(scaler: Any) -> int:
    """How often it was updated since it last changed its scale."""
    return int(scaler.state_dict()["_growth_tracker"])


def restart(ones: Collection[Any], *, is_lost: bool) -> None:
    """Have the next loss that each scaler scales begin another step.

    Until then gradients may be unscaled, and the person may still take the step with them.

    Args:
        ones: The scalers, and other objects.
        is_lost: Whether nobody can take that step any more, for another rank has ended in it.
    """
    # Empty between steps. A private name of torch 2.9 to 2.15: without it nothing is dropped.
    amid = [one for one in ones if is_scaler(one) and vars(one).get("_per_optimizer_states")]
    for scaler in amid:
        if is_lost:
            scaler._per_optimizer_states.clear()
        else:
            scaler.scale = partial(_scale_anew, scaler)


def _scale_anew(scaler: Any, outputs: Any) -> Any:
    """Begin another step: called once, instead of the method."""
    vars(scaler).pop("scale", None)
    scaler._per_optimizer_states.clear()
    return scaler.scale(outputs)
