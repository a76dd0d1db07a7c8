"""The session: the notebook's handle on one cluster and its process group.

A session is a small state machine, ``ready → running → ready`` and ``ready → initialising →
ready``, guarded by one lock: what changes the group or runs a cell takes it and never waits for it
(a busy session says so); what only looks (state, interrupt) works at any time, from any thread.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from rankbook import ranks as rank_selection
from rankbook import values
from rankbook.cluster.channel import everyone
from rankbook.cluster.placement import (
    Placement,
    check_backend,
    check_numbers,
    choose_backend,
    place,
)
from rankbook.cluster.pool import Pool
from rankbook.errors import RankbookError, SessionError, StuckError
from rankbook.models import EngineFacts, GroupInfo, RankState, Snapshot, how_ended
from rankbook.sessions import formation, looking, transfer
from rankbook.sessions.cells import CellOutput, Stuck, run_cell
from rankbook.sessions.changes import Changes
from rankbook.sessions.results import CellResult

if TYPE_CHECKING:
    from rankbook.distributed import DistInfo

__all__ = ["Session"]

_INTERRUPT_GRACE = 3.0
"""Seconds for a cell to end after an interrupt."""

_REPLACED = 10.0
"""Seconds for whoever waits for engines to notice that they were replaced."""

_CLOSED = "shut down"


class Session:
    """One cluster and its process group, seen from the notebook.

    Made by :func:`start` or :func:`connect`.

    Attributes:
        generation: Which process group of this session is the present one, from 1.
        backend: Its real backend, empty while there is no group.
    """

    def __init__(self, pool: Pool, view: Callable[[Session], Any]) -> None:
        self.pool = pool
        self._view = view
        self._dashboard: Any = None
        self.generation = 0
        self.timeout_minutes: float = 1
        self.placement: Placement | None = None
        self.ended: dict[int, int] = {}
        """Engines that have ended, and their exit code or minus the signal."""
        self.doing = ""
        """What it is busy with, in words; empty when it is ready."""
        self._groups: dict[int, GroupInfo] = {}
        self._asked: str | None = None
        self._known: dict[int, EngineFacts] = {}
        self._lock = threading.Lock()
        self._replacing = threading.Lock()
        self._directory = tempfile.mkdtemp(prefix="rankbook-")
        self.changes = Changes()
        """Tells listeners when the group, an engine, or what it is doing changes."""
        pool.on_end = self._engine_ended

    # -- what it is --------------------------------------------------------------------------

    @property
    def world_size(self) -> int:
        """Number of ranks; 0 while there is no group."""
        return len(self._groups)

    @property
    def backend(self) -> str:
        """The group's real backend, empty while there is no group."""
        return self._groups[0].backend if self._groups else ""

    @property
    def groups(self) -> Mapping[int, GroupInfo]:
        """By rank, its place in the group in plain types (importing no torch)."""
        return dict(self._groups)

    @property
    def infos(self) -> dict[int, DistInfo]:
        """By rank, the ``DistInfo`` that ``initialize_distributed`` returned there."""
        import torch

        from rankbook.distributed import DistInfo

        return {
            rank: DistInfo(g.backend, g.rank, g.world_size, torch.device(g.device), g.is_main)
            for rank, g in self._groups.items()
        }

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`shutdown` was called."""
        return self.doing == _CLOSED

    def __repr__(self) -> str:
        if self.is_closed:
            return "<Session: shut down>"
        group = f"{self.backend}, {self.world_size} ranks" if self._groups else "no group"
        return f"<Session: {group}, generation {self.generation}{self.doing and ', '}{self.doing}>"

    def states(self) -> list[RankState]:
        """Ask every engine what it does; answers within about a second, whatever they do.

        Returns:
            One state per rank, by rank, then one per engine that is no rank. An engine that does
            not answer has the state ``no answer``, one that has ended ``gone``.
        """
        engines = list(self.placement.engines) if self.placement else []
        groups = {engines[rank]: group for rank, group in self._groups.items()}
        alive = self.pool.engines
        engines += [engine for engine in alive if engine not in engines]
        return looking.states(self.pool.channel, engines, alive, self.ended, groups)

    def snapshot(self) -> Snapshot:
        """Everything a view shows; see :meth:`states`."""
        states = () if self.is_closed else tuple(self.states())
        return Snapshot(
            self.backend,
            self.world_size,
            self.generation,
            self.doing,
            states,
            self.pool.cluster_id,
        )

    def stacks(self) -> dict[int, list[str]]:
        """By rank, the main thread's Python stack; answered at any time."""
        placed = enumerate(self._placed().engines)
        engines = {engine: rank for rank, engine in placed if engine not in self.ended}
        answers = self.pool.channel.ask("stacks", everyone(engines), looking.ANSWER_TIMEOUT)
        return {rank: answers[engine] for engine, rank in engines.items()}

    # -- the group ---------------------------------------------------------------------------

    def initialize(
        self,
        backend: str | None = None,
        nproc: int | None = None,
        timeout_minutes: float | None = None,
    ) -> None:
        """Make the next generation: leave the present group, if any, and form a new one.

        Engines and their variables stay. With another number of ranks, engines that are no
        longer ranks wait as spares, and missing ones are started.

        Args:
            backend: See :func:`start`; None keeps what was asked for last.
            nproc: Number of ranks; None keeps it.
            timeout_minutes: Of the initialisation and of every collective; None keeps it.

        Raises:
            SessionError: The session is busy.
            RankbookError: No group was formed, and none is left half-made; the message says why.
        """
        with self._busy("initialising the process group"):
            if nproc is None and self.placement is not None:
                nproc = self.placement.world_size
            self._initialize(backend or self._asked, nproc, timeout_minutes)

    def reset(self, backend: str | None = None, hard: bool = False) -> None:  # noqa: FBT001, FBT002
        """Run ``destroy_global_state`` on every rank, then make a new generation.

        Args:
            backend: Another backend, None keeps it.
            hard: Replace the engines too. Their variables are lost.

        Raises:
            SessionError: The session is busy (``hard`` ends what it is busy with), or ``hard`` on
                engines that it did not start.
            RankbookError: See :meth:`initialize`.
        """
        nproc = self.placement.world_size if self.placement else None
        if hard:
            self._replace_engines()
        with self._busy("resetting", wait=_REPLACED if hard else 0):
            self._initialize(backend or self._asked, nproc, None)

    def _replace_engines(self) -> None:
        """Replace all engines, busy or not: what runs on them ends, and so does the wait for it."""
        self._raise_closed()
        if not self.pool.is_owned:
            raise SessionError(
                "This session joined its engines and cannot replace them: restart them where they "
                "were started, then join again."
            )
        if not self._replacing.acquire(blocking=False):
            raise SessionError("The engines are being replaced already: wait.")
        try:
            self._groups, self.placement = {}, None
            self.pool.replace()
            self.ended.clear()
            self._known.clear()
        finally:
            self._replacing.release()

    def destroy(self) -> None:
        """Run ``destroy_global_state`` on every rank and form no new group."""
        with self._busy("destroying the process group"):
            self._leave()

    def _initialize(
        self, backend: str | None, nproc: int | None, timeout_minutes: float | None
    ) -> None:
        check_numbers(nproc, timeout_minutes)
        if backend is not None:
            check_backend(backend)
        if self.ended and self.placement and set(self.placement.engines) & set(self.ended):
            self._raise_ended()
        if nproc is not None and nproc > len(self.pool.engines):
            self.pool.grow(nproc - len(self.pool.engines))
        placement = place(self._facts(), nproc)
        name = choose_backend(placement, backend)
        former = set(self.placement.engines) if self.placement else set()
        self._groups = {}
        self.placement, self._asked = placement, backend
        self.timeout_minutes = timeout_minutes or self.timeout_minutes
        self.generation += 1
        if dropped := former - set(placement.engines):
            self.pool.channel.ask("destroy", everyone(dropped), formation.LEAVE_TIMEOUT)
        self._groups = formation.form(
            self.pool.channel,
            placement,
            name,
            self.timeout_minutes,
            self.generation,
            self._directory,
        )
        self.changes.tell()

    def _leave(self) -> None:
        self._groups = {}
        alive = [e for e in self.pool.engines if e not in self.ended]
        self.pool.channel.ask("destroy", everyone(alive), formation.LEAVE_TIMEOUT)
        self.changes.tell()

    def _facts(self) -> list[EngineFacts]:
        """What the engines say; asked once per engine, for nothing of it changes."""
        engines = self.pool.engines
        if new := [e for e in engines if e not in self._known]:
            self._known |= {f.engine: f for f in self.pool.facts(new)}
        return [self._known[e] for e in engines]

    # -- cells -------------------------------------------------------------------------------

    def run(
        self,
        code: str,
        ranks: str | int | list[int] = "all",
        timeout: float | None = None,
        *,
        output: CellOutput | None = None,
        number: int = 0,
    ) -> CellResult:
        """Run a cell on ranks and wait for it. IPython syntax works as in a notebook.

        Ctrl-C interrupts it on the ranks.

        Args:
            code: The cell.
            ranks: A selection such as ``"0,2"``, ``1`` or ``[0, 2]``.
            timeout: Seconds after which the cell is interrupted; None waits.
            output: Shows what the ranks say while they say it; None shows nothing.
            number: What tracebacks call the cell.

        Returns:
            What it did on each rank. An exception there is in the result, never raised here.

        Raises:
            SessionError: The session is busy, or has no group.
            StuckError: An interrupt did not end the cell on some ranks.
            InputError: There are no such ranks.
            ClusterError: The controller is gone.
        """
        engines = self._engines(ranks)
        with self._busy(f"running a cell on {rank_selection.said(engines)}"):
            rank_of = {engine: rank for rank, engine in engines.items()}
            try:
                return run_cell(self.pool.channel, rank_of, code, number, timeout, output)
            except Stuck as stuck:
                self._raise_stuck(stuck.ranks, stuck.result)

    def select(self, ranks: str | int | list[int]) -> tuple[int, ...]:
        """Read a selection of ranks, all of which can run a cell.

        Raises:
            SessionError: There is no group, or a selected rank has ended.
            InputError: There are no such ranks.
        """
        if not self._groups:
            self._raise_closed()
            raise SessionError("There is no process group: make one with %dist_init.")
        chosen = rank_selection.parse(ranks, self.world_size)
        engines = self._placed().engines
        if any(engines[rank] in self.ended for rank in chosen):
            self._raise_ended()
        return chosen

    def in_background(self, work: Callable[[], Any]) -> threading.Thread:
        """Do ``work`` in a thread and return as soon as it has made the session busy."""
        begun = threading.Event()
        stop = self.changes.listen(begun.set)

        def run() -> None:
            try:
                work()
            finally:
                begun.set()

        thread = threading.Thread(target=run, name="rankbook-cell", daemon=True)
        thread.start()
        begun.wait()
        stop()
        return thread

    def interrupt(self) -> bool:
        """Interrupt what runs on the ranks: ``KeyboardInterrupt`` in their cells.

        Returns:
            Whether anything was running.

        Raises:
            StuckError: Some rank did not end within seconds; the message says where it is.
        """
        engines = self._placed().engines
        alive = [engine for engine in engines if engine not in self.ended]
        if not looking.interrupt(self.pool.channel, alive):
            return False
        busy = looking.wait_until_idle(self.pool.channel, alive, _INTERRUPT_GRACE)
        if busy:
            self._raise_stuck([rank for rank, engine in enumerate(engines) if engine in busy])
        return True

    # -- values ------------------------------------------------------------------------------

    def pull(self, name: str, ranks: str | int | list[int] = "all") -> dict[int, Any]:
        """Bring a variable here.

        Args:
            name: Its name on the ranks.
            ranks: A selection of ranks.

        Returns:
            Its value by rank. Tensors arrive on the CPU.

        Raises:
            InputError: Some rank does not have it, or it cannot be pickled.
        """
        engines = self._engines(ranks)
        with self._busy(f"pulling {name}"):
            return transfer.pull(self.pool.channel, engines, name)

    def push(self, ranks: str | int | list[int] = "all", /, **variables: Any) -> None:
        """Send variables to ranks.

        Args:
            ranks: A selection of ranks.
            **variables: Names and values.

        Raises:
            InputError: A value cannot be pickled. Nothing was sent.
        """
        engines = self._engines(ranks)
        data = {name: values.dumps(value, name) for name, value in variables.items()}
        with self._busy(f"pushing {', '.join(variables)}"):
            transfer.push(self.pool.channel, engines, data)

    def _engines(self, ranks: str | int | list[int]) -> dict[int, int]:
        """By rank, the engine, of a selection."""
        chosen = self.select(ranks)
        engines = self._placed().engines
        return {rank: engines[rank] for rank in chosen}

    # -- ends --------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Stop the engines that this session started; leave joined ones, their group destroyed.

        Idempotent, and possible while a cell runs: that cell ends with its engines.
        """
        if self.is_closed:
            return
        if not self.pool.is_owned:
            with suppress(RankbookError):
                self._leave()
        self.doing = _CLOSED
        self._groups = {}
        self.pool.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        self.changes.tell()

    def dashboard(self) -> Any:
        """The session's ipywidgets dashboard: the state of every rank, and buttons."""
        if self._dashboard is None:
            self._dashboard = self._view(self)
        return self._dashboard

    # ----------------------------------------------------------------------------------------

    @contextmanager
    def _busy(self, doing: str, wait: float = 0) -> Iterator[None]:
        if not self._lock.acquire(timeout=wait):
            raise SessionError(
                f"The session is {self.doing or 'busy'}: wait, or write %dist_interrupt."
            )
        try:
            self._raise_closed()
            self.doing = doing
            self.changes.tell()
            yield
        finally:
            if not self.is_closed:
                self.doing = ""
            self._lock.release()
            self.changes.tell()

    def _placed(self) -> Placement:
        self._raise_closed()
        if self.placement is None:
            raise SessionError("There is no process group: make one with %dist_init.")
        return self.placement

    def _raise_closed(self) -> None:
        if self.is_closed:
            raise SessionError("This session is shut down: start another with %dist_init.")

    def _raise_ended(self) -> NoReturn:
        its = {p.engine: p.rank for p in self._placed().places}
        said = ", ".join(
            f"rank {its[e]} {how_ended(status)}" for e, status in self.ended.items() if e in its
        )
        raise SessionError(f"{said[0].upper()}{said[1:]}: %dist_reset --hard replaces the engines.")

    def _raise_stuck(self, ranks: list[int], result: CellResult | None = None) -> NoReturn:
        states = self.states()
        where = "; ".join(f"rank {r} is in {states[r].activity or states[r].state}" for r in ranks)
        error = StuckError(
            f"The interrupt did not end the cell: {where}. It ends with the group's timeout of "
            f"{self.timeout_minutes:g} min; %dist_reset may free it sooner and keeps all "
            "variables, %dist_reset --hard replaces the engines at once.",
            result,
        )
        if result is not None:
            error.traceback_lines = result.traceback_lines()
        raise error

    def _engine_ended(self, engine: int, status: int) -> None:
        self.ended[engine] = status
        self.changes.tell()
