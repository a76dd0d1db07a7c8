"""Engines of one cluster, in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from fakes.engine import FakeEngine
from fakes.wire import FakeWire
from rankbook.cluster.channel import Channel
from rankbook.errors import ClusterError
from rankbook.models.requests import Request

__all__ = ["FakePool"]


class FakePool:
    """Engines of one cluster."""

    def __init__(self, n: int = 2, *, hosts: str = "a", gpus: int = 0, owned: bool = True) -> None:
        self._hosts, self._gpus = hosts, gpus
        self.all: dict[int, FakeEngine] = {}
        self.is_owned = owned
        self.can_grow = owned
        self.cluster_id = "fake-cluster"
        self.on_end: Callable[[int, int], None] = lambda engine, status: None
        self.closed = 0
        self.grown: list[int] = []
        self.wire = FakeWire(self.all)
        self.channel = Channel(self.wire)
        self._add(range(n))

    @property
    def engines(self) -> list[int]:
        return list(self.wire.engines)

    def __getitem__(self, number: int) -> FakeEngine:
        return self.all[number]

    def _add(self, numbers):
        for number in numbers:
            host = self._hosts[number % len(self._hosts)]
            engine = self.all[number] = FakeEngine(number, host, self._gpus)
            engine.end = partial(self.kill, number)
            self.wire.join(number)

    def refuse_growth(self) -> None:
        if not self.can_grow:
            raise ClusterError(f"This cluster has {len(self.engines)} engines and cannot grow.")

    def grow(self, n: int, timeout: float = 60.0) -> None:
        self.refuse_growth()
        self.grown.append(n)
        first = max(self.all, default=-1) + 1
        self._add(range(first, first + n))

    def end(self, engines, timeout: float = 10.0) -> None:
        for number in sorted(set(engines) & set(self.engines)):
            self.kill(number)

    def last_words(self, engine: int) -> list[str]:
        return self[engine].words if self.is_owned else []

    def replace(self, timeout: float = 60.0) -> None:
        if not self.is_owned:
            raise ClusterError("This session joined its engines and cannot replace them.")
        n = len(self.engines)
        for number in list(self.engines):
            self.kill(number, -signal.SIGTERM)
        self.all.clear()
        self._add(range(n))

    def facts(self, engines=None):
        return [self[number].facts for number in (self.engines if engines is None else engines)]

    def close(self) -> None:
        self.closed += 1
        for number in self.engines:
            self.channel.engine_gone(number)
        self.wire.close()

    # -- what a test does to it --------------------------------------------------------------

    def kill(self, number: int, status: int = -9, *, registered: bool = False) -> None:
        """Have an engine end.

        The process that forked it tells how; of one that was started elsewhere nobody does. With
        ``registered`` the controller's hub has not noticed yet.
        """
        self[number].answers = False
        if self.is_owned:
            self.on_end(number, status)
        self.channel.engine_gone(number)
        if not registered:
            self.wire.unregister(number)

    def requested(self, op: str) -> list[dict]:
        """The arguments, by engine, of every request for an operation."""
        return [args for name, args in self.wire.requests if name == op]

    def asked(self, op: str) -> list[int]:
        """The engines that were asked for an operation, once for each time."""
        return [number for args in self.requested(op) for number in args]

    @property
    def awaited(self) -> set[int]:
        """Engines whose answers somebody waits for, or forgot to forget."""
        return self.channel.owing({request.op for request in Request.__subclasses__()})
