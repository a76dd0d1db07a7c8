"""``replicate()``, the composable form of DDP: a module with an associated DDP module.

The DDP module itself is never called: the module calls the parts of its forward. So hooks belong on
the module, which is also the one that the user knows.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from rankbook.heap import instances

__all__ = ["entrance", "is_replicated"]


def _torchs() -> Any:
    """The torch module that has ``replicate``, where it has been imported."""
    return sys.modules.get("torch.distributed._composable.replicate")


def is_replicated(module: Any) -> bool:
    """Whether a module was given to ``replicate``."""
    return isinstance(module, getattr(_torchs(), "DDP", ()))


def entrance(ddp: Any) -> Any:
    """The module whose call is a step of a DDP module: itself, or the argument of ``replicate``.

    Args:
        ddp: The DDP module.
    """
    if _torchs() is None or type(getattr(ddp, "module", None)) is not nn.ParameterList:
        return ddp
    states = [vars(state) for state in instances(_torchs()._ReplicateState)]
    return next((state["module"] for state in states if state.get("_ddp") is ddp), ddp)
