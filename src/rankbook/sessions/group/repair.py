"""The condition of the process group, and which thread makes the next: ``RULE`` decides.

A cell ends in the thread that ran it, which still has the turn. An interrupt makes a group
only where no cell runs: it takes the turn for it. While a repair is under way, an interrupt leaves
the ranks alone for some seconds: pressing Ctrl-C twice must not leave a session without a group.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

from rankbook.errors import RankbookError, SessionError, StuckError
from rankbook.interrupts import ignore_ctrl_c
from rankbook.models import Look
from rankbook.sessions.group import carried
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.stuck import at_place
from rankbook.sessions.group.stuck import error as stuck_error
from rankbook.sessions.members import Members, freeing, looks
from rankbook.sessions.members.freeing import Freed
from rankbook.words import how_to_replace, in_words

__all__ = ["RULE", "Condition", "Event", "Repair", "Step"]


class Condition(Enum):
    """The condition of the ranks' group."""

    NONE = "none"
    """There is no group."""
    MAKING = "making"
    """Ranks are about to join one."""
    WHOLE = "whole"
    """It works."""
    BROKEN = "broken"
    """Its connections were cut, or its ranks are at different collectives."""
    AWAITED = "awaited"
    """It is broken, and a thread is about to renew it."""
    LOST = "lost"
    """A rank of it has ended: only replacing that rank makes the next one."""
    OWED = "owed"
    """It could not be re-created, which nobody had asked for: the next cell tries again."""


class Event(Enum):
    """What happens to the group."""

    CELL_BEGINS = "cell begins"
    FREED_WITH_CUT = "freed with a cut"
    CELL_ENDS = "cell ends"
    INTERRUPT_ENDS = "interrupt ends"
    RENEWAL_ASKED = "renewal asked"
    RENEWAL_FAILS = "renewal fails"
    RANK_DIES = "rank dies"
    SHUTDOWN = "shutdown"


class Step(Enum):
    """What the thread in which it happens does about it."""

    NOTHING = "nothing"
    REFUSE = "refuse"
    """Raise, and say what to do."""
    BREAK = "break"
    """Mark the group as broken."""
    MAKE = "make"
    """Make the next group."""
    LEAVE = "leave"
    """Let the renewal make the next group."""


def _row(steps: str) -> dict[Condition, Step]:
    return dict(zip(Condition, map(Step, steps.split()), strict=True))


RULE: Mapping[Event, Mapping[Condition, Step]] = {
    #                           none     making   whole    broken   awaited  lost     owed
    Event.CELL_BEGINS: _row("   refuse   refuse   nothing  make     refuse   nothing  make    "),
    Event.FREED_WITH_CUT: _row("nothing  nothing  break    nothing  nothing  nothing  nothing "),
    Event.CELL_ENDS: _row("     nothing  nothing  nothing  make     leave    nothing  nothing "),
    Event.INTERRUPT_ENDS: _row("nothing  nothing  nothing  make     leave    nothing  nothing "),
    Event.RENEWAL_ASKED: _row(" make     refuse   make     make     make     refuse   make    "),
    Event.RENEWAL_FAILS: _row(" nothing  nothing  nothing  make     leave    nothing  nothing "),
    Event.RANK_DIES: _row("     nothing  nothing  nothing  nothing  nothing  nothing  nothing "),
    Event.SHUTDOWN: _row("      nothing  nothing  nothing  nothing  nothing  nothing  nothing "),
}


