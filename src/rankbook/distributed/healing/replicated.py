"""``replicate()``, the composable form of DDP: a module with an associated DDP module.

The DDP module itself is never called: the module calls the parts of its forward. So hooks belong on
the module, which is also the one that the user knows.

torch has another function of this name, whose modules are FSDP modules without shards.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from rankbook.heap import instances

__all__ = ["ON_FSDP", "entrance", "is_replica", "is_replicated"]

ON_FSDP = "torch.distributed._composable.replicate_with_fsdp"
"""Where torch has the ``replicate`` that makes FSDP modules."""


def _torchs() -> Any:
    """The torch module that has ``replicate``, where it has been imported."""
    return sys.modules.get("torch.distributed._composable.replicate")


def is_replicated(module: Any) -> bool:
    """Whether a module was given to ``replicate``."""
    return isinstance(module, getattr(_torchs(), "DDP", ()))


def is_replica(module: Any) -> bool:
    """Whether a module is an FSDP module without shards: each rank has all of its parameters."""
    return isinstance(module, getattr(sys.modules.get(ON_FSDP), "ReplicateModule", ()))


def entrance(ddp: Any) -> Any:
    """The module whose call is a step of a DDP module: itself, or the argument of ``replicate``.

    Args:
        ddp: The DDP module.
    """
    if _torchs() is None or type(getattr(ddp, "module", None)) is not nn.ParameterList:
        return ddp
    states = [vars(state) for state in instances(_torchs()._ReplicateState)]
    return next((state["module"] for state in states if state.get("_ddp") is ddp), ddp)
