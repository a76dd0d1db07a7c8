"""The engines of one session by rank, and which of them replace others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from rankbook import ranks as rank_selection
from rankbook.cluster.placement import Placement, place, replace_engines
from rankbook.cluster.pool import Pool
from rankbook.errors import ClusterError, SessionError
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.members.engines import Engines
from rankbook.sessions.members.party import Party
from rankbook.sessions.members.remedy import remedy
from rankbook.timing import Timing
from rankbook.words import agree, how_to_replace, in_words, ranks_do, sentence_start

__all__ = ["Members"]


class Members(Engines):
    """Which engine is which rank.

    Attributes:
        placement: The place of every rank; None before the first group.
        generation: Number of their present or last group; 0 before the first.
        mesh: The mesh whose dimensions select ranks; None while none is named.
    """

    def __init__(self, pool: Pool, timing: Timing) -> None:
        super().__init__(pool, timing)
        self.placement: Placement | None = None
        self.generation = 0
        self.mesh: NamedMesh | None = None

    # -- the engines by rank -----------------------------------------------------------------

    def placed(self) -> Placement:
        """The place of every rank.

        Raises:
            SessionError: There was no group yet.
        """
        if self.placement is None:
            raise SessionError("There is no process group: make one with %dist_init.")
        return self.placement

    @property
    def size(self) -> int | None:
        """Number of ranks, including those that have ended; None before the first group."""
        return self.placement.world_size if self.placement else None

    def select(self, ranks: str | int | Iterable[int]) -> tuple[int, ...]:
        """Read a selection of ranks, by number or by the dimensions of the mesh.

        Raises:
            SessionError: There was no group yet.
            InputError: There are no such ranks.
        """
        return rank_selection.parse(ranks, self.placed().world_size, self.mesh)

    def selections(self) -> list[str]:
        """All selections: each rank's number, and each place along a dimension of the mesh."""
        mesh = self.named_mesh
        sizes = zip(mesh.dims, mesh.sizes, strict=True) if mesh else ()
        named = [f"{dim}={at}" for dim, size in sizes for at in range(size)]
        return [*map(str, self.seated()), *named]

    def label(self, ranks: Iterable[int]) -> str:
        """Write ranks as short as possible: ``0-3``, ``dp=1``."""
        return rank_selection.label(ranks, self.named_mesh)

    def in_words(self, ranks: Iterable[int]) -> str:
        """Write ranks for a sentence: ``rank 1``, ``ranks 0,2 (tp=0)``."""
        return in_words(ranks, self.named_mesh)

    def ranks_do(self, ranks: Iterable[int], one: str, many: str) -> str:
        """Write a subject and its verb: ``rank 1 waits``, ``ranks 0,2 (tp=0) wait``."""
        return ranks_do(ranks, one, many, self.named_mesh)

    @property
    def named_mesh(self) -> NamedMesh | None:
        """The mesh, if it has as many ranks as the group has now."""
        return self.mesh if self.mesh and self.mesh.size == self.size else None

    def seated(self) -> dict[int, int]:
        """By rank, its engine; dead ones are included."""
        return dict(enumerate(self.placement.engines)) if self.placement else {}

    def spares(self) -> dict[int, int]:
        """Spare engines, numbered on from the last rank."""
        ranks = self.seated()
        others = [engine for engine in self._pool.engines if engine not in ranks.values()]
        return dict(enumerate(others, len(ranks)))

    @property
    def dead(self) -> dict[int, int | None]:
        """By dead rank, its exit code or minus the signal; None if that is not known."""
        alive = set(self.alive)
        return {
            rank: self.ended.get(engine)
            for rank, engine in self.seated().items()
            if engine not in alive
        }

    def await_leaving(self) -> None:
        """Wait for the ends of ranks whose host was told to end: it has interrupted their cells."""
        clock = self.timing.clock
        deadline = clock.monotonic() + self.timing.leave
        while set(self._pool.launcher.leaving) - self.ended.keys():
            if clock.monotonic() > deadline:
                return
            clock.sleep(self.timing.turn_poll)

    def can_shrink_to(self, size: int) -> bool:
        """Whether ``size`` is smaller than before, and that many engines live."""
        return size <= len(self.alive) and size < (self.size or 0)

    def refuse_dead(self, ranks: Collection[int] | None = None) -> None:
        """Raise if a rank has ended.

        Args:
            ranks: The ranks that matter; None: all.

        Raises:
            SessionError: The message says how it ended, and how to replace it.
        """
        dead = self.dead
        if dead and (ranks is None or set(dead) & set(ranks)):
            raise SessionError(self.told_of_dead)

    @property
    def told_of_dead(self) -> str:
        """How ranks ended, and how to replace them, in one line; empty if all live."""
        if not (ends := self.ends):
            return ""
        words = ", ".join(f"rank {rank} {how}" for rank, how in ends.items())
        does = f"replaces {agree(ends, 'it', 'them')} and keeps the others"
        return f"{words[0].upper()}{words[1:]}: {remedy(self, ends, does)}"

    @property
    def alive_spares(self) -> list[int]:
        """Living engines that are no rank."""
        return [engine for engine in self.alive if engine not in self.placed().engines]

    @property
    def ends(self) -> dict[int, str]:
        """By dead rank, how it ended, in words."""
        return {rank: self.how_it_ended(self.seated()[rank]) for rank in self.dead}

    # -- parties: ranks to ask ---------------------------------------------------------------

    def ranks(self, chosen: Collection[int] | None = None) -> Party:
        """Ranks; dead ones are included.

        Args:
            chosen: Which; None: all. Those that are no ranks any more are left out: while a thread
                ends a cell, another may have ended its ranks.
        """
        seats = self.seated()
        return self.party({r: e for r, e in seats.items() if chosen is None or r in chosen})

    def all_of(self, chosen: Collection[int]) -> Party:
        """Ranks that are all needed; dead ones are included.

        Args:
            chosen: Which.

        Raises:
            SessionError: Some are no ranks any more: another thread has ended or moved them.
        """
        party = self.ranks(chosen)
        if gone := sorted(set(chosen) - set(party)):
            raise SessionError(
                f"{sentence_start(in_words(gone))} {agree(gone, 'was', 'were')} ended meanwhile by "
                "another thread: try again when it is done."
            )
        return party

    def living(self) -> Party:
        """The live ranks."""
        alive = set(self.alive)
        return self.party({r: e for r, e in self.seated().items() if e in alive})

    def everyone(self) -> Party:
        """All living engines: ranks and spares."""
        numbered, alive = self.seated() | self.spares(), set(self.alive)
        return self.party({n: e for n, e in numbered.items() if e in alive})

    # -- placing engines ---------------------------------------------------------------------

    def plan(self, size: int | None) -> Placement:
        """The placement of so many ranks, including engines that would have to be started.

        Args:
            size: Number of ranks; None: every engine.

        Raises:
            ClusterError: Engines are missing and cannot be started.
        """
        facts, missing = self.facts(), (size or 0) - len(self.alive)
        if not facts:
            raise ClusterError(f"The cluster has no engines left: {self._where_from()}.")
        if missing > 0:
            self._pool.refuse_growth()
            # New engines will be like the present ones.
            last = facts[-1].engine
            facts += [replace(facts[0], engine=last + 1 + i) for i in range(missing)]
        return place(facts, size)

    def _where_from(self) -> str:
        if self.is_owned:
            return "%dist_reset --hard (or reset(hard=True)) starts others"
        return "start some where they were started, then join again"

    def place(self, size: int | None) -> Placement:
        """Place ranks; start missing engines.

        An engine that was a rank stays that rank, because its variables are there.
        """
        if size is not None and size > len(self.alive):
            self._pool.grow(size - len(self.alive))
        before = self.placement.engines if self.placement else ()
        return place(self.facts(), size, before)

    def replacement(self, ranks: Collection[int]) -> Placement:
        """End what is left of ranks, and give their places to new or spare engines.

        The other ranks keep their engines, and so their variables.

        Raises:
            ClusterError: There is no engine to take the place of one that has ended.
        """
        placement = self.placed()
        leaving = {placement.engines[rank] for rank in ranks} & set(self.alive)
        missing = self.count_missing(ranks)
        if leaving:
            self._pool.end(leaving)
        if missing > 0:
            self._pool.grow(missing)
        return replace_engines(placement, ranks, self.facts())

    def count_missing(self, ranks: Collection[int]) -> int:
        """How many engines must be started to replace ranks; spares replace the others.

        Raises:
            ClusterError: They cannot be started.
        """
        missing = len(ranks) - len(self.alive_spares)
        if missing > 0 and not self.can_grow:
            raise ClusterError(
                f"There is no spare engine for {self.in_words(ranks)}, and rankbook cannot add to "
                f"this cluster: {self.instead or f'start one more, then {how_to_replace(ranks)}.'}"
            )
        return missing

    def refuse_replacing(self, ranks: Collection[int] | None = None) -> None:
        """Raise if new engines could not take the places of ranks; ends nothing.

        Args:
            ranks: Which; None: all engines would be replaced.

        Raises:
            ClusterError: For example, a host that is needed for them cannot be reached.
        """
        if ranks is None:
            self._pool.refuse_start(self.size, self._pool.engines)
        elif missing := max(0, self.count_missing(ranks)):
            engines = self.placed().engines
            self._pool.refuse_start(missing, [engines[rank] for rank in ranks])

    def seat(self, placement: Placement, grouped: Collection[int] = ()) -> Party:
        """Take a placement.

        Args:
            placement: The places of the ranks from now on.
            grouped: Engines that are in some group, besides the former ranks.

        Returns:
            The former ranks and members of ``grouped`` that are no longer ranks.
        """
        former = {*self.seated().values(), *grouped}
        self.placement = placement
        dropped = sorted(former - {*placement.engines, *self.ended})
        return self.party({engine: engine for engine in dropped})

    # -- ends --------------------------------------------------------------------------------

    def replace_all(self) -> None:
        """Stop all engines and start as many new ones.

        Raises:
            ClusterError: The new engines did not register.
        """
        self.placement = None
        self._pool.replace()
        self.ended.clear()
        self.known.clear()
        self._last_calls.forget()
