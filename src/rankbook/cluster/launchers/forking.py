"""The processes of a local cluster: a light controller, and one that forks engines.

Both are ipyparallel launchers, so that ``ipcluster list`` and ``ipcluster stop`` know them.
Both have a pipe from the notebook's kernel as their stdin. When the kernel ends, by any signal,
the pipe closes, and they end themselves and what they started.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import psutil
from ipyparallel.cluster.launcher import (
    EngineLauncher,
    LocalControllerLauncher,
    LocalProcessLauncher,
)
from traitlets import Any as AnyTrait
from traitlets import Integer, Unicode

from rankbook import folders
from rankbook.cluster.launchers.base import Ended, EngineEvent, Ready
from rankbook.cluster.processes import isolated, lifelines
from rankbook.cluster.processes.warm import WarmProcess
from rankbook.engine.processes import orphans

__all__ = [
    "CONTROLLER_OPTIONS",
    "ENGINE_OPTIONS",
    "LocalController",
    "LocalEngines",
    "fork_command",
    "log_tail",
]

CONTROLLER_OPTIONS = {
    # One process instead of nine; its queues run in C++ threads, without the GIL.
    "IPController.use_threads": True,
    "IPController.broadcast_scheduler_depth": 0,
    "TaskScheduler.scheme_name": "leastload",
    # The hub announces an engine at its second heartbeat. The process that forked an engine
    # reports its end, so a busy machine may miss many beats (a minute's) without harm.
    "HeartMonitor.period": 100,
    "HeartMonitor.max_heartmonitor_misses": 600,
}

_LOG_TAIL = 65536
"""How many bytes of an engine's log are read after its end."""


ENGINE_OPTIONS = (
    # The forking process watches and ends them.
    "--IPEngine.enable_nanny=False",
    # All engines would write the same file; what a rank runs is the notebook's history.
    "--HistoryManager.enabled=False",
    "--log-level=ERROR",
)


def fork_command(
    n: int, first: int, argv: Sequence[str], *, env: Mapping[str, str], log: str
) -> dict[str, Any]:
    """Tell a forking process to fork engines.

    Args:
        n: How many.
        first: Id of the first.
        argv: Options of ipyparallel's engine, besides those of all our engines.
        env: Variables added to their environment.
        log: The path of each log, with ``{index}`` in it; empty: an unnamed file.
    """
    return {
        "fork": n,
        "first": first,
        "argv": ["--IPEngine.id={index}", *ENGINE_OPTIONS, *argv],
        "cwd": folders.here(),
        "env": dict(env),
        "log": log,
    }


def log_tail(log: str, engine: int) -> list[str]:
    """The last lines of an engine's log, oldest first.

    Args:
        log: The path of each log, with ``{index}`` in it.
        engine: Its id.
    """
    # It may have written none.
    with suppress(OSError), Path(log.replace("{index}", str(engine))).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
        lines = file.read().decode(errors="replace").split("\n")
        return [line for line in lines if line.strip()]
    return []


class _Lifeline(LocalProcessLauncher):
    """A local process that ends when this one does."""

    lifeline: Any = None

    def start(self, n: int = 1) -> None:
        """Start the process with a pipe as its stdin."""
        del n  # only sets of engines have a number
        process = self._popen_process = self._spawn()
        self.lifeline = process.stdin
        lifelines.hold(self.lifeline)
        self.pid = process.pid
        self.process = psutil.Process(process.pid)
        self.notify_start(self.pid)
        self._start_waiting()

    def _spawn(self) -> Popen[bytes]:
        raise NotImplementedError

    def _wait(self) -> None:
        if self._popen_process is None:  # in `ipcluster list`, another process started it
            super()._wait()
            return
        # The base class asks psutil, which would take the exit status from Popen.
        status = self._popen_process.wait()
        data = {"exit_code": status, "pid": self.pid, "identifier": self.identifier}
        with suppress(RuntimeError):  # the loop that started it may be closed by now
            self.loop.add_callback(self.notify_stop, data)

    async def stop(self) -> None:
        """Close the lifeline, then make sure that the process ends."""
        if self.lifeline is not None:
            with suppress(OSError):  # the process may have ended before it read everything
                self.lifeline.close()
        await super().stop()


