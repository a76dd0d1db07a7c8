"""Resetting ``torch.compile``, whose code contains names and sizes of groups."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["forget", "leave_out"]


def forget() -> None:
    """Have everything compiled again when it is next used.

    The default group has the same name whatever its size, so a graph made for another number of
    ranks would run, with a wrong result. It also skips hooks that were added later, which modules
    use to say that they cannot go on.
    """
    if "torch._dynamo" in sys.modules:  # importing it takes a second
        torch.compiler.reset()


def leave_out(hook: Callable[..., object]) -> None:
    """Have the hooks of a class run as they are in a module that was compiled.

    What they do to a reducer cannot be traced.

    Args:
        hook: One of them.
    """
    cls: Any = type(hook)
    if "torch._dynamo" in sys.modules and cls not in _left_out:
        _left_out.add(cls)
        cls.__call__ = torch.compiler.disable(cls.__call__)


_left_out: set[type] = set()
"""Classes of hooks that are not traced."""
