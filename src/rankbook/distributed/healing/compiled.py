"""What ``torch.compile`` has made: names and sizes of groups are built into it."""

from __future__ import annotations

import sys

import torch

__all__ = ["forget"]


def forget() -> None:
    """Have everything be compiled again when it is used.

    The default group has the same name whatever its size, so a graph that was made for another
    number of ranks would run, and give something else. And it leaves out hooks that came later, by
    which modules say that they cannot go on.
    """
    if "torch._dynamo" in sys.modules:  # to import it takes a second
        torch.compiler.reset()
