"""The process groups of one session, one after another, on the engines of one pool."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rankbook.cluster.channel import everyone
from rankbook.cluster.placement import (
    Placement,
    check_backend,
    check_numbers,
    choose_backend,
    place,
)
from rankbook.cluster.pool import Pool
from rankbook.errors import ClusterError, RankbookError, SessionError
from rankbook.models import EngineFacts, GroupInfo, RankState, how_ended
from rankbook.models.requests import Destroy
from rankbook.ranks import label, said
from rankbook.sessions import adoption, formation

__all__ = ["Generations"]

_FEW = 4
"""Ranks that are written out one by one."""


class Generations:
    """Makes and ends the process group; knows who is which rank.

    Attributes:
        number: Which group is the present one, or was the last one, from 1.
        groups: By rank, its place in the present group; empty while there is none.
        placement: Which engine is which rank; None before the first group.
        timeout_minutes: Of the initialisation and of every collective.
        check: Whether every collective is checked before it runs.
        ended: Engines that have ended, and their exit code or minus the signal.
        known: By engine, what it said about where it stands; also of those that have ended.
    """

    def __init__(self, pool: Pool) -> None:
        self.number = 0
        self.groups: dict[int, GroupInfo] = {}
        self.placement: Placement | None = None
        self.timeout_minutes: float = 1
        self.check = False
        self.ended: dict[int, int] = {}
        self._pool = pool
        self._asked: str | None = None
        self.known: dict[int, EngineFacts] = {}
        self._directory = tempfile.mkdtemp(prefix="rankbook-")
        self._left_behind = False

    # -- who is there ------------------------------------------------------------------------

    @property
    def alive(self) -> list[int]:
        """Engines that the cluster has and that have not ended."""
        return [engine for engine in self._pool.engines if engine not in self.ended]

    @property
    def dead_ranks(self) -> dict[int, int | None]:
        """By rank, how those have ended that have; None where nobody saw it."""
        engines = self.placement.engines if self.placement else ()
        gone = set(self.ended) | (set(engines) - set(self._pool.engines))
        return {r: self.ended.get(e) for r, e in enumerate(engines) if e in gone}

    def placed(self) -> Placement:
        """Who is which rank.

        Raises:
            SessionError: There was no group yet.
        """
        if self.placement is None:
            raise SessionError("There is no process group: make one with %dist_init.")
        return self.placement

    def refuse_dead(self, ranks: Collection[int] | None = None) -> None:
        """Raise if a rank has ended.

        Args:
            ranks: Those that matter; None: all.

        Raises:
            SessionError: The message says how it ended, and how to replace it.
        """
        dead = self.dead_ranks
        if ranks is not None and not set(dead) & set(ranks):
            return
        if not dead:
            return
        words = ", ".join(f"rank {rank} {how_ended(status)}" for rank, status in dead.items())
        raise SessionError(
            f"{words[0].upper()}{words[1:]}: {how_to_replace(dead)} replaces "
            f"{'it' if len(dead) == 1 else 'them'} and keeps the others."
        )

    # -- making and ending -------------------------------------------------------------------

    def adopt(self) -> bool:
        """Take over the group that joined engines are in already, whatever they do.

        Returns:
            Whether there is one that is whole.

        Raises:
            ClusterError: An engine does not say which group it is in, or where it stands.
        """
        found = adoption.find(seen := self._seen())
        if found is None:
            adoption.refuse_silent(seen)
            return False
        facts = {its.engine: its for its in self._pool.facts(found.engines)}
        placement = adoption.placement(found, facts, self.alive)
        if placement is None:
            return False
        self.known |= facts
        first = found.groups[0]
        self.number, self.timeout_minutes, self.check = (
            first.generation,
            first.timeout_minutes,
            first.check,
        )
        self._asked = first.backend
        self.placement, self.groups = placement, dict(enumerate(found.groups))
        return True

    def refuse_others_work(self) -> None:
        """Raise if joined engines are at work for a group that this session has not adopted.

        Raises:
            SessionError: The message says how to come to it.
            ClusterError: It is not known whether an engine is at work: it does not answer.
        """
        if self.placement is None and not self._pool.is_owned:
            found = adoption.find(seen := self._seen())
            if found is not None and found.busy:
                are = "is" if len(found.busy) == 1 else "are"
                raise SessionError(
                    f"{named(found.busy)} of the group that these engines are in {are} busy: join "
                    "with --cluster-id alone to take the group over as it is; %dist_interrupt then "
                    "ends what runs."
                )
            adoption.refuse_silent(seen)

    def initialize(
        self,
        backend: str | None = None,
        nproc: int | None = None,
        timeout_minutes: float | None = None,
        *,
        check: bool | None = None,
    ) -> None:
        """Make the next group; what is None stays as it is.

        Raises:
            RankbookError: No group was formed, and none is left half-made; the message says why.
        """
        self.check_feasible(backend, nproc, timeout_minutes)
        nproc = self._size(nproc)
        if nproc is not None and nproc > len(self.alive):
            self._pool.grow(nproc - len(self.alive))
        self._form(self._place(nproc), backend or self._asked, timeout_minutes, check)

    def check_feasible(
        self, backend: str | None, nproc: int | None, timeout_minutes: float | None
    ) -> None:
        """Refuse a group that cannot be, as far as is known before anything is done for it.

        Raises:
            RankbookError: The message says why.
        """
        backend, nproc = backend or self._asked, self._size(nproc)
        check_numbers(nproc, timeout_minutes)
        if backend is not None:
            check_backend(backend)
        if self.dead_ranks:
            self.refuse_dead()
        facts, missing = self._facts(), (nproc or 0) - len(self.alive)
        if missing > 0:
            self._pool.refuse_growth()
            # New ones will be like those that are there.
            facts += [replace(facts[0], engine=facts[-1].engine + 1 + i) for i in range(missing)]
        choose_backend(place(facts, nproc), backend)

    def _size(self, nproc: int | None) -> int | None:
        """How many ranks are meant: as many as there are, where nobody says."""
        return self.placement.world_size if nproc is None and self.placement else nproc

    def leave(self) -> None:
        """End the group on every engine and form no new one."""
        self.groups = {}
        self._pool.channel.ask(everyone(self.alive, Destroy()), formation.LEAVE_TIMEOUT)

    def forget_engines(self) -> None:
        """Begin anew: the engines are others from now on."""
        self.groups, self.placement = {}, None

    def know_engines(self) -> None:
        """The new engines are there."""
        self.ended.clear()
        self.known.clear()

    def restart(self, ranks: Iterable[int]) -> None:
        """Give ranks engines that are new, or spare, and make the next group.

        The other ranks keep their engines, and so their variables. A new engine stands on the same
        host, with the same local rank, and so the same GPU.

        Raises:
            ClusterError: There is no engine to take the place of one that has ended.
        """
        placement = self.placed()
        chosen = sorted(set(ranks))
        leaving = {placement.engines[rank] for rank in chosen} & set(self.alive)
        missing = self.count_missing(chosen)
        self.groups = {}
        if leaving:
            self._pool.end(leaving)
        if missing > 0:
            self._pool.grow(missing)
        places = list(placement.places)
        free = {f.engine: f for f in self._facts() if f.engine not in placement.engines}
        for rank in chosen:
            here = [e for e in sorted(free) if free[e].host == places[rank].host]
            if not here:
                raise ClusterError(
                    f"No engine on {places[rank].host} can become rank {rank}: start one there, "
                    f"then {how_to_replace([rank])}."
                )
            del free[here[0]]
            places[rank] = replace(places[rank], engine=here[0])
        self._form(replace(placement, places=tuple(places), spare=tuple(sorted(free))), self._asked)

    def count_missing(self, ranks: Collection[int]) -> int:
        """How many engines must be started to replace ranks; the others are there, as spares.

        Raises:
            ClusterError: They cannot be started.
        """
        engines = self.placed().engines
        missing = len(ranks) - sum(e not in engines for e in self.alive)
        if missing > 0 and not self._pool.can_grow:
            raise ClusterError(
                f"There is no spare engine for {said(ranks)}, and rankbook cannot add to this "
                f"cluster: start one more, then {how_to_replace(ranks)}."
            )
        return missing

    def close(self) -> None:
        """Remove what lies in files; the group must be gone, or left behind."""
        self.groups = {}
        if not self._left_behind:
            shutil.rmtree(self._directory, ignore_errors=True)

    def leave_behind(self) -> None:
        """Leave the group to whoever joins its engines next, with the file that they met in.

        The engines remove it when they form another group.
        """
        met_in = Path(self._directory, f"store-{self.number}")
        if self.groups and met_in.exists():
            self._left_behind = True
            for other in set(met_in.parent.iterdir()) - {met_in}:
                other.unlink(missing_ok=True)

    def _form(
        self,
        placement: Placement,
        backend: str | None,
        timeout_minutes: float | None = None,
        check: bool | None = None,  # noqa: FBT001
    ) -> None:
        name = choose_backend(placement, backend)
        former = set(self.placement.engines) if self.placement else set()
        # Of engines that others, too, may have initialised, it is asked.
        seen = {} if self._pool.is_owned else self._seen()
        former |= {engine for engine, its in seen.items() if its and its.info}
        self.groups = {}
        self.placement, self._asked = placement, backend
        self.timeout_minutes = timeout_minutes or self.timeout_minutes
        self.check = self.check if check is None else check
        self.number = 1 + max(self.number, adoption.newest(seen))
        self._make_directory()
        if dropped := former - set(placement.engines) - set(self.ended):
            with suppress(RankbookError):  # it is no rank any more, whatever becomes of it
                self._pool.channel.ask(everyone(dropped, Destroy()), formation.LEAVE_TIMEOUT)
        self.groups = formation.form(
            self._pool.channel,
            placement,
            formation.Terms(name, self.timeout_minutes, self.check),
            self.number,
            self._directory,
        )

    def _seen(self) -> dict[int, RankState | None]:
        """What joined engines do and which group they are in; None of who does not answer."""
        return adoption.states(self._pool.channel, self.alive)

    def _make_directory(self) -> None:
        # Another session on the same engines removes it when they have left our group.
        if not Path(self._directory).is_dir():
            self._directory = tempfile.mkdtemp(prefix="rankbook-")

    def _place(self, nproc: int | None) -> Placement:
        """Where ranks go; who was a rank stays the same one, for its variables are there."""
        before = self.placement.engines if self.placement else ()
        return place(self._facts(), nproc, before)

    def _facts(self) -> list[EngineFacts]:
        """What the engines say; asked once per engine, for nothing of it changes."""
        engines = self.alive
        if new := [e for e in engines if e not in self.known]:
            self.known |= {f.engine: f for f in self._pool.facts(new)}
        return [self.known[e] for e in engines]


def how_to_replace(ranks: Iterable[int]) -> str:
    """What to write so that ranks are replaced."""
    ranks = sorted(ranks)
    argument = ranks if len(ranks) <= _FEW else label(ranks)
    return f"%dist_restart {label(ranks)} (or restart_ranks({argument!r}))"


def named(ranks: Iterable[int]) -> str:
    """Ranks as a sentence begins with them: ``Rank 1``, ``Ranks 0-3``."""
    words = said(ranks)
    return words[0].upper() + words[1:]
