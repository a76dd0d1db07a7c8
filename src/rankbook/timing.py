"""The timing of a session: how long it waits for what, in one place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Clock", "Timing"]


class Clock(Protocol):
    """The part of :mod:`time` that a session needs."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def sleep(self, seconds: float, /) -> None:
        """Do nothing for a while."""


@dataclass(frozen=True)
class Timing:
    """How long a session waits for what, in seconds. Tests replace it as a whole."""

    clock: Clock = time
    """The clock for freeing, looking and repairing."""

    # -- asking ranks ------------------------------------------------------------------------

    answer: float = 1.0
    """For engines' control threads to answer."""
    answer_each: float = 0.05
    """For each of many engines, which may share a few cores: then this is longer."""
    reply: float = 10.0
    """For all engines to answer where nothing goes on without it: each may first import code."""
    adopt: float = 5.0
    """For joined engines to report which group they are in."""
    idle_poll: float = 0.02
    """Between two looks at engines that are about to become idle."""
    second_look: float = 0.25
    """Between two looks, for a requested diagnosis."""

    complete: float = 0.15
    """For the first rank to complete a name, while the user waits for it."""
    native: float = 15.0
    """For C++ frames: py-spy first reads the symbols of torch."""
    inspect: float = 0.3
    """For ranks to describe a name."""

    # -- freeing -----------------------------------------------------------------------------

    free: float = 5.0
    """After which engines count as stuck."""
    free_each: float = 0.2
    """For each of many engines, which may share a few cores: then this is longer."""
    free_round: float = 0.15
    """For an interrupt or a cut to take effect; then the ranks are looked at again."""
    free_again: float = 1.5
    """After which Python code that ignored an interrupt is interrupted again."""
    on_its_way: float = 0.1
    """After which no more data is expected over a silent connection."""

    # -- the group ---------------------------------------------------------------------------

    leave: float = 30.0
    """For engines to leave a group; ``destroy_global_state`` itself is bounded by less."""
    undo: float = 3.0
    """For engines to leave a group that failed to form."""
    form_margin: float = 5.0
    """Beyond the group's timeout, for the engines themselves to report which ranks are missing."""
    repair_factor: float = 3.0
    """For a repair of the group, in multiples of the time for answers."""

    # -- cells -------------------------------------------------------------------------------

    first_look: float = 0.7
    """Before the first look at a cell: most have ended by then."""
    likely: float = 5.0
    """For how long a cell has to stand likely, but not certainly, in vain before that is said."""
    look_waiting: float = 0.5
    """Between two looks while some rank waits for others."""
    look_beside_dead: float = 0.15
    """The same while some rank waits and another is dead."""
    look_busy: float = 1.0
    """The same while all ranks are busy and none waits."""
    others: float = 1.0
    """After a hang is proven, for awaited ranks that still run: a verdict that they may be part of,
    or change, is not given before."""
    silent: float = 7.0
    """Without an answer, after which a host is reported as silent. Nothing is ended then."""
    show: float = 3.0
    """For which Ctrl-C is ignored while output that has arrived is shown."""
    retire: tuple[float, ...] = (0.02, 0.1, 0.2)
    """Between looks until torch's recorder knows that a collective has ended."""

    # -- prompts -----------------------------------------------------------------------------

    ask: float = 0.15
    """After a rank has stopped, for others that are about to stop, too."""
    ask_again: float = 0.4
    """The same for ranks that were told to go on and may stop again at once."""
    asking: float = 0.02
    """Between two checks whether the user has answered."""

    # -- turns -------------------------------------------------------------------------------

    settle: float = 10.0
    """For an interrupted cell to end, and for its group to be re-created."""
    interrupt_again: float = 0.5
    """After which a cell that does not end is interrupted again."""
    turn_pause: float = 0.05
    """Between two checks whether the cell to interrupt has reached the ranks."""
    turn_poll: float = 0.005
    """Between two checks whether work is still needed."""
    replaced: float = 10.0
    """For a thread that waits for engines to notice that they were replaced."""
    stop: float = 30.0
    """For engines to stop, while Ctrl-C is ignored; local ones take one or two seconds."""

    # -- watching ----------------------------------------------------------------------------

    monitor: float = 1.0
    """Between two looks at ranks while nothing is known to have changed."""
    monitor_each: float = 0.04
    """The same for each of many ranks: a look at very many takes longer."""
    monitor_busy: float = 0.4
    """The same while the session is busy: ranks do not announce what they do."""
    monitor_settle: float = 0.3
    """After a change: a shorter cell needs no look."""
    last_look: float = 0.3
    """For the last look at the end of a session, which a silent rank delays."""
    forgotten: float = 75.0
    """After the last sign of a page that shows the session; it gives one every 30 s."""

    read: float = 5.0
    """For which a message of the dashboard stays at least."""
    compare_clocks: float = 0.5
    """After which the clock of no other host is compared, until the next time."""

    def answer_timeout(self, count: int) -> float:
        """Seconds after which engines that have not answered count as silent.

        Args:
            count: Number of engines that were asked.
        """
        return max(self.answer, self.answer_each * count)

    def free_timeout(self, count: int) -> float:
        """Seconds after which engines that were not freed count as stuck.

        Args:
            count: Number of engines that are freed.
        """
        return max(self.free, self.free_each * count)

    def repair_timeout(self, count: int) -> float:
        """Seconds for a repair of the group, while Ctrl-C is ignored.

        Args:
            count: Number of ranks.
        """
        return self.repair_factor * self.answer_timeout(count)
