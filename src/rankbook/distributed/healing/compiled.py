"""Resetting ``torch.compile``, whose code contains names and sizes of groups."""

from __future__ import annotations

import sys

import torch

__all__ = ["forget"]


def forget() -> None:
    """Have everything compiled again when it is next used.

    The default group has the same name whatever its size, so a graph made for another number of
    ranks would run, with a wrong result. It also skips hooks that were added later, which modules
    use to say that they cannot go on.
    """
    if "torch._dynamo" in sys.modules:  # importing it takes a second
        torch.compiler.reset()
