"""What is done for ranks that cannot go on: freeing them, and making the group whole again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

from rankbook.cluster.pool import Pool
from rankbook.diagnosis import diagnose, fingerprint, refused
from rankbook.errors import RankbookError, SessionError, StuckError
from rankbook.interrupts import undisturbed
from rankbook.models import Diagnosis, Failure, Look, how_ended
from rankbook.ranks import said
from rankbook.sessions import looking, outcomes
from rankbook.sessions.freeing import Freed, data_moves, free
from rankbook.sessions.generations import Generations, how_to_replace, named
from rankbook.sessions.results import CellResult, RankResult

__all__ = ["Rescue"]


_MENDING = 3.0
"""What the group is given to be made again, in multiples of what engines are given to answer."""

_SECOND_LOOK = 0.25
"""Seconds between two looks, for a diagnosis that is asked for."""


_RETIRED = (0.02, 0.1, 0.2)
"""Seconds between looks until torch's recorder knows that a collective has ended."""


class Rescue:
    """Diagnoses and frees the ranks of one session; from any thread."""

    def __init__(self, pool: Pool, generations: Generations) -> None:
        self._pool = pool
        self._generations = generations
        self._freeing = threading.Lock()
        self._cut = 0
        self._mending = -math.inf
        self._successors = 0

    # -- looking -----------------------------------------------------------------------------

    def diagnose(self, progress: Mapping[int, Failure | str | None]) -> Diagnosis:
        """Look at all ranks and say what they do or wait for.

        Args:
            progress: See :meth:`complete`.
        """
        looks = self._look()
        if any(look.waiting for look in looks.values()):
            # Who was seen in a collective may have been on its way through it.
            time.sleep(_SECOND_LOOK)
            looks = {
                rank: replace(look, state="running", waiting=None)
                if look.waiting and look.still < _SECOND_LOOK / 2
                else look
                for rank, look in self._look().items()
            }
        engines = self._generations.placed().engines
        return diagnose(self.complete(engines, looks, progress))

    def _look(self) -> dict[int, Look]:
        engines = self._generations.placed().engines
        alive = [engine for engine in engines if engine not in self._generations.ended]
        looks = looking.looks(self._pool.channel, alive)
        return {engines.index(engine): look for engine, look in looks.items()}

    def complete(
        self,
        engines: Sequence[int],
        looks: Mapping[int, Look],
        progress: Mapping[int, Failure | str | None],
    ) -> dict[int, Look]:
        """Add what engines cannot say themselves: who raised, who has ended, who says nothing.

        Args:
            engines: By rank.
            looks: By rank, of those that answered.
            progress: By rank that was asked to run the present cell, the exception that ended it
                there, None if it went well, or ``rankbook.sessions.cells.PENDING``.
        """
        ended = self._generations.ended
        found = {}
        for rank, engine in enumerate(engines):
            look = looks.get(rank)
            if engine in ended:
                line, words = outcomes.post_mortem(self._pool.last_words(engine))
                found[rank] = Look("gone", line, ended=how_ended(ended[engine]), last_words=words)
            elif engine not in self._pool.engines:
                found[rank] = Look("gone", ended=how_ended(None))
            elif look is None:
                found[rank] = Look("no answer")
            else:
                found[rank] = (
                    outcomes.with_outcome(look, progress[rank]) if rank in progress else look
                )
        return found

    # -- freeing -----------------------------------------------------------------------------

    def free(self, engines: Collection[int]) -> Freed:
        """End what engines do; see :func:`rankbook.sessions.freeing.free`.

        If that has just been done, and they make the group again, they are left to it for a while:
        who is interrupted twice shall not be without a group, nor have connections cut of which
        nobody knows.
        """
        with undisturbed(), self._freeing:
            if time.monotonic() - self._mending < _patience(engines):
                return Freed(was_busy=False, cut=False)
            placement = self._generations.placement
            there = set(self._generations.alive)
            alive = [e for e in engines if e in there]
            placed = [e for e in placement.engines if e in there] if placement else []
            freed = free(self._pool.channel, alive, self._idle_among(placed, alive))
            if freed.cut:
                self._cut = self._generations.number
            return freed

    def settle(self, result: CellResult, freed: Freed | None, ran: Collection[int]) -> CellResult:
        """Leave a group that works behind a cell, and say in its result what was done.

        Args:
            result: Of the cell that has just ended.
            freed: What freeing came to, if it was needed.
            ran: The ranks that ran it.

        Raises:
            StuckError: Some ranks do not let go.
        """
        with undisturbed(_patience(self._generations.alive)):
            return self._settle(result, freed, ran)

    def _settle(self, result: CellResult, freed: Freed | None, ran: Collection[int]) -> CellResult:
        with self._freeing:  # another thread may be about to finish with it
            pass
        failures = {rank: its.error for rank, its in result.items() if its.error is not None}
        stuck = self._still_stuck(freed, result)
        dead = self._generations.dead_ranks
        if dead and not stuck:
            if set(dead) & set(ran) or any(map(outcomes.is_lost, failures.values())):
                self._explain_death(result, failures)
            return result
        self._explain_mismatch(result, failures)
        if stuck:
            self._replace(stuck, result)
        elif not self.is_cut and (why := self._why_useless(result, failures, len(ran))) is not None:
            self._cut = self._generations.number
            result.note = f"{why} {self.mend()}".strip()
        result.note = result.note or self.mend()
        return result

    def make_whole(self) -> None:
        """Make the group again, if an interrupt has cut it and some rank did not let go then.

        Raises:
            SessionError: Some rank has not let go yet, or it could not be made again.
        """
        if not self.is_cut or self._generations.dead_ranks:
            return
        busy = {rank: look for rank, look in self._look().items() if look.state != "idle"}
        if busy:
            where = "; ".join(_where([r], its.line or its.state) for r, its in sorted(busy.items()))
            raise SessionError(
                f"The group's connections were cut, and {where} since then: interrupt again, or "
                f"{how_to_replace(busy)} replaces {said(busy)} and keeps the others."
            )
        said_of_it = self.mend()
        if not self._generations.groups:
            raise SessionError(said_of_it)

    @contextmanager
    def successor(self) -> Iterator[None]:
        """While this lasts nobody makes the group again: who asks is about to do so."""
        self._successors += 1
        try:
            yield
        finally:
            self._successors -= 1

    def mend(self) -> str:
        """Make the next group if the present one is of no use; say what became of it."""
        if not self.is_cut:
            return ""
        if self._successors:
            return "The ranks are free, their variables in place."
        self._cut = 0
        if self._generations.dead_ranks or not self._generations.groups:
            return ""
        with self._freeing:  # whoever does so now is about to finish with it
            self._mending = time.monotonic()
        try:
            with undisturbed(_patience(self._generations.alive)):
                self._generations.initialize()
        except RankbookError as error:
            return f"The group could not be made again: {error}"
        finally:
            self._mending = -math.inf
        return (
            f"The ranks are free, their variables in place, and the group is made again "
            f"(generation {self._generations.number})."
        )

    # ----------------------------------------------------------------------------------------

    @property
    def is_cut(self) -> bool:
        """Whether connections of the present group were cut; earlier ones are forgotten."""
        return bool(self._cut) and self._cut == self._generations.number

    @property
    def _world_size(self) -> int:
        return len(self._generations.groups)

    def _idle_among(self, placed: Collection[int], freed: Collection[int]) -> list[int]:
        others = [engine for engine in placed if engine not in freed]
        looks = looking.looks(self._pool.channel, others) if others else {}
        return [engine for engine, look in looks.items() if look.state == "idle"]

    def _explain_death(self, result: CellResult, failures: Mapping[int, Failure]) -> None:
        """Say how a rank died first; that others lost their connection to it is no news."""
        dead = self._generations.dead_ranks
        its = {rank: failure for rank, failure in failures.items() if rank not in dead}
        if result.diagnosis is None or result.diagnosis.kind != "dead":
            engines = self._generations.placed().engines
            progress = {rank: its.get(rank) for rank in result}
            looks = self.complete(engines, self._look(), progress)
            result.diagnosis = diagnose(
                {r: outcomes.when_it_was_lost(look, its.get(r)) for r, look in looks.items()}
            )
        for rank, failure in failures.items():
            if rank in dead or outcomes.is_lost(failure):
                result.ranks[rank].error = replace(failure, freed=True)
            if rank in dead:
                how = f"rank {rank} {how_ended(dead[rank])}"
                result.ranks[rank].error = Failure("EngineError", how, freed=True)
        result.note = (
            f"{how_to_replace(dead)} brings {'it' if len(dead) == 1 else 'them'} back; "
            "the other ranks keep their variables."
        )

    def _explain_mismatch(self, result: CellResult, failures: Mapping[int, Failure]) -> None:
        """Put together what checked collectives say on each rank."""
        calls = {r: call for r, f in failures.items() if (call := fingerprint(f.evalue))}
        if result.diagnosis is None and calls:
            result.diagnosis = refused(calls, {rank: failures[rank].line for rank in calls})
            for rank in calls if result.diagnosis else ():
                result.ranks[rank].error = replace(failures[rank], freed=True)

    def _why_useless(
        self, result: CellResult, failures: Mapping[int, Failure], ran: int
    ) -> str | None:
        """Why the group must be made again though nobody was freed; None if it need not."""
        if result.ok or self._world_size < 2:  # noqa: PLR2004 - one rank has no group to lose
            return None
        if any(map(outcomes.is_timeout, failures.values())):
            minutes = self._generations.timeout_minutes
            return f"A collective took longer than the group's timeout of {minutes:g} min."
        if any(map(outcomes.is_lost, failures.values())):
            return (
                "What was made for an earlier process group (a DDP or FSDP module, a subgroup) "
                "must be made again."
            )
        return "" if ran == self._world_size and self._is_out_of_step() else None

    def _is_out_of_step(self) -> bool:
        """Whether ranks stand at different collectives: the next one would hang, or mix up data."""
        if self.is_cut:
            return False  # nobody stands anywhere any more
        for pause in (0, *_RETIRED):
            time.sleep(pause)
            # Of one that does not answer, or whose main thread is busy with what a cell has left
            # to be done later, it is not known what it has called. That is no proof of anything.
            looks = self._look()
            known = {r: look for r, look in looks.items() if look.state == "idle" or look.recent}
            complete = len(known) == self._world_size
            if complete and all(call.done for look in known.values() for call in look.recent):
                break
        return outcomes.out_of_step(known)

    def _still_stuck(self, freed: Freed | None, result: CellResult) -> dict[int, Look | None]:
        """By rank that was not freed, where it is; None if it does not answer."""
        placement = self._generations.placement
        if freed is None or placement is None:
            return {}
        looks = dict(freed.looks)
        ranks = {placement.engines.index(e): looks.get(e) for e in sorted(freed.busy)}
        # One that has said how its cell ended has let go at the last moment.
        return {rank: look for rank, look in ranks.items() if rank not in result}

    def _replace(self, stuck: Mapping[int, Look | None], result: CellResult) -> None:
        """The last step: engines that stay inside torch whatever is tried."""
        for_good = all(look and look.waiting and not data_moves(look) for look in stuck.values())
        if not (for_good and self._pool.can_grow) or self._generations.dead_ranks:
            self.raise_stuck(stuck, result)
        was, its = ("was", "its") if len(stuck) == 1 else ("were", "their")
        lost = f"{named(stuck)} did not let go and {was} replaced: {its} variables are lost"
        for rank in stuck:
            result.ranks[rank] = RankResult(rank, error=Failure("EngineError", lost, freed=True))
        try:
            self._generations.restart(stuck)
        except RankbookError as error:
            result.note = f"{lost}, and the group could not be made again: {error}"
            return
        result.note = (
            f"{lost}, the others' are in place. The group is made again (generation "
            f"{self._generations.number})."
        )

    def raise_stuck(
        self, stuck: Mapping[int, Look | None], result: CellResult | None = None
    ) -> NoReturn:
        """Raise for ranks that went on after having been interrupted."""
        places: dict[str, list[int]] = {}
        for rank, look in sorted(stuck.items()):
            place = f"{look.line or look.state}{self._until(look)}" if look else ""
            places.setdefault(place, []).append(rank)
        words = [_where(ranks, place) for place, ranks in places.items()]
        error = StuckError(
            f"The interrupt did not end the cell: {'; '.join(words)}. Interrupt again, or "
            f"{how_to_replace(stuck)} replaces {said(stuck)} and keeps the others.",
            result,
        )
        if result is not None:
            error.traceback_lines = result.traceback_lines()
        raise error

    def _until(self, look: Look) -> str:
        """When a rank that did not let go does so by itself, if that is known; in brackets."""
        if data_moves(look):
            return " (data is on its way: it ends when that has come)"
        if look.waiting and self.is_cut:  # of gloo's: nothing wakes who waits for half a message
            minutes = self._generations.timeout_minutes
            return f" (it lets go after the group's timeout, {minutes:g} min)"
        return ""


def _patience(engines: Collection[int]) -> float:
    """Seconds that the group is given to be made again, whatever is pressed meanwhile."""
    return _MENDING * looking.answer_timeout(len(engines))


def _where(ranks: Sequence[int], place: str) -> str:
    """``ranks 0-2 are at line 3: f(x)``; of those without a place, that they do not answer."""
    be, do = ("is", "does") if len(ranks) == 1 else ("are", "do")
    return f"{said(ranks)} {f'{be} at {place}' if place else f'{do} not answer'}"
