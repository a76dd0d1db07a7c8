"""A session under test, and what must not change whatever happens to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import psutil

import rankbook as rb

__all__ = ["World", "at_any_moment", "until"]

_PRESET = """
import torch.nn.parallel, torch.distributed.fsdp  # which take seconds the first time
torch.manual_seed({seed} + rank)
kept = torch.randn(1000)
model = torch.nn.Linear(20, 20)
"""

_CHECKSUM = "(float(kept.double().sum()), float(sum(p.double().sum() for p in model.parameters())))"

_NEXT = "probe = torch.ones(2)\ndist.all_reduce(probe)\nint(probe.sum())"


def until(condition: Callable[[], bool], timeout: float) -> float:
    """Wait for a condition; return the seconds that it took, infinity if it did not come."""
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > timeout:
            return float("inf")
        time.sleep(0.002)
    return time.perf_counter() - begin


def at_any_moment(random: Random, longest: float) -> None:
    """Let a part of some seconds pass, for the moment is what is tried."""
    time.sleep(random.uniform(0, longest))


class World:
    """N ranks with a tensor and a model on each."""

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self.session = rb.start("gloo", n)
        self.session.run(_PRESET.format(seed=seed)).raise_for_error()
        self.sums = self.checksums()
        self.pids = self.processes()

    def close(self) -> None:
        """Stop the engines."""
        self.session.shutdown()

    def checksums(self) -> dict[int, str | None]:
        """By rank, what its variables hold; None where they are gone."""
        result = self.session.run(_CHECKSUM)
        return {rank: its.result_repr for rank, its in result.items()}

    def processes(self) -> list[int]:
        """Pids by rank."""
        states = self.session.states()
        return [s.pid for s in states if s.info is not None]

    def works(self) -> bool:
        """Whether the next cell works on every rank."""
        result = self.session.run(_NEXT)
        return result.ok and {r.result_repr for r in result.values()} == {str(2 * self.n)}

    def is_as_it_was(self) -> bool:
        """Whether every rank is the process that it was, with the variables that it had."""
        return self.checksums() == self.sums and self.processes() == self.pids

    def refill(self, seed: int) -> None:
        """Give replaced ranks variables again, and remember who is there."""
        self.session.run(
            f"if 'kept' not in globals():\n    exec({_PRESET.format(seed=seed)!r})"
        ).raise_for_error()
        self.sums, self.pids = self.checksums(), self.processes()

    def in_background(self, work: Callable[[], Any]) -> Background:
        """Do something in another thread."""
        return Background(work)


class Background:
    """Work in another thread, and what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended = 0.0

        def run() -> None:
            try:
                self.value = work()
            except BaseException as error:  # noqa: BLE001 - looked at by who asked for it
                self.error = error
            finally:
                self.ended = time.perf_counter()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for it; tell whether it has ended."""
        self.thread.join(timeout)
        return not self.thread.is_alive()


def shared_memory() -> set[str]:
    """Names of the shared-memory segments of this machine."""
    folder = Path("/dev/shm")  # noqa: S108 - the segments themselves, no file of ours
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def descendants() -> set[int]:
    """Pids of all processes that this one has started, and theirs."""
    return {p.pid for p in psutil.Process().children(recursive=True)}
