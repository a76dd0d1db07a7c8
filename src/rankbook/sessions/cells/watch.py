"""Watching a running cell, and deciding that it is hopeless."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rankbook.diagnosis import diagnose
from rankbook.models import Diagnosis, Look, load
from rankbook.models.frames import Standing
from rankbook.models.meshes import NamedMesh
from rankbook.models.requests import LookAt
from rankbook.sessions.members import Members, RankCall, looks, outcomes
from rankbook.sessions.members.looks import Progress

__all__ = ["Hang", "Watch"]

_HARMLESS = ("idle", "running", "slow", "unknown")
"""Kinds of diagnosis that do not make a cell fail."""


@dataclass(frozen=True)
class Hang:
    """What was seen of a cell before its ranks were freed."""

    looks: Mapping[int, Look]
    stacks: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """By rank, the main thread's Python stack."""
    standings: Mapping[int, Standing] = field(default_factory=dict)
    """By rank, the same stack frame by frame, with local variables."""
    mesh: NamedMesh | None = None
    """The mesh whose dimensions name the ranks."""
    interrupted: float | None = None
    """Seconds after which its end was requested; None: it was hopeless."""

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Why it could not end, in the past tense; None if nothing was wrong with it."""
        found = diagnose(self.looks, past=True, mesh=self.mesh)
        return found if found.proven or found.kind not in _HARMLESS else None

    @property
    def interruption(self) -> str:
        """When it was interrupted, and what its ranks did; empty if it was not."""
        if self.interrupted is None:
            return ""
        after = f"Interrupted after {round(self.interrupted, 1):g} s"
        did = diagnose(self.looks, past=True, mesh=self.mesh)
        if did.kind == "idle":
            return f"{after}."
        return f"{after}: {did.summary[:1].lower()}{did.summary[1:]}"


class Watch:
    """Looks at the ranks from time to time, without waiting for their answers.

    It has no thread: the thread that waits for the cell calls :meth:`pause`. A cell shorter than
    0.7 s is never looked at, and so costs nothing.

    Attributes:
        diagnosis: From the last look; None before the first.
        unheard: By rank that did not answer the last look, the seconds since it did.
        overdue: By rank, for how many seconds a collective has taken longer than the group allows.
        hang: What was seen when a hang was last proven, or the cell was interrupted, whatever was
            seen since; None if neither has happened.
    """

    def __init__(self, members: Members) -> None:
        """Watch all ranks of the group from now on, even those that do not run the cell."""
        self._members = members
        self._ranks = members.ranks()
        self._call: RankCall | None = None
        self._late = 0.0
        self._period = members.timing.look_waiting
        self._due = time.monotonic() + members.timing.first_look
        self._hurry = False
        self._began = time.monotonic()
        self._proven: float | None = None
        self._is_open = False
        self.diagnosis: Diagnosis | None = None
        self._has_threads = False
        self.hang: Hang | None = None
        self.overdue: dict[int, float] = {}
        self.unheard: dict[int, float] = {}
        self._heard = dict.fromkeys(self._ranks, self._began)

    @property
    def was_interrupted(self) -> bool:
        """Whether the end of the cell was requested."""
        return self.hang is not None and self.hang.interrupted is not None

    def pause(self, progress: Callable[[], Progress]) -> float:
        """Look, if it is due; return the seconds within which it must be called again.

        Args:
            progress: Tells how the cell went so far, by rank.
        """
        now = time.monotonic()
        if self._call is None:
            if now < self._due and not self._hurry:
                return self._due - now
            self._hurry = False
            self._call = self._ranks.request(LookAt(closely=True, calls=bool(self._members.dead)))
            self._late = now + self._members.timing.answer_timeout(len(self._ranks))
        if self._call.done or now > self._late:
            call, self._call = self._call, None
            call.forget()
            self._take(call, progress())
            self._due = now + self._period
        return 0.02

    def soon(self) -> None:
        """Look at once: something has changed."""
        self._hurry = True

    def begin_again(self) -> None:
        """Drop what was seen: ranks have been freed."""
        if self._call is not None:
            self._call.forget()
        self._call, self.diagnosis, self.overdue = None, None, {}
        self._proven, self._is_open = None, False
        self._due = time.monotonic() + self._period

    def is_hopeless(self) -> bool:
        """Whether it is proven that some rank waits in vain: its ranks must be freed.

        Not at once while ranks that it waits for still run, as on a busy machine those that are
        about to end: they belong to the verdict, too.
        """
        return self.diagnosis is not None and self.diagnosis.proven and not self._is_open

    @property
    def likely(self) -> Diagnosis | None:
        """What is likely a hang, by the last look; None where threads may do what is awaited."""
        found = self.diagnosis
        is_likely = found is not None and found.stuck and not found.proven
        return found if is_likely and not self._has_threads else None

    @property
    def verdict(self) -> Diagnosis | None:
        """Why the cell cannot end, by the last look; None if nothing is wrong."""
        found = self.diagnosis
        return found if found and (found.proven or found.kind not in _HARMLESS) else None

    def keep(self) -> None:
        """Keep the stacks as well: the hang is proven, and ranks are about to be freed."""
        if self.hang is not None:
            stacks, standings = looks.stacks_and_standings(self._members.living())
            self.hang = replace(self.hang, stacks=stacks, standings=standings)

    def interrupt(self, progress: Progress) -> None:
        """Keep what a closer look shows: ranks are about to be freed on request.

        A rank that was seen once in a collective may have been on its way through it.

        Args:
            progress: How the cell went so far, by rank.
        """
        if self.was_interrupted:
            return  # a look after ranks were freed shows less
        seconds = time.monotonic() - self._began
        if self.diagnosis is None or not self.diagnosis.proven or self.hang is None:
            self.hang = Hang(looks.observe(self._members, progress), mesh=self._members.named_mesh)
        self.hang = replace(self.hang, interrupted=seconds)
        self.keep()

    def completed(self, hang: Hang, progress: Progress) -> Hang:
        """What was seen of a cell that has ended since, with ranks that have ended like its cause.

        Ranks that still ran when others were freed may have ended without the awaited call, too.

        Args:
            hang: What was seen.
            progress: How the cell has ended, by rank.
        """
        before = hang.diagnosis
        if hang.interrupted is not None or before is None or not before.proven:
            return hang
        open_ones = _open_ones(before, hang.looks)
        if not open_ones:
            return hang
        answered = {rank for rank in open_ones if progress.get(rank) != outcomes.PENDING}
        # A rank answers before it is idle.
        looks.wait_until_idle(self._ranks.only(answered), self._members.timing.others)
        seen = looks.looks(self._ranks.only(open_ones))
        now = looks.complete(self._members, self._ranks.only(open_ones), seen, progress)
        ended = {
            rank: look
            for rank, look in now.items()
            if look.state == "idle" and not getattr(progress.get(rank), "freed", False)
        }
        found = replace(hang, looks={**hang.looks, **ended})
        after = found.diagnosis
        is_more = after is not None and set(before.ranks) < set(after.ranks)
        is_alike = after is not None and (after.kind, after.stuck) == (before.kind, before.stuck)
        return found if is_more and is_alike else hang

    def _take(self, call: RankCall, progress: Progress) -> None:
        seen = {rank: load(Look, value) for rank, value in call.values.items()}
        now = time.monotonic()
        self._heard |= dict.fromkeys(seen, now)
        self.unheard = {rank: now - at for rank, at in self._heard.items() if rank not in seen}
        self.overdue = {rank: look.overdue for rank, look in seen.items() if look.overdue}
        seen = looks.complete(self._members, self._ranks, seen, progress)
        self.diagnosis = diagnose(seen, mesh=self._members.named_mesh)
        self._has_threads = any(look.threads for look in seen.values())
        timing = self._members.timing
        self._is_open = False
        if self.diagnosis.proven:
            self.hang = Hang(seen, mesh=self._members.named_mesh)
            self._proven = now if self._proven is None else self._proven
            is_early = now - self._proven < timing.others
            self._is_open = is_early and bool(_open_ones(self.diagnosis, seen))
        waits = any(look.waiting for look in seen.values())
        is_soon = self._is_open or self.diagnosis.kind == "dead"
        beside = timing.look_beside_dead if is_soon else timing.look_waiting
        self._period = beside if waits else timing.look_busy


def _open_ones(diagnosis: Diagnosis, seen: Mapping[int, Look]) -> set[int]:
    """The ranks that are waited for in vain and still run.

    There are none beside a rank that has died: that is the cause whatever the others do.
    """
    if diagnosis.kind == "dead":
        return set()
    calls = [look.waiting for rank, look in seen.items() if rank in diagnosis.stuck]
    awaited = {rank for call in calls if call for rank in call.ranks or seen}
    running = {rank for rank in awaited if rank in seen and seen[rank].state == "running"}
    return running - {*diagnosis.ranks, *diagnosis.stuck}