class Repair:
    """Frees the ranks of one session, and leaves them a working group; from any thread."""

    def __init__(self, members: Members, group: Group) -> None:
        self._members = members
        self._group = group
        # Held while ranks are freed, and while the next group is decided on.
        self._lock = threading.Lock()
        self._broken = 0
        """The generation that is broken; 0 if none is."""
        self._renewals: set[object] = set()
        """Threads that are about to renew the group."""
        self._began = -math.inf
        """When the present repair began."""

    # -- the rule ----------------------------------------------------------------------------

    @property
    def condition(self) -> Condition:
        """The present condition of the group."""
        if self._group.is_being_made:
            return Condition.MAKING
        if not self._group.infos:
            is_owed = self._group.is_owed and not self._members.dead
            return Condition.OWED if is_owed else Condition.NONE
        if self._members.dead:
            return Condition.LOST
        if self._broken != self._group.number:
            return Condition.WHOLE
        return Condition.AWAITED if self._renewals else Condition.BROKEN

    def step(self, event: Event) -> Step:
        """What to do when something happens."""
        return RULE[event][self.condition]

    @property
    def is_cut(self) -> bool:
        """Whether the present group is broken; earlier ones are forgotten."""
        return bool(self._broken) and self._broken == self._group.number

    def mark_broken(self) -> None:
        """Mark the present group as broken, whether or not a connection was cut."""
        if self.step(Event.FREED_WITH_CUT) is Step.BREAK:
            self._broken = self._group.number

    # -- freeing -----------------------------------------------------------------------------

    def free(self, ranks: Collection[int] | None = None) -> Freed:
        """End what ranks do; see :func:`rankbook.sessions.members.freeing.free`.

        While a repair is under way, ranks are left alone for some seconds.

        Args:
            ranks: Those to free; None: all, or every engine where none is a rank yet.
        """
        members, clock = self._members, self._members.timing.clock
        with ignore_ctrl_c(), self._lock:
            party = members.living() if members.placement else members.everyone()
            chosen = party if ranks is None else set(ranks) & set(party)
            patience = members.timing.repair_timeout(len(chosen))
            if clock.monotonic() - self._began < patience:
                return Freed(was_busy=False, cut=False)
            freed = freeing.free(party, list(chosen))
            if freed.cut:
                self.mark_broken()
            return freed

    def stuck(self, stuck: Mapping[int, Look | None]) -> StuckError:
        """The error for ranks that went on after an interrupt.

        Args:
            stuck: By rank, what it does; None if it does not answer.
        """
        # gloo waits far longer than the group allows: see Group.overdue in engine/group/group.
        lends = any(info.backend == "gloo" for info in self._group.infos.values())
        minutes = self._group.timeout_minutes if self.is_cut and not lends else None
        return stuck_error(stuck, self._members.timing, minutes)

    def wait(self) -> None:
        """Wait until the ranks that another thread is freeing are free."""
        with self._lock:
            pass

    # -- making the next group ---------------------------------------------------------------

    def begin_cell(self) -> str:
        """Make sure that a cell finds a working group.

        Returns:
            What was done, in words; empty if nothing was.

        Raises:
            SessionError: There is none, and none can be made now; the message says why.
        """
        step = self.step(Event.CELL_BEGINS)
        if step is Step.REFUSE:
            if not self._group.infos and not self._group.is_being_made:
                self._members.refuse_dead()
                raise SessionError("There is no process group: make one with %dist_init.")
            raise SessionError("The process group is being renewed: run the cell again.")
        if step is not Step.MAKE:
            return ""
        self._refuse_busy()
        outcome = self._make()
        if not self._group.infos:
            raise SessionError(outcome)
        return outcome

    def after(self, event: Event) -> str:
        """Do what the rule says; return the outcome in words, empty if nothing was done."""
        step = self.step(event)
        if step is Step.LEAVE:
            return "The ranks are free, their variables in place."
        return self._make() if step is Step.MAKE else ""

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Reserve the renewal for the caller: within the block, no other thread makes a group."""
        renewal = object()
        self._renewals.add(renewal)
        try:
            yield
        finally:
            self._renewals.discard(renewal)

    def _make(self) -> str:
        """Make the next group; return the outcome in words."""
        timing = self._members.timing
        with self._lock:  # wait for a thread that is freeing ranks
            self._began = timing.clock.monotonic()
        try:
            with ignore_ctrl_c(timing.repair_timeout(len(self._members.living()))):
                self._group.initialize()
        except RankbookError as error:
            self._group.is_owed = True
            again = ", and the next cell tries again" * (self.condition is Condition.OWED)
            return f"The process group could not be re-created{again}: {error}"
        finally:
            self._began = -math.inf
        return (
            f"The ranks are free, their variables in place, and the process group was re-created "
            f"(generation {self._group.number}){carried.sentence_end(self._group.infos)}"
        )

    def _refuse_busy(self) -> None:
        """Raise if an interrupt has cut the group and some rank is still busy."""
        seen = looks.looks(self._members.living())
        busy = {rank: look for rank, look in sorted(seen.items()) if look.state != "idle"}
        if busy:
            where = "; ".join(at_place([r], look.line or look.state) for r, look in busy.items())
            raise SessionError(
                f"The group's connections were cut, and {where} since then: interrupt again, or "
                f"{how_to_replace(busy)} replaces {in_words(busy)} and keeps the others."
            )
