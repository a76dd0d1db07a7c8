"""Leaving ``Join``, which an exception leaves as it was: entered on some ranks, and on others not.

A module in it begins each forward with a collective that tells whether this rank has input left.
"""

from __future__ import annotations

from typing import Any

from torch.distributed.algorithms.join import Joinable

__all__ = ["is_in", "leave"]


def is_in(one: Any) -> bool:
    """Whether a DDP module or a ZeRO optimizer is in a ``Join``."""
    return isinstance(one, Joinable) and one._join_config.enable


def leave(one: Any) -> str:
    """Have a DDP module or a ZeRO optimizer be outside of any ``Join``; return nothing."""
    if isinstance(one, Joinable):
        one._join_config = type(one._join_config).construct_disabled_join_config()
    return ""
