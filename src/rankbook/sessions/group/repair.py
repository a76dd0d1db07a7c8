"""The condition of the process group, and who makes the next one: the table ``RULE`` decides.

A cell ends in the thread that ran it, which still has the turn. An interrupt makes a group
only where no cell runs: it takes the turn for it. While a repair is under way, an interrupt leaves
the ranks to it for some seconds: a person who presses twice must not be left without a group.
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
from rankbook.sessions.group.group import Group
from rankbook.sessions.group.stuck import at_place
from rankbook.sessions.group.stuck import error as stuck_error
from rankbook.sessions.members import Members, freeing, looks
from rankbook.sessions.members.freeing import Freed
from rankbook.words import how_to_replace, in_words

__all__ = ["RULE", "Condition", "Event", "Repair", "Step"]


class Condition(Enum):
    """What the ranks have of a group."""

    NONE = "none"
    """There is no group."""
    MAKING = "making"
    """Ranks are about to join one."""
    WHOLE = "whole"
    """It works."""
    BROKEN = "broken"
    """Its connections were cut, or its ranks stand at different collectives."""
    AWAITED = "awaited"
    """It is broken, and a thread is about to renew it."""
    LOST = "lost"
    """A rank of it has ended: only replacing that rank makes the next one."""


class Event(Enum):
    """What happens to it."""

    CELL_BEGINS = "cell begins"
    FREED_WITH_CUT = "freed with a cut"
    CELL_ENDS = "cell ends"
    INTERRUPT_ENDS = "interrupt ends"
    RENEWAL_ASKED = "renewal asked"
    RENEWAL_FAILS = "renewal fails"
    RANK_DIES = "rank dies"
    SHUTDOWN = "shutdown"


class Step(Enum):
    """What is done then, by the thread in which it happens."""

    NOTHING = "nothing"
    REFUSE = "refuse"
    """Raise, and say what to do."""
    BREAK = "break"
    """Note that the group is of no use."""
    MAKE = "make"
    """Make the next group."""
    LEAVE = "leave"
    """Let the renewal make the next group."""


def _row(steps: str) -> dict[Condition, Step]:
    return dict(zip(Condition, map(Step, steps.split()), strict=True))


RULE: Mapping[Event, Mapping[Condition, Step]] = {
    #                           none     making   whole    broken   awaited  lost
    Event.CELL_BEGINS: _row("   refuse   refuse   nothing  make     refuse   nothing "),
    Event.FREED_WITH_CUT: _row("nothing  nothing  break    nothing  nothing  nothing "),
    Event.CELL_ENDS: _row("     nothing  nothing  nothing  make     leave    nothing "),
    Event.INTERRUPT_ENDS: _row("nothing  nothing  nothing  make     leave    nothing "),
    Event.RENEWAL_ASKED: _row(" make     refuse   make     make     make     refuse  "),
    Event.RENEWAL_FAILS: _row(" nothing  nothing  nothing  make     leave    nothing "),
    Event.RANK_DIES: _row("     nothing  nothing  nothing  nothing  nothing  nothing "),
    Event.SHUTDOWN: _row("      nothing  nothing  nothing  nothing  nothing  nothing "),
}


class Repair:
    """Frees the ranks of one session, and leaves them a group that works; from any thread."""

    def __init__(self, members: Members, group: Group) -> None:
        self._members = members
        self._group = group
        # Held while ranks are freed, and while it is decided that the next group is made.
        self._lock = threading.Lock()
        self._broken = 0
        """The generation that is of no use."""
        self._renewals: set[object] = set()
        """Threads that are about to renew the group."""
        self._began = -math.inf
        """When the repair began that is under way."""

    # -- the rule ----------------------------------------------------------------------------

    @property
    def condition(self) -> Condition:
        """What the ranks have of a group just now."""
        if self._group.is_being_made:
            return Condition.MAKING
        if not self._group.infos:
            return Condition.NONE
        if self._members.dead:
            return Condition.LOST
        if self._broken != self._group.number:
            return Condition.WHOLE
        return Condition.AWAITED if self._renewals else Condition.BROKEN

    def step(self, event: Event) -> Step:
        """What is to be done when something happens."""
        return RULE[event][self.condition]

    @property
    def is_cut(self) -> bool:
        """Whether the present group was found to be of no use; earlier ones are forgotten."""
        return bool(self._broken) and self._broken == self._group.number

    def mark_broken(self) -> None:
        """Note that the present group is of no use, whether or not any connection of it was cut."""
        if self.step(Event.FREED_WITH_CUT) is Step.BREAK:
            self._broken = self._group.number

    # -- freeing -----------------------------------------------------------------------------

    def free(self, ranks: Collection[int] | None = None) -> Freed:
        """End what ranks do; see :func:`rankbook.sessions.members.freeing.free`.

        While the group is repaired, ranks are left to that for a while.

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
        """What to raise for ranks that went on after they had been interrupted.

        Args:
            stuck: By rank, what it does; None if it does not answer.
        """
        minutes = self._group.timeout_minutes if self.is_cut else None
        return stuck_error(stuck, self._members.timing, minutes)

    def wait(self) -> None:
        """Wait until ranks that another thread frees just now are free."""
        with self._lock:
            pass

    # -- making the next group ---------------------------------------------------------------

    def begin_cell(self) -> None:
        """See that a cell finds a group that works.

        Raises:
            SessionError: There is none, and none can be made now; the message says why.
        """
        step = self.step(Event.CELL_BEGINS)
        if step is Step.REFUSE:
            if not self._group.infos and not self._group.is_being_made:
                raise SessionError("There is no process group: make one with %dist_init.")
            raise SessionError("The process group is being renewed: run the cell again.")
        if step is Step.MAKE:
            self._refuse_busy()
            outcome = self._make()
            if not self._group.infos:
                raise SessionError(outcome)

    def after(self, event: Event) -> str:
        """Do what the rule says, and say what became of it; empty where nothing is done."""
        step = self.step(event)
        if step is Step.LEAVE:
            return "The ranks are free, their variables in place."
        return self._make() if step is Step.MAKE else ""

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """While this lasts, the caller is about to renew the group: nobody else makes one."""
        renewal = object()
        self._renewals.add(renewal)
        try:
            yield
        finally:
            self._renewals.discard(renewal)

    def _make(self) -> str:
        """Make the next group; return what became of it, in words."""
        timing = self._members.timing
        with self._lock:  # a thread that frees ranks just now is about to finish
            self._began = timing.clock.monotonic()
        try:
            with ignore_ctrl_c(timing.repair_timeout(len(self._members.living()))):
                self._group.initialize()
        except RankbookError as error:
            return f"The process group could not be re-created: {error}"
        finally:
            self._began = -math.inf
        return (
            f"The ranks are free, their variables in place, and the process group was re-created "
            f"(generation {self._group.number})."
        )

    def _refuse_busy(self) -> None:
        """Raise if an interrupt has cut the group, and some rank has not let go since then."""
        seen = looks.looks(self._members.living())
        busy = {rank: look for rank, look in sorted(seen.items()) if look.state != "idle"}
        if busy:
            where = "; ".join(at_place([r], its.line or its.state) for r, its in busy.items())
            raise SessionError(
                f"The group's connections were cut, and {where} since then: interrupt again, or "
                f"{how_to_replace(busy)} replaces {in_words(busy)} and keeps the others."
            )
