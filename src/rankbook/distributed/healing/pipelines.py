"""Restarting pipelines at the next step after one that was cut."""

from __future__ import annotations

from typing import Any

__all__ = ["is_amid", "restart", "stages"]

_TOLD = {
    f"{stage}{direction}_initialized"
    for stage in ("_stage", "_stages")
    for direction in ("", "_forward", "_backward")
} | {"_p2p_initialized"}
"""Attributes that a pipeline sets once its stages know each other's shapes, and from torch 2.15 on
once they have tried their connections, by torch version."""

_OF_A_STEP = {
    "_internal_losses",
    "backward_counter",
    "bwd_recv_ops",
    "fwd_recv_ops",
    "unshard_ops",
    "unsharded_stages",
}
"""Attributes that a pipeline fills in a step and empties at its end: losses; and of a schedule with
several stages per rank, counters, pending receives and unsharded stages."""


def is_amid(schedule: Any) -> bool:
    """Whether the stages of a pipeline still have to tell each other their shapes."""
    return not all(getattr(schedule, name) for name in _TOLD & set(vars(schedule)))


def restart(schedule: Any, *, was_cut: bool) -> str:
    """Drop the parts of a step that was cut that a pipeline does not reset itself; return nothing.

    Args:
        schedule: The schedule of the pipeline.
        was_cut: Whether a stage is new or was cut while shapes were exchanged: then all exchange
            them again. Otherwise they do not, since that computes a microbatch, after which a DDP
            module adds the gradients of the step in another order.
    """
    for name in _OF_A_STEP & set(vars(schedule)):
        getattr(schedule, name).clear()
    for name in _TOLD & set(vars(schedule)) if was_cut else ():
        setattr(schedule, name, False)
    for stage in stages(schedule):
        for infos in (*stage.args_recv_info.values(), *stage.grad_recv_info.values()):
            for info in infos:
                # From torch 2.15 on it keeps pending receives, and starts no more while it has
                # some: the connections of these are gone.
                if hasattr(info, "take_buffer"):
                    info.buffer = None
    return ""


def stages(schedule: Any) -> list[Any]:
    """The stages of a schedule."""
    return list(schedule._stages) if hasattr(schedule, "_stages") else [schedule._stage]
