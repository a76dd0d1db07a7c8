"""Engines that ``mpiexec`` starts, on this host or on several. When one ends, it ends all."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from rankbook.cluster.hosts.addresses import LOOPBACK, address_to
from rankbook.cluster.hosts.slurm import own_job
from rankbook.cluster.hosts.targets import Mpi
from rankbook.cluster.launchers.attempts import Attempts, children_of, end_all, name_of
from rankbook.cluster.launchers.base import Ended, EngineEvent, Ready
from rankbook.cluster.launchers.cluster import Forking
from rankbook.cluster.launchers.far import FarLauncher
from rankbook.cluster.launchers.forking import ENGINE_OPTIONS
from rankbook.cluster.launchers.host import lacking
from rankbook.cluster.processes.warm import WarmProcess
from rankbook.errors import ClusterError, InputError
from rankbook.words import how_ended

if TYPE_CHECKING:
    import ipyparallel

__all__ = ["MPILauncher", "cause"]

_MODULE = "rankbook.engine.starting.member"
_FIRST = "RANKBOOK_FIRST_ENGINE"
_PASSED_ON = ("IPP_CONNECTION_INFO", "IPP_CLUSTER_ID", _FIRST)
"""Variables that the engines need; the first contains a key, which a command line would show."""

_ENDS_ALL = "mpiexec ends all ranks when one ends"

_TRIAL = 10.0
"""Seconds for mpiexec to run something on all of its hosts."""

_UNCHANGED = "nothing was ended. Try again when it can be reached."

_DIED = re.compile(r"process rank (\d+) .*exited on signal (\d+)")


class MPILauncher(FarLauncher):
    """Runs ``mpiexec``, once.

    Args:
        asked: How many engines, and where.
        python: See :class:`FarLauncher`.
        gpus: See :class:`FarLauncher`.
        address: See :class:`FarLauncher`.
    """

    def __init__(
        self, asked: Mpi, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(asked.nproc, python, gpus, address)
        self._asked = asked
        self._mpiexec: WarmProcess | None = None
        self._attempts: Attempts | None = None
        self._first = self._next = 0
        self._lost: dict[int, str] = {}
        self._ready: set[int] = set()

    def describe(self) -> str:
        """By the program."""
        return "the engines of mpiexec"

    def preview(self) -> list[str]:
        """The command, for display."""
        return [shlex.join(self._command(self._asked.nproc))]

    def start(self, n: int) -> ipyparallel.Client:
        """Start the controller, then mpiexec."""
        self.settle_address()
        _ = self._is_open_mpi  # refuse before anything is started
        self.start_controller()
        self.start_engines(n)
        return self.connect()

    def find_address(self) -> str:
        """The address on the way to the first host, or loopback where there are no others."""
        hosts = [name for name, _ in self._asked.hosts]
        return address_to(hosts[0]) if hosts else LOOPBACK

    def start_engines(self, n: int, **options: Any) -> set[int]:
        """Run mpiexec; return the ids of its engines."""
        del options
        self._first = self._next
        self._next += n
        self._ready = set()
        env = {**os.environ, **self.env(), _FIRST: str(self._first)}
        self._mpiexec = WarmProcess(self._command(n), env)
        if self._asked.hosts:
            self._attempts = Attempts(self._mpiexec.process.pid)
        return set(range(self._first, self._next))

    def stop_engines(self) -> int:
        """End mpiexec, and its engines with it."""
        self._end_mpiexec()
        return self._asked.nproc

    def refuse_start(self, n: int | None = None, instead_of: Collection[int] = ()) -> None:
        """Raise if mpiexec cannot run anything on one of its hosts."""
        del n, instead_of
        if not self._asked.hosts or own_job():  # in a job it may have to wait for what runs
            return
        hosts = [(name, 1) for name, _ in self._asked.hosts]
        trial = WarmProcess(["mpiexec", "-n", str(len(hosts)), *self._where(hosts), "true"])
        attempts, until = Attempts(trial.process.pid), time.monotonic() + _TRIAL
        try:
            while (status := trial.process.poll()) is None:
                self._refuse_silence(attempts, f"; {_UNCHANGED}")
                if time.monotonic() > until:
                    raise ClusterError(f"mpiexec started nothing in {_TRIAL:g} s; {_UNCHANGED}")
                time.sleep(0.05)
            if status:
                raise ClusterError(f"mpiexec: {cause(trial.errors())}; {_UNCHANGED}")
        finally:
            _end(trial, at_once=True)

    def refuse_add(self) -> None:
        """Raise: a run of mpiexec has as many engines as it started with."""
        raise ClusterError(
            f"mpiexec has started {self._asked.nproc} engines and cannot add to them: "
            "%dist_reset --hard (or reset(hard=True)) starts as many new ones; for another number "
            "%dist_shutdown, then %dist_init --mpi -n N."
        )

    def end(self, engines: Collection[int]) -> None:
        """Raise: when one engine of mpiexec ends, all do."""
        del engines
        self.refuse_add()

    def forking(self) -> list[Forking]:
        """The one run of mpiexec, which cannot add engines."""
        engines = range(self._first, self._next)
        return [] if self._mpiexec is None else [Forking(self._mpiexec, engines, _ENDS_ALL)]

    def check(self) -> None:
        """Raise if mpiexec has ended while its engines are awaited."""
        if self._mpiexec is None or len(self._ready) == self._next - self._first:
            return
        if self._mpiexec.process.poll() is not None:
            raise ClusterError(f"mpiexec: {cause(self._mpiexec.errors())}.")
        if self._attempts is not None:
            self._refuse_silence(self._attempts)

    def _refuse_silence(self, attempts: Attempts, more: str = ".") -> None:
        """Raise if a host does not answer, which mpiexec would wait for in silence."""
        if silent := attempts.unanswered():
            name = name_of(silent[0], [name for name, _ in self._asked.hosts])
            where = f"{silent[0]} port {silent[1]}"
            raise ClusterError(f"mpiexec: {name} does not answer ({where}){more}")

    def events(self) -> Iterator[EngineEvent]:
        """Events of the engines, and the end of all when mpiexec ends."""
        mpiexec, engines = self._mpiexec, range(self._first, self._next)
        if mpiexec is None:
            return
        for line in mpiexec.lines():
            try:
                event = json.loads(line)
                ready = Ready(event["engine"], event["uuid"])
            except (ValueError, TypeError, KeyError):  # a line that something else has printed
                continue
            self._ready.add(ready.engine)
            yield ready
        status = mpiexec.process.wait()
        if mpiexec is self._mpiexec:
            yield from self._ends(engines, status, mpiexec.errors())
        else:  # it was ended from here
            yield from (Ended(engine, None) for engine in engines)

    def _ends(self, engines: Sequence[int], status: int, errors: list[str]) -> Iterator[Ended]:
        died = next((match for line in errors if (match := _DIED.search(line))), None)
        first, how = None, f"mpiexec {how_ended(status)}"
        if died is not None:
            first = engines[int(died[1])]
            how = f"rank {died[1]} {how_ended(-int(died[2]))}"
        for engine in engines:
            if engine == first and died is not None:
                yield Ended(engine, -int(died[2]))
            else:
                self._lost[engine] = f"{_ENDS_ALL}, and {how}"
                yield Ended(engine, None)

    def why_lost(self, engine: int) -> str:
        """Why an engine was ended from outside: by mpiexec."""
        return self._lost.get(engine, "")

    def stop(self) -> None:
        """End mpiexec and the controller."""
        self._end_mpiexec()
        super().stop()

    # ----------------------------------------------------------------------------------------

    def _end_mpiexec(self) -> None:
        mpiexec, self._mpiexec = self._mpiexec, None
        if mpiexec is not None:
            _end(mpiexec, at_once=not self._ready)

    def _command(self, n: int) -> list[str]:
        names = list(_PASSED_ON)
        if self._is_open_mpi:
            passed = [word for name in names for word in ("-x", name)]
        else:
            passed = ["-genvlist", ",".join(names)]
        engine = [self.python, "-m", _MODULE, *ENGINE_OPTIONS, *self.engine_options()]
        return ["mpiexec", "-n", str(n), *self._where(self._asked.hosts), *passed, *engine]

    def _where(self, hosts: Sequence[tuple[str, int]]) -> list[str]:
        """The options that name hosts, and how many engines each may have."""
        if not hosts:
            return []
        names = ",".join(f"{name}:{seats}" for name, seats in hosts)
        return ["--host" if self._is_open_mpi else "-hosts", names]

    @cached_property
    def _is_open_mpi(self) -> bool:
        """Whether mpiexec is Open MPI's; MPICH's and Intel's take other options.

        Raises:
            InputError: There is no mpiexec.
        """
        try:
            shown = subprocess.run(
                ["mpiexec", "--version"],  # noqa: S607 - the user's
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise InputError(
                "There is no mpiexec on this host: install Open MPI or MPICH, or load its module."
            ) from None
        return bool(re.search("Open ?(MPI|RTE)|prte", shown.stdout + shown.stderr, re.IGNORECASE))


def _end(mpiexec: WarmProcess, *, at_once: bool) -> None:
    """End a run of mpiexec, and the processes that it started here.

    Args:
        mpiexec: The run.
        at_once: Whether it has no engines that would end by themselves.
    """
    children = children_of(mpiexec.process.pid)
    if at_once:
        mpiexec.process.terminate()
    mpiexec.close()
    end_all(children)


def cause(errors: Sequence[str]) -> str:
    """Say why a run of mpiexec failed, from its standard error.

    Args:
        errors: Its non-empty lines.
    """
    lines = [line for line in errors if line.strip("-")]
    if not lines:
        return "it gave no reason"
    if package := lacking(lines):
        return f"the Python there has no {package}: run `pip install rankbook` with it"
    if raised := next((line for line in lines if re.match(r"\w*(Error|Exception)\b", line)), None):
        return raised.rstrip(".")
    if "ssh" in lines[0] or lines[0].endswith(":"):
        return lines[0].rstrip(".:")
    # The first sentence of a paragraph that may have several lines.
    start = next((i for i, line in enumerate(errors) if line.strip("-")), 0)
    text = " ".join(takewhile(lambda line: line.strip("-"), errors[start:]))
    return re.split(r"(?<=[a-z])[.:](?:\s|$)", text, maxsplit=1)[0]
