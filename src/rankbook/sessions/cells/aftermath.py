"""After a cell: complete its result, and leave a group that works."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from rankbook.diagnosis import diagnose
from rankbook.errors import RankbookError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import Diagnosis, Failure, Look
from rankbook.sessions.cells.comparing import verdict_on
from rankbook.sessions.cells.results import CellResult, RankResult
from rankbook.sessions.cells.unfinished import why_useless
from rankbook.sessions.group import carried
from rankbook.sessions.group import stuck as stuck_ranks
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.repair import Event, Repair
from rankbook.sessions.members import Members, looks, outcomes
from rankbook.sessions.members.freeing import Freed, data_moves
from rankbook.sessions.members.remedy import remedy
from rankbook.words import agree, in_words, sentence_start

__all__ = ["Aftermath"]


class Aftermath:
    """Settles the cells of one session."""

    def __init__(self, members: Members, group: Group, repair: Repair) -> None:
        self._members = members
        self._group = group
        self._repair = repair

    def seen(self, result: CellResult) -> dict[int, Look]:
        """What ranks did when a cell ended, as far as its connections were lost."""
        failures = [done.error for done in result.values() if done.error is not None]
        if not (self._members.dead or any(map(outcomes.is_lost, failures))):
            return {}
        return looks.looks(self._members.living())

    def settle(
        self,
        result: CellResult,
        freed: Freed | None,
        ran: Collection[int],
        seen: Mapping[int, Look],
        *,
        is_script: bool = False,
    ) -> CellResult:
        """Leave a working group after a cell, and say in its result what was done.

        Args:
            result: The result of the cell that has just ended.
            freed: The outcome of freeing, if it was needed.
            ran: The ranks that ran it.
            seen: See :meth:`seen`.
            is_script: Whether it was a script, with a process group of its own.

        Raises:
            StuckError: Some ranks do not let go.
        """
        patience = self._members.timing.repair_timeout(len(self._members.living()))
        with ignore_ctrl_c(patience):
            return self._settle(result, freed, ran, seen, is_script=is_script)

    def _settle(
        self,
        result: CellResult,
        freed: Freed | None,
        ran: Collection[int],
        seen: Mapping[int, Look],
        *,
        is_script: bool,
    ) -> CellResult:
        self._repair.wait()
        failures = {rank: done.error for rank, done in result.items() if done.error is not None}
        if any(failure.ename == "KeyboardInterrupt" for failure in failures.values()):
            self._members.await_leaving()
        stuck = stuck_ranks.of(freed, result) if freed else {}
        dead = self._members.dead
        if dead and not stuck:
            if set(dead) & set(ran) or any(map(outcomes.is_lost, failures.values())):
                self._explain_death(result, failures, seen, is_script=is_script)
            return result
        self._explain_mismatch(result, failures)
        self._explain_destroyed(result, failures, seen)
        if stuck:
            self._replace(stuck, result)
        elif is_script and not self._repair.is_cut:
            result.note = self._who_had_left(result, failures)
        elif not self._repair.is_cut:
            why = self._why_useless(result, failures, len(ran))
            if why is not None:
                self._repair.mark_broken()
                result.note = f"{why} {self._repair.after(Event.CELL_ENDS)}".strip()
        result.note = result.note or self._repair.after(Event.CELL_ENDS)
        if result.was_overdue:
            result.note = f"{self._too_long()} {result.note}".strip()
        return result

    def _explain_death(
        self,
        result: CellResult,
        failures: Mapping[int, Failure],
        seen: Mapping[int, Look],
        *,
        is_script: bool,
    ) -> None:
        """Say how a rank died; hide the errors of others that lost their connection to it."""
        dead = self._members.dead
        living = {rank: failure for rank, failure in failures.items() if rank not in dead}
        if result.diagnosis is None or result.diagnosis.kind != "dead":
            result.diagnosis, _ = self._when_it_was_lost(result, living, seen)
        victims = [r for r, failure in living.items() if outcomes.is_lost(failure)]
        looks.forget_errors(self._members.ranks(victims))
        for rank, failure in failures.items():
            if rank in dead or rank in victims:
                result.ranks[rank].error = replace(failure, freed=True)
            if rank in dead:
                how = f"rank {rank} {self._members.ends[rank]}"
                result.ranks[rank].error = Failure("EngineError", how, freed=True)
                result.ranks[rank].exit_code = dead[rank] if is_script else None
        kept = "; the other ranks keep their variables" if self._members.living() else ""
        back = remedy(self._members, dead, f"brings {agree(dead, 'it', 'them')} back{kept}")
        result.note = f"{sentence_start(back)}{self._what_is_gone()}"

    def _what_is_gone(self) -> str:
        """What dead ranks held, judging by other ranks, and what to type to restore it."""
        from rankbook.sessions.group import filling  # here: the start must stay quick

        dead = self._members.dead
        names = filling.held_by_others(self._members, dead)
        if not names:
            return ""
        source, them = min(set(self._members.living())), agree(names, "it", "them")
        to = f"to {in_words(dead)}, too"
        return f" They hold {filling.listed(names)}: --from {source} copies {them} {to}."

    def _explain_mismatch(self, result: CellResult, failures: Mapping[int, Failure]) -> None:
        """Turn the errors of ranks whose checked collectives were refused into one verdict."""
        refused = {rank: failure for rank, failure in failures.items() if failure.slot}
        if result.diagnosis is not None or not refused:
            return
        first = min(refused.values(), key=lambda failure: failure.when)
        assert first.slot is not None  # noqa: S101 - a refusal names its slot
        result.diagnosis = verdict_on(self._members, first.slot)
        for rank, failure in refused.items() if result.diagnosis else ():
            result.ranks[rank].error = replace(failure, freed=True)

    def _when_it_was_lost(
        self, result: CellResult, failures: Mapping[int, Failure], seen: Mapping[int, Look]
    ) -> tuple[Diagnosis, Mapping[int, Look]]:
        """The verdict on the moment when ranks lost their connections, and all looks."""
        progress = {rank: failures.get(rank) for rank in result}
        complete = looks.complete(self._members, self._members.ranks(), seen, progress)
        at_that = {
            rank: outcomes.when_it_was_lost(look, failures.get(rank))
            for rank, look in complete.items()
        }
        mesh = self._members.named_mesh
        return diagnose(at_that, past=True, mesh=mesh), complete  # the cell has ended

    def _explain_destroyed(
        self, result: CellResult, failures: Mapping[int, Failure], seen: Mapping[int, Look]
    ) -> None:
        """Say who has destroyed the group where others have lost their connections by that."""
        lost = [rank for rank, failure in failures.items() if outcomes.is_lost(failure)]
        if result.diagnosis is not None or not lost or self._repair.is_cut:
            return
        found, complete = self._when_it_was_lost(result, failures, seen)
        ended = {r for r, look in complete.items() if any(g.destroyed for g in look.groups)}
        if not ended & set(found.ranks):
            return
        result.diagnosis = found
        looks.forget_errors(self._members.ranks(lost))
        for rank in lost:
            result.ranks[rank].error = replace(failures[rank], freed=True)

    def _why_useless(
        self, result: CellResult, failures: Mapping[int, Failure], ran: int
    ) -> str | None:
        """Why the group must be re-created though no rank was freed; None if it need not be."""
        size = len(self._group.infos)
        if size == 0 or (result.ok and not (result.lost or result.was_interrupted)):
            return None
        if size > 1 and (result.lost or any(map(_has_lost, failures.values()))):
            return self._why_lost(result, failures)
        if ran == size > 1 and self._is_out_of_step():
            return ""
        return why_useless(self._members, was_interrupted=result.was_interrupted)

    def _why_lost(self, result: CellResult, failures: Mapping[int, Failure]) -> str:
        """Why connections were lost; empty if that was said."""
        if any(map(outcomes.is_timeout, failures.values())):
            return self._too_long()
        if any(map(outcomes.is_lost, failures.values())):
            follows = not all(map(outcomes.is_of_connections, failures.values()))
            if result.diagnosis is not None or follows:
                return ""  # it was said why
            return (
                "A handle of an earlier process group (irecv, async_op=True) cannot be waited for: "
                "call again what it was for. A group that some ranks have ended must be made again."
            )
        where = self._members.in_words(result.lost)
        return f"A call failed on {where}, and its group's connections ended with that."

    def _too_long(self) -> str:
        minutes = self._group.timeout_minutes
        return f"A collective took longer than the group's timeout of {minutes:g} min."

    def _is_out_of_step(self) -> bool:
        """Whether ranks are at different collectives: the next one would hang, or mix up data."""
        if self._repair.is_cut:
            return False  # the connections are gone: there is nothing to compare
        timing = self._members.timing
        for pause in (0, *timing.retire):
            timing.clock.sleep(pause)
            # The calls of a rank are unknown if it is silent, or if its main thread is busy with
            # work that the cell deferred. Such a rank proves nothing.
            seen = looks.looks(self._members.living())
            known = {r: look for r, look in seen.items() if look.state == "idle" or look.recent}
            complete = len(known) == len(self._group.infos)
            if complete and all(call.done for look in known.values() for call in look.recent):
                break
        return outcomes.out_of_step(known)

    def _replace(self, stuck: Mapping[int, Look | None], result: CellResult) -> None:
        """Replace engines that could not be freed from torch; raise for other stuck ones."""
        timing = self._members.timing
        for_good = all(
            look and look.waiting and not data_moves(look, timing) for look in stuck.values()
        )
        if not (for_good and self._members.can_grow) or self._members.dead:
            error = self._repair.stuck(stuck)
            error.result, error.traceback_lines = result, result.traceback_lines()
            raise error
        was, their = agree(stuck, "was", "were"), agree(stuck, "its", "their")
        ranks = sentence_start(self._members.in_words(stuck))
        lost = f"{ranks} did not let go and {was} replaced: {their} variables are lost"
        for rank in stuck:
            result.ranks[rank] = RankResult(rank, error=Failure("EngineError", lost, freed=True))
        try:
            self._group.restart(stuck)
        except RankbookError as error:
            self._group.is_owed = True
            result.note = f"{lost}, and the process group could not be re-created: {error}"
            return
        result.note = (
            f"{lost}, the others' are in place. The process group was re-created (generation "
            f"{self._group.number}){carried.sentence_end(self._group.infos)}"
        )

    def _who_had_left(self, result: CellResult, failures: Mapping[int, Failure]) -> str:
        """Which ranks had ended a script, and so their connections, while others needed them."""
        left = sorted(set(result) - set(failures))
        if not (left and failures and all(map(outcomes.is_lost, failures.values()))):
            return ""
        they = sentence_start(self._members.ranks_do(left, "had left", "had left"))
        return f"{they} the script's process group by then: {agree(left, 'it', 'they')} had ended."


def _has_lost(failure: Failure) -> bool:
    """Whether a call of a rank ended with the connections of its group."""
    return outcomes.is_timeout(failure) or outcomes.is_lost(failure)
