"""Random numbers of a new process, which differ from rank to rank as under a launcher."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["begin_anew", "new"]


def begin_anew() -> None:
    """Seed what libraries seed once in a process: forked engines have all that of one process."""
    torch.default_generator.seed()
    random.seed()
    if numpy := _numpy():
        numpy.seed()


@contextmanager
def new() -> Iterator[None]:
    """Give a block new random numbers; the rank's own go on after it."""
    state, python = torch.random.get_rng_state(), random.getstate()
    numpy = _numpy()
    others = numpy and numpy.get_state()
    begin_anew()
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
        random.setstate(python)
        if numpy:
            numpy.set_state(others)


def _numpy() -> Any:
    # numpy imports it with the first use, and then it has numbers of its own.
    return sys.modules.get("numpy.random")
