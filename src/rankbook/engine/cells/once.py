"""What a process can do once, or only before it imports torch, and what every script may do."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

__all__ = ["interop_threads", "thread_variable"]

_THREADS = "OMP_NUM_THREADS"


@contextmanager
def interop_threads() -> Iterator[None]:
    """Let the script set the number of interop threads, which the first one has fixed."""
    set_to = torch.set_num_interop_threads
    is_first = True

    def set_num_interop_threads(number: int) -> None:
        nonlocal is_first
        try:
            set_to(number)
        except RuntimeError:
            present = torch.get_num_interop_threads()
            if not is_first:
                raise
            if number != present:
                text = f"this rank keeps {present} interop threads: a process sets them once"
                warnings.warn(text, stacklevel=2)
        is_first = False

    torch.set_num_interop_threads = set_num_interop_threads  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.set_num_interop_threads = set_to


_Environ: Any = type(os.environ)


class _BeforeTorch(_Environ):
    """The environment: a number of threads that a script sets before it imports torch is obeyed."""

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name, value)
        if name == _THREADS and "torch" not in vars(sys.modules["__main__"]):
            # A process of its own would ignore such a number.
            with suppress(ValueError, RuntimeError):
                torch.set_num_threads(int(value))


@contextmanager
def thread_variable() -> Iterator[None]:
    """Obey ``OMP_NUM_THREADS`` where the script sets it, which torch reads at its import."""
    environ: Any = os.environ
    environ.__class__ = _BeforeTorch
    try:
        yield
    finally:
        environ.__class__ = _Environ
