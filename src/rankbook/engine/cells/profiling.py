"""Profiling this rank with torch's profiler, from before a cell until after it."""

from __future__ import annotations

import gzip
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler import profile

from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.errors import InputError
from rankbook.models.profiles import Taken
from rankbook.models.requests import StartProfile, TakeProfile

__all__ = ["start_profile", "take_profile"]

_TRIES = 200
"""How many operations measure the cost of recording one."""


class _Running:
    """The running profiler, and the last call before it."""

    profiler: Any = None
    last = 0


def _is_running() -> bool:
    """Whether a torch profiler runs, ours or the cell's; ours where torch does not say."""
    its_own: Any = getattr(getattr(torch._C, "_autograd", None), "_profiler_enabled", None)
    return _Running.profiler is not None if its_own is None else its_own()


@operation(StartProfile, on=MAIN)
def start_profile(job: Job, _request: StartProfile) -> float:
    """Start the profiler."""
    _stop()
    if _is_running():
        raise InputError("A profiler of an earlier cell runs already: end it first.")
    without = _seconds_of_one()
    # The parts of torch.profiler.profile, which itself imports inductor: that takes seconds.
    profiler = profile(use_kineto=True, use_device="cuda" if torch.cuda.is_initialized() else None)
    with _quiet():
        profiler.__enter__()
    _Running.profiler, _Running.last = profiler, job.engine.ledger.last
    return max(0.0, _seconds_of_one() - without)


@operation(TakeProfile, on=MAIN)
def take_profile(job: Job, _request: TakeProfile) -> Taken:
    """Stop the profiler, and send the trace."""
    engine = job.engine
    calls, dropped = engine.ledger.since(_Running.last)
    profiler = _stop()
    if profiler is not None:
        with tempfile.TemporaryDirectory(prefix="rankbook-") as folder, _quiet():
            path = Path(folder, "trace.json")
            profiler.export_chrome_trace(str(path))
            job.attachments.append(gzip.compress(path.read_bytes(), 1))
    main = threading.main_thread().ident or 0
    return Taken(socket.gethostname(), engine.runner.started, main, tuple(calls), dropped)


def _stop() -> Any:
    """Stop the running profiler, and return it; None where none runs, or the cell has ended it.

    A process has only one: a cell that uses another ends ours with its own, and ending it twice
    ends the process.
    """
    is_running = _is_running()
    profiler, _Running.profiler = _Running.profiler, None
    if profiler is None or not is_running:
        return None
    with _quiet():
        profiler.__exit__(None, None, None)
    return profiler


def _seconds_of_one() -> float:
    """How long a small operation takes here, as a median."""
    x = torch.zeros(1)
    times = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        x.add_(1)
        times.append(time.perf_counter() - begin)
    return sorted(times)[_TRIES // 2]


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Kineto's log of its stages, which bypasses Python. It reads its log level only once."""
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(nowhere)
