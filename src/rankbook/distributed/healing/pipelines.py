"""Restarting pipelines at the next step after one that was cut."""

from __future__ import annotations

from typing import Any

__all__ = ["restart", "stages"]

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


def restart(schedule: Any) -> str:
    """Drop the parts of a step that was cut that a pipeline does not reset itself; return nothing.

    Its stages exchange shapes again, because one of them may be new, or was cut in that exchange.
    """
    for name in _OF_A_STEP & set(vars(schedule)):
        getattr(schedule, name).clear()
    for name in _TOLD & set(vars(schedule)):
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
