"""What is done behind a cell that has ended: said in its result, and a group left that works."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from rankbook.cluster.pool import Pool
from rankbook.diagnosis import diagnose, fingerprint, refused
from rankbook.errors import RankbookError
from rankbook.interrupts import undisturbed
from rankbook.models import Failure, Look, how_ended
from rankbook.sessions import looking, outcomes
from rankbook.sessions.freeing import Freed, data_moves
from rankbook.sessions.generations import Generations, how_to_replace, named
from rankbook.sessions.rescue import Rescue, patience
from rankbook.sessions.results import CellResult, RankResult

__all__ = ["Aftermath"]

_RETIRED = (0.02, 0.1, 0.2)
"""Seconds between looks until torch's recorder knows that a collective has ended."""


class Aftermath:
    """Settles the cells of one session."""

    def __init__(self, pool: Pool, generations: Generations, rescue: Rescue) -> None:
        self._pool = pool
        self._generations = generations
        self._rescue = rescue

    def settle(self, result: CellResult, freed: Freed | None, ran: Collection[int]) -> CellResult:
        """Leave a group that works behind a cell, and say in its result what was done.

        Args:
            result: Of the cell that has just ended.
            freed: What freeing came to, if it was needed.
            ran: The ranks that ran it.

        Raises:
            StuckError: Some ranks do not let go.
        """
        with undisturbed(patience(self._generations.alive)):
            return self._settle(result, freed, ran)

    def _settle(self, result: CellResult, freed: Freed | None, ran: Collection[int]) -> CellResult:
        self._rescue.wait()
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
        elif not self._rescue.is_cut:
            why = self._why_useless(result, failures, len(ran))
            if why is not None:
                self._rescue.condemn()
                result.note = f"{why} {self._rescue.mend()}".strip()
        result.note = result.note or self._rescue.mend()
        return result

    def _explain_death(self, result: CellResult, failures: Mapping[int, Failure]) -> None:
        """Say how a rank died first; that others lost their connection to it is no news."""
        dead = self._generations.dead_ranks
        its = {rank: failure for rank, failure in failures.items() if rank not in dead}
        if result.diagnosis is None or result.diagnosis.kind != "dead":
            engines = self._generations.placed().engines
            progress = {rank: its.get(rank) for rank in result}
            looks = self._rescue.complete(engines, self._rescue.look(), progress)
            result.diagnosis = diagnose(
                {r: outcomes.when_it_was_lost(look, its.get(r)) for r, look in looks.items()}
            )
        victims = [r for r, failure in its.items() if outcomes.is_lost(failure)]
        engines = self._generations.placed().engines
        looking.forget_errors(self._pool.channel, [engines[rank] for rank in victims])
        for rank, failure in failures.items():
            if rank in dead or rank in victims:
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
        size = len(self._generations.groups)
        if result.ok or size < 2:  # noqa: PLR2004 - one rank has no group to lose
            return None
        if any(map(outcomes.is_timeout, failures.values())):
            minutes = self._generations.timeout_minutes
            return f"A collective took longer than the group's timeout of {minutes:g} min."
        if any(map(outcomes.is_lost, failures.values())):
            return (
                "What was made for an earlier process group (a DDP or FSDP module, a subgroup) "
                "must be made again."
            )
        return "" if ran == size and self._is_out_of_step() else None

    def _is_out_of_step(self) -> bool:
        """Whether ranks stand at different collectives: the next one would hang, or mix up data."""
        if self._rescue.is_cut:
            return False  # nobody stands anywhere any more
        for pause in (0, *_RETIRED):
            time.sleep(pause)
            # Of one that does not answer, or whose main thread is busy with what a cell has left
            # to be done later, it is not known what it has called. That is no proof of anything.
            looks = self._rescue.look()
            known = {r: look for r, look in looks.items() if look.state == "idle" or look.recent}
            complete = len(known) == len(self._generations.groups)
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
            self._rescue.raise_stuck(stuck, result)
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
