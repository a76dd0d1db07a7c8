"""A pool whose launcher, wire and engines are in this process."""

from __future__ import annotations

from fakes.engine import FakeEngine
from fakes.launcher import FakeLauncher
from fakes.wire import FakeWire
from rankbook.cluster.launchers.base import Ended
from rankbook.cluster.pool import Pool
from rankbook.models.requests import Request

__all__ = ["FakePool"]


class FakePool(Pool):
    """The real pool over fake engines, and what a test does to them.

    Args:
        n: Number of engines.
        hosts: A letter for each host; engines take turns on them.
        gpus: How many each engine has.
        owned: False: the engines were joined.
    """

    def __init__(self, n: int = 2, *, hosts: str = "a", gpus: int = 0, owned: bool = True) -> None:
        self.all: dict[int, FakeEngine] = {}
        """By id, the engines; those that have ended, too."""
        wire = FakeWire(self.all)
        launcher = FakeLauncher(wire, self.all, self.kill, hosts=hosts, gpus=gpus, owned=owned)
        super().__init__(launcher, wire)
        launcher.start(n)

    def __getitem__(self, number: int) -> FakeEngine:
        return self.all[number]

    def kill(self, number: int, status: int = -9, *, registered: bool = False) -> None:
        """Have an engine end.

        The process that forked it reports how; for a joined engine, only the controller reports
        its end. With ``registered`` the controller has not noticed yet.
        """
        self[number].answers = False
        if not self.is_owned:
            self.wire.leave(number)
            return
        self._take(Ended(number, status))
        if registered:
            self.wire.route({number: ""})

    @property
    def closed(self) -> int:
        """How often it was closed."""
        return self.launcher.closed

    @property
    def grown(self) -> list[int]:
        """How many engines were added, each time."""
        return self.launcher.grown

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