class LocalController(_Lifeline, LocalControllerLauncher):
    """A controller in one process, listening on loopback."""

    # Its name in the cluster's file, for `ipcluster list` and JupyterLab's view of clusters.
    entrypoint_name = f"{__name__}.LocalController"

    def find_args(self) -> list[str]:
        """The command line of the controller."""
        given = " ".join(self.controller_args)  # twice is an error
        defaults = {n: v for n, v in CONTROLLER_OPTIONS.items() if f"--{n}=" not in given}
        options = [f"--{name}={value}" for name, value in defaults.items()]
        command = isolated.command("rankbook.cluster.processes.controller")
        return [*command, *self.cluster_args, *options, "--log-level=ERROR", *self.controller_args]

    def _spawn(self) -> Popen[bytes]:
        with Path(self.output_file).open("ab") as log:
            return Popen(
                self.args,
                stdin=PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.get_env()},
                cwd=folders.here() or "/",  # the folder may be gone
                start_new_session=True,  # the terminal's Ctrl-C is the kernel's alone
            )


class LocalEngines(_Lifeline, EngineLauncher):
    """Engines forked from one warm process. More can be forked later."""

    entrypoint_name = f"{__name__}.LocalEngines"

    gpus = Unicode(help="CUDA_VISIBLE_DEVICES of the engines, empty: as it is here")
    warm = AnyTrait(help="The WarmProcess to fork from; one is started where there is none")
    first = Integer(0, help="Id of the first engine")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.was_ready = False
        """Whether any engine has come up."""
        self.living: set[int] = set()
        """Engines that live, or are being started; a keeper may have added some."""

    def find_args(self) -> list[str]:
        """The command line of the forking process, for ipyparallel's log."""
        # In `ipcluster list` there is none: another process started it.
        return list(self.warm.process.args) if self.warm else [type(self).__name__]

    def get_env(self) -> dict[str, str]:
        """What is added to the notebook's environment for the engines."""
        env = super().get_env()
        if self.gpus:
            env["CUDA_VISIBLE_DEVICES"] = self.gpus
        return dict(env)

    def start(self, n: int = 1) -> None:
        """Start the forking process and have it fork ``n`` engines.

        They wait for the controller's connection file, which is written before torch is imported.
        """
        super().start()
        self.n, self._next = 0, self.first
        self.add(n)

    def add(self, n: int) -> set[int]:
        """Fork ``n`` more engines; return their ids."""
        self.warm.tell({**self.how_to_fork(), "fork": n, "first": self._next})
        new = set(range(self._next, self._next + n))
        self._note(new)
        return new

    def how_to_fork(self) -> dict[str, Any]:
        """The command that forks engines, without their number."""
        return fork_command(0, 0, self.engine_args, env=self.get_env(), log=self._log)

    def _note(self, new: Collection[int]) -> None:
        self.living.update(new)
        self._next = max(self._next, *(engine + 1 for engine in new))
        self.n = len(self.living)

    @property
    def next_id(self) -> int:
        """Id of the next engine to be forked; none is used twice."""
        return int(self._next)

    def end(self, engines: Collection[int]) -> None:
        """Kill engines, by their ids; those that have ended are skipped."""
        self.warm.tell({"kill": sorted(engines)})

    def events(self) -> Iterator[EngineEvent]:
        """What the forking process reports of its engines; ends when it has ended."""
        for line in self.warm.lines():
            event = json.loads(line)
            if event["event"] == "ready":
                self.was_ready = True
                self._note([event["engine"]])
                yield Ready(event["engine"], event["uuid"])
            elif event["event"] == "ended":
                yield self._ended(event["index"], event["status"])
        # The forking process was killed before it could report these: they were killed with it.
        # Their child processes now have a parent that does not know them.
        if self.living and not self.warm.is_left:
            orphans.end_all(self.warm.process.pid)
        for engine in sorted(self.living):
            yield self._ended(engine, -signal.SIGKILL)

    def _ended(self, engine: int, status: int) -> Ended:
        self.living.discard(engine)
        self.n = len(self.living)
        return Ended(engine, status)

    def log_tail(self, engine: int) -> list[str]:
        """The last lines of an engine's log, oldest first: what C++ and subprocesses wrote."""
        return log_tail(self._log, engine)

    @property
    def _log(self) -> str:
        return str(Path(self.profile_dir, "log", f"ipengine-{self.cluster_id}-{{index}}.log"))

    def ended(self) -> int | None:
        """Exit code of the forking process, or minus the signal; None while it runs."""
        status: int | None = self._popen_process.poll()
        return status

    def last_words(self) -> str:
        """The last line that the forking process wrote to its log."""
        return str(self.warm.last_words())

    async def stop(self) -> None:
        """End the forking process, which ends its engines."""
        await super().stop()
        if self.warm is not None:
            self.warm.close()

    def _spawn(self) -> Popen[bytes]:
        self.warm = self.warm or WarmProcess()
        process: Popen[bytes] = self.warm.process
        return process
