"""The session: the notebook's handle on one cluster and its process group.

A session is a small state machine, ``ready → running → ready`` and ``ready → initialising →
ready``, guarded by one lock: what changes the group or runs a cell takes it and never waits for it
(a busy session says so); what only looks (state, interrupt) works at any time, from any thread.
"""

from __future__ import annotations

import atexit
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rankbook import ranks as rank_selection
from rankbook import values
from rankbook.cluster.pool import Pool
from rankbook.errors import InputError, RankbookError, SessionError
from rankbook.interrupts import undisturbed
from rankbook.models import (
    ON_HANG,
    CellSpan,
    Diagnosis,
    GroupInfo,
    RankState,
    Snapshot,
    how_ended,
)
from rankbook.sessions import looking, transfer
from rankbook.sessions.aftermath import Aftermath
from rankbook.sessions.cells import Cell, CellOutput
from rankbook.sessions.changes import Changes
from rankbook.sessions.generations import Generations
from rankbook.sessions.rescue import Rescue
from rankbook.sessions.results import CellResult
from rankbook.sessions.runs import Runs
from rankbook.sessions.turns import Turns

if TYPE_CHECKING:
    from rankbook.distributed import DistInfo

__all__ = ["Session"]

_REPLACED = 10.0
"""Seconds for whoever waits for engines to notice that they were replaced."""

_STOPPING = 30.0
"""Seconds for engines to stop, whatever is pressed meanwhile; local ones take one or two."""


