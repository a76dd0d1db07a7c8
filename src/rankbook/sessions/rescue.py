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
from rankbook.diagnosis import diagnose
from rankbook.errors import RankbookError, SessionError, StuckError
from rankbook.interrupts import undisturbed
from rankbook.models import Diagnosis, Failure, Look, how_ended
from rankbook.ranks import said
from rankbook.sessions import looking, outcomes
from rankbook.sessions.freeing import Freed, data_moves, free
from rankbook.sessions.generations import Generations, how_to_replace
from rankbook.sessions.results import CellResult

__all__ = ["Rescue", "patience"]

_MENDING = 3.0
"""What the group is given to be made again, in multiples of what engines are given to answer."""

_SECOND_LOOK = 0.25
"""Seconds between two looks, for a diagnosis that is asked for."""


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
        looks = self.look()
        if any(look.waiting for look in looks.values()):
            # Who was seen in a collective may have been on its way through it.
            time.sleep(_SECOND_LOOK)
            looks = {
                rank: replace(look, state="running", waiting=None)
                if look.waiting and look.still < _SECOND_LOOK / 2
                else look
                for rank, look in self.look().items()
            }
        engines = self._generations.placed().engines
        return diagnose(self.complete(engines, looks, progress))

    def look(self) -> dict[int, Look]:
        """By rank, where those are that live and answer."""
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
            if time.monotonic() - self._mending < patience(engines):
                return Freed(was_busy=False, cut=False)
            placement = self._generations.placement
            there = set(self._generations.alive)
            alive = [e for e in engines if e in there]
            placed = [e for e in placement.engines if e in there] if placement else []
            freed = free(self._pool.channel, alive, self._idle_among(placed, alive))
            if freed.cut:
                self.condemn()
            return freed

    def wait(self) -> None:
        """Wait until ranks that another thread frees just now are free."""
        with self._freeing:
            pass

    def make_whole(self) -> None:
        """Make the group again, if an interrupt has cut it and some rank did not let go then.

        Raises:
            SessionError: Some rank has not let go yet, or it could not be made again.
        """
        if not self.is_cut or self._generations.dead_ranks:
            return
        busy = {rank: look for rank, look in self.look().items() if look.state != "idle"}
        if busy:
            where = "; ".join(_where([r], its.line or its.state) for r, its in sorted(busy.items()))
            raise SessionError(
                f"The group's connections were cut, and {where} since then: interrupt again, or "
                f"{how_to_replace(busy)} replaces {said(busy)} and keeps the others."
            )
        said_of_it = self.mend()
        if not self._generations.groups:
            raise SessionError(said_of_it)

    @property
    def is_cut(self) -> bool:
        """Whether connections of the present group were cut; earlier ones are forgotten."""
        return bool(self._cut) and self._cut == self._generations.number

    def condemn(self) -> None:
        """Say that the present group is of no use, whether or not any connection of it was cut."""
        self._cut = self._generations.number

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
            with undisturbed(patience(self._generations.alive)):
                self._generations.initialize()
        except RankbookError as error:
            return f"The group could not be made again: {error}"
        finally:
            self._mending = -math.inf
        return (
            f"The ranks are free, their variables in place, and the group is made again "
            f"(generation {self._generations.number})."
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

    # ----------------------------------------------------------------------------------------

    def _idle_among(self, placed: Collection[int], freed: Collection[int]) -> list[int]:
        others = [engine for engine in placed if engine not in freed]
        looks = looking.looks(self._pool.channel, others) if others else {}
        return [engine for engine, look in looks.items() if look.state == "idle"]

    def _until(self, look: Look) -> str:
        """When a rank that did not let go does so by itself, if that is known; in brackets."""
        if data_moves(look):
            return " (data is on its way: it ends when that has come)"
        if look.waiting and self.is_cut:  # of gloo's: nothing wakes who waits for half a message
            minutes = self._generations.timeout_minutes
            return f" (it lets go after the group's timeout, {minutes:g} min)"
        return ""


def patience(engines: Collection[int]) -> float:
    """Seconds that the group is given to be made again, whatever is pressed meanwhile."""
    return _MENDING * looking.answer_timeout(len(engines))


def _where(ranks: Sequence[int], place: str) -> str:
    """``ranks 0-2 are at line 3: f(x)``; of those without a place, that they do not answer."""
    be, do = ("is", "does") if len(ranks) == 1 else ("are", "do")
    return f"{said(ranks)} {f'{be} at {place}' if place else f'{do} not answer'}"
