"""A launcher whose engines are objects in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace

from fakes.engine import FakeEngine
from fakes.wire import FakeWire
from rankbook.cluster.launchers.base import Launcher

__all__ = ["FakeLauncher"]


class FakeLauncher(Launcher):
    """Starts fake engines, which the controller announces at once.

    Args:
        wire: Where engines register.
        all_engines: By id, all that were started; kept up to date.
        kill: Ends an engine with a status.
        hosts: A letter for each host; engines take turns on them.
        gpus: How many each engine has.
        owned: False: they stay when the pool is closed, and none can be added.
    """

    cluster_id = "fake-cluster"

    def __init__(
        self,
        wire: FakeWire,
        all_engines: dict[int, FakeEngine],
        kill: Callable[[int, int], None],
        *,
        hosts: str,
        gpus: int,
        owned: bool,
    ) -> None:
        self.is_owned = self.can_add = owned
        self.closed = 0
        self.grown: list[int] = []
        self._wire, self._all, self._kill = wire, all_engines, kill
        self._hosts, self._gpus = hosts, gpus
        self._next = 0

    @property
    def client(self):
        return SimpleNamespace(ids=self._wire.engines)

    def describe(self):
        return "the fake cluster"

    def start(self, n):
        self._start(n)
        return self.client

    def add(self, n):
        self.refuse_add()
        self.grown.append(n)
        return self._start(n)

    def end(self, engines: Collection[int]) -> None:
        for number in sorted(set(engines) & set(self._wire.engines)):
            self._kill(number, -9)

    def stop_engines(self):
        if not self.is_owned:
            return super().stop_engines()
        n = len(self._wire.engines)
        self.end(self._all)
        self._all.clear()
        return n

    def start_engines(self, n):
        return self._start(n)

    def log_tail(self, engine):
        # One that another has replaced has no log any more.
        return self._all[engine].words if self.is_owned and engine in self._all else []

    def stop(self):
        self.closed += 1

    def _start(self, n):
        new = range(self._next, self._next + n)  # no id is given twice
        self._next += n
        for number in new:
            host = self._hosts[number % len(self._hosts)]
            engine = self._all[number] = FakeEngine(number, host, self._gpus)
            engine.end = lambda status, number=number: self._kill(number, status)
            self._wire.join(number)
        return set(new)
