"""The patience of a session: every time that it waits, in one place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "Timing"]


class Clock(Protocol):
    """What a session needs of the module :mod:`time`."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float, /) -> None:
        """Do nothing for a while."""


@dataclass(frozen=True)
class Timing:
    """How long a session waits for what, in seconds. Tests replace it as a whole."""

    clock: Clock = time
    """What freeing, looking and repairing wait by."""

    # -- asking ranks ------------------------------------------------------------------------

    answer: float = 1.0
    """For engines' control threads to answer."""
    answer_each: float = 0.05
    """For each of many engines, which may share a few cores: then this is longer."""
    adopt: float = 5.0
    """For joined engines to say which group they are in."""
    idle_poll: float = 0.02
    """Between two looks at engines that are about to become idle."""
    second_look: float = 0.25
    """Between two looks, for a diagnosis that is asked for."""

    # -- freeing -----------------------------------------------------------------------------

    free: float = 5.0
    """After which engines count as stuck for good."""
    free_each: float = 0.2
    """For each of many engines, which may share a few cores: then this is longer."""
    free_round: float = 0.15
    """For an interrupt or a cut to take effect; then the ranks are looked at again."""
    free_again: float = 1.5
    """After which Python that was interrupted and goes on is interrupted again."""
    on_its_way: float = 0.1
    """After which no more data is expected over a connection that has been silent."""

    # -- the group ---------------------------------------------------------------------------

    leave: float = 30.0
    """For engines to leave a group; ``destroy_global_state`` itself is bounded by less."""
    undo: float = 3.0
    """For engines to leave a group that did not come about."""
    form_margin: float = 5.0
    """Beyond the group's timeout, in which the engines themselves say who is missing."""
    repair_factor: float = 3.0
    """What a repair of the group is given, in multiples of the time for answers."""

    # -- cells -------------------------------------------------------------------------------

    first_look: float = 0.7
    """After which a cell is looked at for the first time: most have ended by then."""
    look_waiting: float = 0.5
    """Between two looks while some rank waits for others."""
    look_beside_dead: float = 0.15
    """The same while some rank waits and another has ended."""
    look_busy: float = 1.0
    """The same while all ranks are busy by themselves."""
    show: float = 3.0
    """In which Ctrl-C does not keep from being shown what has arrived."""
    retire: tuple[float, ...] = (0.02, 0.1, 0.2)
    """Between looks until torch's recorder knows that a collective has ended."""

    # -- turns -------------------------------------------------------------------------------

    settle: float = 10.0
    """For what was interrupted to end, and for its group to be re-created."""
    interrupt_again: float = 0.5
    """After which what does not make way is interrupted again."""
    turn_pause: float = 0.05
    """Between two looks whether what was to be interrupted is on the ranks by now."""
    turn_poll: float = 0.005
    """Between two looks whether something is still to be done."""
    replaced: float = 10.0
    """For a thread that waits for engines to notice that they were replaced."""
    stop: float = 30.0
    """For engines to stop, whatever is pressed meanwhile; local ones take one or two."""

    # -- watching ----------------------------------------------------------------------------

    monitor: float = 1.0
    """Between two looks at ranks about which nothing is known to have changed."""
    monitor_each: float = 0.04
    """The part of it for each rank: a look at very many takes its time."""
    monitor_busy: float = 0.4
    """The same while the session is busy: a rank changes what it does without telling."""
    monitor_settle: float = 0.3
    """After a change: a cell shorter than that is not worth a look."""
    last_look: float = 0.3
    """That the end of a session waits for a last look at most: a silent rank holds it up."""
    forgotten: float = 75.0
    """After the last sign that somebody looks; a page gives one every 30 s."""

    read: float = 5.0
    """For which a message of the dashboard stays at least, whatever comes next."""
    compare_clocks: float = 0.5
    """After which the clock of no other host is compared, until the next time."""

    def answer_timeout(self, count: int) -> float:
        """Seconds after which engines that have not answered do not answer.

        Args:
            count: How many were asked.
        """
        return max(self.answer, self.answer_each * count)

    def free_timeout(self, count: int) -> float:
        """Seconds after which engines that were not freed are stuck for good.

        Args:
            count: How many are freed.
        """
        return max(self.free, self.free_each * count)

    def repair_timeout(self, count: int) -> float:
        """Seconds that a repair of the group is given, whatever is pressed meanwhile.

        Args:
            count: Number of ranks.
        """
        return self.repair_factor * self.answer_timeout(count)
