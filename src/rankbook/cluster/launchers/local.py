"""Engines on this machine, forked from one process; more can be forked later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
from ipyparallel.cluster.cluster import Cluster

from rankbook import lastcalls
from rankbook.cluster.launchers.base import EngineEvent
from rankbook.cluster.launchers.cluster import ClusterLauncher, Forking
from rankbook.cluster.launchers.forking import LocalController, LocalEngines
from rankbook.cluster.processes.warm import WarmProcess
from rankbook.engine.host import host
from rankbook.errors import ClusterError
from rankbook.models import how_ended

__all__ = ["LocalLauncher"]

if TYPE_CHECKING:
    import ipyparallel

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_OF_EACH = 30_000_000
"""Bytes of memory of an engine alone; torch's memory is shared by all."""


class LocalLauncher(ClusterLauncher):
    """Starts a light controller, and one process that forks engines.

    Args:
        nproc: Number of engines.
        gpus: ``CUDA_VISIBLE_DEVICES`` of the engines, empty leaves it as it is.
        warm: The process that forks engines, if it has already been started.
    """

    can_add = True

    def __init__(self, nproc: int, gpus: str = "", warm: WarmProcess | None = None) -> None:
        cluster = Cluster(
            log=_log,
            n=nproc,
            controller=LocalController,
            engines=LocalEngines,
            load_profile=False,
            # Engines find the connection file themselves; they start while it is written.
            send_engines_connection_env=False,
        )
        super().__init__(cluster)
        self._engines: LocalEngines | None = None
        self._options: dict[str, Any] = {"gpus": gpus, "warm": warm}

    def describe(self) -> str:
        """By where it is."""
        return "the local cluster"

    def start(self, n: int) -> ipyparallel.Client:
        """Start the engines, then the controller, and connect to it.

        The slowest step comes first; the controller is up before torch is imported.
        """
        self.refuse_start(n)
        self.start_engines(n)
        self.cluster.start_controller_sync()
        return self.connect()

    def refuse_start(self, n: int | None = None, instead_of: Collection[int] = ()) -> None:
        """Raise if this host has no memory for ``n`` engines."""
        count = self.cluster.n if n is None else n
        free = min(int(psutil.virtual_memory().available), host.memory_total())
        if (count - len(instead_of)) * _OF_EACH > free:
            raise ClusterError(
                f"{count:,} ranks take {count * _OF_EACH / 1e9:,.1f} GB of memory before they hold "
                f"anything, and this host has {free / 1e9:,.1f} GB free: ask for fewer, -n."
            )

    def add(self, n: int) -> set[int]:
        """Fork ``n`` more engines; return their ids."""
        self.refuse_start(n)
        return super().add(n)

    def start_engines(self, n: int, **options: Any) -> set[int]:
        """Start the process that forks engines, and have it fork some; return their ids."""
        super().start_engines(n, **self._options, **options)
        [engines] = self.cluster.engines.values()
        self._engines = engines
        return set(engines.living)

    def stop_engines(self) -> int:
        """End that process with its engines; return how many there were, at least 1."""
        engines, self._engines = self._engines, None
        if engines is not None:
            # New ids: a late report about an old engine must not be taken for a new engine's.
            self._options = {"gpus": engines.gpus, "first": engines.next_id}
        return super().stop_engines()

    def fork(self, n: int) -> set[int]:
        """Fork ``n`` more engines; return their ids."""
        return self._tell(lambda forking: forking.add(n))

    def end(self, engines: Collection[int]) -> None:
        """Have the process that forked the engines kill some."""
        self._tell(lambda forking: forking.end(engines))

    def check(self) -> None:
        """Raise if the process that forks engines has ended."""
        if self._engines is None or (status := self._engines.ended()) is None:
            return
        if self._engines.was_ready:
            raise _gone()
        raise ClusterError(
            f"The process that starts engines {how_ended(status)}: {self._engines.last_words()}"
        )

    def events(self) -> Iterator[EngineEvent]:
        """Events from the process that forked the engines."""
        return iter(()) if self._engines is None else self._engines.events()

    def forking(self) -> list[Forking]:
        """The one process that forks engines."""
        engines = self._engines
        return [] if engines is None else [Forking(engines.warm, engines.living)]

    def how_to_fork(self) -> tuple[dict[str, Any], int]:
        """The command that forks engines, and the id of the next."""
        return (
            ({}, 0)
            if self._engines is None
            else (
                self._engines.how_to_fork(),
                self._engines.next_id,
            )
        )

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine's log: what C++ and subprocesses wrote."""
        return [] if self._engines is None else self._engines.log_tail(engine)

    def stop(self) -> None:
        """Stop controller and engines, and remove their files."""
        super().stop()
        if (
            warm := self._options.get("warm")
        ) is not None:  # the start may have failed before it forked
            warm.close()
        lastcalls.remove(self.cluster_id)
        # Otherwise a log per engine and session would pile up.
        for path in Path(self.cluster.profile_dir).glob(f"*/*{self.cluster_id}*"):
            with suppress(OSError):  # somebody else has removed it
                path.unlink()

    def _tell(self, command: Callable[[LocalEngines], _T]) -> _T:
        """Send a command to the process that forks engines.

        Raises:
            ClusterError: It no longer reads commands.
        """
        if self._engines is None:
            raise _gone()
        try:
            return command(self._engines)
        except OSError as error:
            raise _gone() from error


def _gone() -> ClusterError:
    return ClusterError(
        "The process that engines are forked from has ended, and they with it: "
        "%dist_reset --hard (or reset(hard=True)) starts others."
    )