class Session:
    """One cluster and its process group, seen from the notebook.

    Made by :func:`start` or :func:`connect`.

    Attributes:
        on_hang: What happens when it is proven that a cell cannot end: ``free`` its ranks,
            ``report`` it and go on waiting, or ``wait``.
        changes: Tells listeners when the group, an engine, or what it is doing changes.
        endings: Tells listeners that it is about to be shut down; what they do delays that.
        is_ending: Whether they are being told.
    """

    def __init__(self, pool: Pool, view: Callable[[Session], Any]) -> None:
        self.pool = pool
        self.on_hang = "free"
        self.changes = Changes()
        self.endings = Changes()
        self.is_ending = False
        self._view = view
        self._dashboard: Any = None
        self._generations = Generations(pool)
        self._rescue = Rescue(pool, self._generations)
        aftermath = Aftermath(pool, self._generations, self._rescue)
        self._runs = Runs(pool.channel, self._rescue, aftermath)
        self._turns = Turns(self.changes)
        self._replacing = threading.Lock()
        self._snapshots = itertools.count(1)
        pool.on_end = self._engine_ended

    # -- what it is --------------------------------------------------------------------------

    @property
    def doing(self) -> str:
        """What it is busy with, in words; empty when it is ready."""
        return self._turns.doing

    @property
    def turn(self) -> int:
        """How many things it has been busy with so far."""
        return self._turns.number

    @property
    def generation(self) -> int:
        """Which process group of this session is the present one, from 1."""
        return self._generations.number

    @property
    def world_size(self) -> int:
        """Number of ranks; 0 while there is no group."""
        return len(self._generations.groups)

    @property
    def backend(self) -> str:
        """The group's real backend, empty while there is no group."""
        groups = self._generations.groups
        return groups[0].backend if groups else ""

    @property
    def timeout_minutes(self) -> float:
        """Of the initialisation and of every collective."""
        return self._generations.timeout_minutes

    @property
    def groups(self) -> Mapping[int, GroupInfo]:
        """By rank, its place in the group in plain types (importing no torch)."""
        return dict(self._generations.groups)

    @property
    def ended(self) -> Mapping[int, int]:
        """Engines that have ended, and their exit code or minus the signal."""
        return dict(self._generations.ended)

    @property
    def dead_ranks(self) -> Mapping[int, str]:
        """By rank, how those have ended that have and are not replaced yet."""
        return {r: how_ended(status) for r, status in self._generations.dead_ranks.items()}

    @property
    def infos(self) -> dict[int, DistInfo]:
        """By rank, the ``DistInfo`` that ``initialize_distributed`` returned there."""
        import torch

        from rankbook.distributed import DistInfo

        return {
            rank: DistInfo(g.backend, g.rank, g.world_size, torch.device(g.device), g.is_main)
            for rank, g in self.groups.items()
        }

    @property
    def verdict(self) -> Diagnosis | None:
        """Why the cell that runs cannot end, as far as is seen, or the last one could not.

        None if nothing was wrong with it, and again once the group is made anew by request.
        """
        return self._runs.verdict[0]

    @property
    def cells(self) -> Sequence[CellSpan]:
        """When the latest cells ran on the ranks, the newest last."""
        return self._runs.spans

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`shutdown` was called."""
        return self._turns.is_closed

    def __repr__(self) -> str:
        if self.is_closed:
            return "<Session: shut down>"
        group = f"{self.backend}, {self.world_size} ranks" if self.groups else "no group"
        return f"<Session: {group}, generation {self.generation}{self.doing and ', '}{self.doing}>"

    def states(self) -> list[RankState]:
        """Ask every engine what it does; answers within about a second, whatever they do.

        Returns:
            One state per rank, by rank, then one per engine that is no rank. An engine that does
            not answer has the state ``no answer``, one that has ended ``gone``.
        """
        placement = self._generations.placement
        engines = list(placement.engines) if placement else []
        groups = {engines[rank]: group for rank, group in self.groups.items()}
        alive = self.pool.engines
        engines += [engine for engine in alive if engine not in engines]
        known = self._generations.known
        return looking.states(self.pool.channel, engines, alive, self.ended, groups, known)

    def snapshot(self) -> Snapshot:
        """Everything a view shows; see :meth:`states`."""
        # First: what is seen may be of this turn, and must not pass for the next one's.
        number, turn = next(self._snapshots), self.turn
        doing = self.doing
        states = () if self.is_closed else tuple(self.states())
        verdict, hangs = self._runs.verdict
        return Snapshot(
            self.backend,
            self.world_size,
            self.generation,
            self.doing if self.is_closed else doing,
            states,
            self.pool.cluster_id,
            verdict,
            hangs=hangs,
            turn=turn if doing else 0,
            number=number,
        )

    def stacks(self) -> dict[int, list[str]]:
        """By rank, the main thread's Python stack, of those that answer; at any time."""
        self._raise_closed()
        engines = self._generations.placed().engines
        found = looking.stacks(self.pool.channel, [e for e in engines if e not in self.ended])
        return {engines.index(engine): its for engine, its in sorted(found.items())}

    def diagnose(self) -> Diagnosis:
        """Say what the ranks do or wait for, and why; answered at any time.

        Returns:
            The verdict: ``.kind``, ``.ranks`` (the culprits), ``.summary`` (a sentence) and
            ``.per_rank`` (what each does).

        Raises:
            SessionError: There is no group.
        """
        self._raise_closed()
        return self._rescue.diagnose(self._runs.progress)

    # -- the group ---------------------------------------------------------------------------

    def adopt(self) -> bool:
        """Take over the group that joined engines are in already: as it is, whatever they do.

        Returns:
            Whether they are in one of which no rank is missing; else :meth:`initialize` makes one.
        """
        with self._busy("looking for a process group"):
            return self._generations.adopt()

    def initialize(
        self,
        backend: str | None = None,
        nproc: int | None = None,
        timeout_minutes: float | None = None,
        *,
        check: bool | None = None,
        interrupt: bool = False,
    ) -> None:
        """Make the next generation: leave the present group, if any, and form a new one.

        Engines and their variables stay. With another number of ranks, engines that are no
        longer ranks wait as spares, and missing ones are started.

        Args:
            backend: See :func:`start`; None keeps what was asked for last.
            nproc: Number of ranks; None keeps it.
            timeout_minutes: Of the initialisation and of every collective; None keeps it.
            check: Compare every collective across ranks before it runs; None keeps it.
            interrupt: End what the session is busy with first, instead of refusing.

        Raises:
            SessionError: The session is busy, or a rank has ended.
            RankbookError: No group was formed, and none is left half-made; the message says why.
        """
        self._raise_closed()
        if interrupt:  # what cannot be done is no reason to interrupt anything
            self._generations.check_feasible(backend, nproc, timeout_minutes)
        with self._renewing("initialising the process group", interrupt=interrupt):
            self._generations.initialize(backend, nproc, timeout_minutes, check=check)

    def reset(
        self,
        backend: str | None = None,
        hard: bool = False,  # noqa: FBT001, FBT002
        *,
        interrupt: bool = False,
    ) -> None:
        """Run ``destroy_global_state`` on every rank, then make a new generation.

        Args:
            backend: Another backend, None keeps it.
            hard: Replace the engines too. Their variables are lost.
            interrupt: End what the session is busy with first, instead of refusing.

        Raises:
            SessionError: The session is busy (``hard`` ends what it is busy with), or ``hard`` on
                engines that it did not start.
            RankbookError: See :meth:`initialize`.
        """
        self._raise_closed()
        placement = self._generations.placement
        size = placement.world_size if placement else None
        if hard:
            self._replace_engines()
        elif interrupt:
            self._generations.check_feasible(backend, size, None)
        with self._renewing("resetting", wait=_REPLACED if hard else 0, interrupt=interrupt):
            self._generations.initialize(backend, size)

    def restart_ranks(
        self, ranks: str | int | list[int] | None = None, *, interrupt: bool = False
    ) -> None:
        """Give ranks new engines, and make the next generation with the others as they are.

        The new engines stand where the old ones stood: on the same host, with the same GPU.

        Args:
            ranks: A selection of ranks; None: those that have ended.
            interrupt: End what the session is busy with first, instead of refusing.

        Raises:
            SessionError: The session is busy, or no rank has ended and none was given.
            ClusterError: No engine can take the place of one that has ended.
        """
        size = self._generations.placed().world_size
        chosen = () if ranks is None else rank_selection.parse(ranks, size)
        # Asked before anything is interrupted for it.
        if not chosen and not self._generations.dead_ranks:
            raise SessionError("No rank has ended: say which to replace, restart_ranks([1]).")
        self._generations.count_missing({*chosen, *self._generations.dead_ranks})
        with self._renewing("replacing ranks", interrupt=interrupt):
            dead = self._generations.dead_ranks
            self._generations.restart({*chosen, *dead})

    def _end_abandoned(self) -> None:
        """End what joined engines may still do for a notebook that is gone."""
        if self.pool.is_owned:
            return
        if self._generations.placement is not None:
            self._free()
        else:
            self._generations.refuse_others_work()
            self._rescue.free(self._generations.alive)

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
            self._generations.forget_engines()
            self.pool.replace()
            self._generations.know_engines()
        finally:
            self._replacing.release()

    def destroy(self) -> None:
        """Run ``destroy_global_state`` on every rank and form no new group."""
        with self._busy("destroying the process group"):
            self._generations.leave()

    # -- cells -------------------------------------------------------------------------------

    def run(
        self,
        code: str,
        ranks: str | int | list[int] = "all",
        timeout: float | None = None,
        *,
        on_hang: str | None = None,
        output: CellOutput | None = None,
        number: int = 0,
    ) -> CellResult:
        """Run a cell on ranks and wait for it. IPython syntax works as in a notebook.

        Ctrl-C interrupts it on the ranks. Where it is proven that some rank waits for what will
        never come, the ranks are freed, their variables stay, and the group is made again.

        Args:
            code: The cell.
            ranks: A selection such as ``"0,2"``, ``1`` or ``[0, 2]``.
            timeout: Seconds after which the cell is interrupted; None waits.
            on_hang: Instead of freeing: ``report`` it and go on waiting, or just ``wait``; None
                takes the session's own ``on_hang``.
            output: Shows what the ranks say while they say it; None shows nothing.
            number: What tracebacks call the cell.

        Returns:
            What it did on each rank. An exception there is in the result, never raised here, and
            so is the diagnosis of a hang.

        Raises:
            SessionError: The session is busy, or has no group.
            StuckError: An interrupt did not end the cell on some ranks.
            InputError: There are no such ranks.
            ClusterError: The controller is gone.
        """
        on_hang = on_hang or self.on_hang
        if on_hang not in ON_HANG:
            raise InputError(f"on_hang={on_hang!r} is none of {', '.join(ON_HANG)}.")
        engines = self._engines(ranks)
        with self._busy(f"running a cell on {rank_selection.said(engines)}"):
            self._rescue.make_whole()
            rank_of = {engine: rank for rank, engine in engines.items()}
            cell = Cell(code, rank_of, number, timeout, on_hang)
            return self._runs.run(cell, self._generations.placed().engines, output)

    def select(self, ranks: str | int | list[int]) -> tuple[int, ...]:
        """Read a selection of ranks, all of which can run a cell.

        Raises:
            SessionError: There is no group, or a selected rank has ended.
            InputError: There are no such ranks.
        """
        self._raise_closed()
        if not self.groups:
            self._generations.refuse_dead()
            raise SessionError("There is no process group: make one with %dist_init.")
        chosen = rank_selection.parse(ranks, self.world_size)
        self._generations.refuse_dead(chosen)
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

    def interrupt(self, turn: int | None = None) -> bool:
        """Free the ranks, whatever they do; their variables stay.

        Python gets a ``KeyboardInterrupt``; a collective that waits is ended on every rank, and
        the group is made again.

        Args:
            turn: What of this session's is meant, as its ``turn`` said: nothing happens if that
                has ended by now. None: whatever it is busy with.

        Returns:
            Whether anything was running.

        Raises:
            StuckError: Some rank did not end within seconds; the message says where it is.
        """
        self._raise_closed()
        if not self.doing:
            self._generations.placed()
        was_busy = self._turns.end(self._free, turn)
        # Who runs the cell makes the group again; if nobody does, it is done here.
        with self._turns.between(lambda: self._rescue.is_cut) as mine:
            if mine:
                self._rescue.mend()
        return was_busy

    def _free(self) -> bool:
        """End what the ranks do; tell whether there was anything."""
        placement = self._generations.placement
        engines = placement.engines if placement else tuple(self._generations.alive)
        self._runs.confirm()
        freed = self._rescue.free(engines)
        if freed.busy:
            looks = dict(freed.looks)
            self._rescue.raise_stuck({engines.index(e): looks.get(e) for e in freed.busy})
        return freed.was_busy

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
        engines = self._generations.placed().engines
        return {rank: engines[rank] for rank in chosen}

    # -- ends --------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Stop the engines that this session started; leave joined ones, their group destroyed.

        Idempotent, and possible while a cell runs: that cell ends with its engines.
        """
        if self.is_closed:
            return
        self.is_ending = True
        try:
            self.endings.tell()
        finally:
            self.is_ending = False
        if not self.pool.is_owned:
            with suppress(RankbookError), self._rescue.successor():
                self._end_abandoned()
                self._generations.leave()
        self._close()

    def detach(self) -> None:
        """End with the notebook's process: joined engines stay, and so does their group.

        Another session can :meth:`adopt` it. Engines that this one started end.
        """
        if self.is_closed:
            return
        if not self.pool.is_owned:
            self._generations.leave_behind()
        self._close()

    def _close(self) -> None:
        # Closed is closed: nobody would stop a second time what Ctrl-C had left running.
        with undisturbed(_STOPPING):
            self._turns.close()
            try:
                self.pool.close()
            finally:
                self._generations.close()
                self.changes.tell()
                # Whoever had it detached at exit; the interpreter would keep it until then.
                atexit.unregister(self.detach)

    def dashboard(self) -> Any:
        """The session's ipywidgets dashboard: the state of every rank, and buttons."""
        # A widget that was closed has no comm any more.
        if self._dashboard is None or getattr(self._dashboard, "comm", self) is None:
            self._dashboard = self._view(self)
        return self._dashboard

    # ----------------------------------------------------------------------------------------

    @contextmanager
    def _busy(self, doing: str, *, wait: float = 0) -> Iterator[None]:
        with self._turns.take(doing, wait=wait):
            yield

    @contextmanager
    def _renewing(self, doing: str, *, wait: float = 0, interrupt: bool = False) -> Iterator[None]:
        """Be busy with making another group, on joined engines as on others."""
        with ExitStack() as until_it_is_there:
            if interrupt:
                # What is interrupted need not make the group again for one that is about to.
                until_it_is_there.enter_context(self._rescue.successor())
            make_way = self._free if interrupt else None
            with self._turns.take(doing, wait=wait, make_way=make_way):
                until_it_is_there.close()
                self._runs.forget_verdict()
                self._end_abandoned()
                try:
                    yield
                except BaseException:
                    self._rescue.mend()  # there is no successor after all
                    raise
                looking.forget_errors(self.pool.channel, self.pool.engines)

    def _raise_closed(self) -> None:
        self._turns.refuse_closed()

    def _engine_ended(self, engine: int, status: int) -> None:
        self._generations.ended[engine] = status
        self._runs.look_soon()
        self.changes.tell()
