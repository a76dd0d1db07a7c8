"""The engines of one session: which live, the facts they report, how they ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from rankbook.cluster.pool import Pool
from rankbook.models import EngineFacts
from rankbook.models.calls import LastCalls
from rankbook.sessions.changes import Changes
from rankbook.sessions.members.afterend import AfterEnd
from rankbook.sessions.members.party import Party
from rankbook.timing import Timing
from rankbook.words import how_ended

__all__ = ["Engines"]


class Engines:
    """Which engines live, ranks or not.

    Attributes:
        timing: How long the session waits.
        changes: Tells listeners that an engine has ended.
        known: By engine, the facts that it reported; engines that have ended included.
        ended: Engines that have ended, and their exit code or minus the signal.
    """

    def __init__(self, pool: Pool, timing: Timing) -> None:
        self.timing = timing
        self.changes = Changes()
        self.known: dict[int, EngineFacts] = {}
        self.ended: dict[int, int | None] = {}
        self._last_calls = AfterEnd(self.party, pool.launcher.last_calls)
        self._pool = pool
        pool.on_end = self._has_ended

    @property
    def cluster_id(self) -> str:
        """The cluster's name, part of the names of its files."""
        return self._pool.cluster_id

    @property
    def is_owned(self) -> bool:
        """Whether this session started the engines, and so must end them."""
        return self._pool.is_owned

    @property
    def can_replace(self) -> bool:
        """Whether all engines can be replaced."""
        return self._pool.can_replace

    @property
    def can_grow(self) -> bool:
        """Whether engines can be added."""
        return self._pool.can_grow

    def lives(self, engine: int) -> bool:
        """Whether an engine is in the cluster and not known to have ended."""
        return engine in self._pool.engines and engine not in self.ended

    @property
    def alive(self) -> list[int]:
        """Engines that live, ranks or not."""
        return [engine for engine in self._pool.engines if engine not in self.ended]

    def facts(self) -> list[EngineFacts]:
        """The facts of the living engines; each is asked once, since its facts do not change."""
        engines = self.alive
        if new := [engine for engine in engines if engine not in self.known]:
            self.known |= {facts.engine: facts for facts in self._pool.facts(new)}
        return [self.known[engine] for engine in engines]

    def facts_of(self, engines: Collection[int]) -> dict[int, EngineFacts]:
        """The facts of some engines, asked now."""
        found = {facts.engine: facts for facts in self._pool.facts(engines)}
        self.known |= found
        return found

    def party(self, engines: Mapping[int, int]) -> Party:
        """Engines by rank, or by another number, to be asked together."""
        return Party(self._pool.channel, engines, self.timing, lambda: self.told_of_dead)

    @property
    def told_of_dead(self) -> str:
        """How ranks have ended, and what to do, in one line; empty if all live."""
        return ""

    def how_it_ended(self, engine: int) -> str:
        """Say how an engine ended: by itself, or with its host or job."""
        if why := self._pool.why_lost(engine):
            return f"was lost ({why})"
        ended = self._pool.ended
        if engine not in ended and len(statuses := {*ended.values()}) == 1:
            # It had ended before this session came, which knows of each end, but not of whose.
            return how_ended(*statuses)
        return how_ended(ended.get(engine))

    @property
    def instead(self) -> str:
        """What to run when a rank has ended, where none can be replaced alone; else empty."""
        return self._pool.instead

    def last_words(self, engine: int) -> list[str]:
        """The last lines that an engine wrote past Python, oldest first; none if unknown."""
        return self._pool.last_words(engine)

    def last_calls(self, engine: int) -> LastCalls | None:
        """What an ended engine called last; None if no process knows, or none yet."""
        return self._last_calls.of(engine, self.known, self.alive)

    def keep(self, hours: float, ranks: int) -> None:
        """Have the engines stay when this process ends.

        Raises:
            ClusterError: Clusters of this kind are not kept.
        """
        self._pool.keep(hours, ranks)

    @property
    def stay(self) -> bool:
        """Whether the engines stay when this process ends: they were joined, or are kept."""
        return not self.is_owned or self._pool.is_kept

    def close(self, *, leave: bool) -> None:
        """Stop the engines that this session started; leave those that it joined.

        Args:
            leave: Leave those that are kept, too.
        """
        self._pool.close(leave=leave)

    def _has_ended(self, engine: int, status: int | None) -> None:
        self.ended[engine] = status
        self.last_calls(engine)  # while its file exists
        self.changes.notify()
