"""Freeing ranks: make them idle, whatever they do, with their variables in place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rankbook.models import Look
from rankbook.models.requests import LASTING, Free, Initialize, Request
from rankbook.sessions.members import looks as looking
from rankbook.sessions.members.party import Party
from rankbook.timing import Timing

__all__ = ["Freed", "data_moves", "free"]


@dataclass(frozen=True)
class Freed:
    """The outcome of freeing."""

    was_busy: bool
    """Whether there was anything to free."""
    cut: bool
    """Whether connections were cut, which breaks the process group."""
    busy: frozenset[int] = frozenset()
    """Ranks that did not become idle."""
    looks: Mapping[int, Look] = field(default_factory=dict)
    """The last looks of those ranks; silent ones are missing."""


def free(party: Party, ranks: Collection[int], timeout: float | None = None) -> Freed:
    """End what ranks do.

    Python code gets a ``KeyboardInterrupt``. A collective that waits in C++ does not notice
    signals; it ends when the connections that it waits on are cut. They are cut on all ranks,
    because gloo passes the end on from rank to rank slowly or not at all. But gloo never wakes a
    thread that waits for the rest of a message: while data is arriving, only Python is
    interrupted, and stops after the collective. A thread that a cell left behind may have been cut
    amid its message; it stays until its group's timeout, and keeps no rank from being free. A rank
    that polls whether a collective is done runs Python, and is interrupted before a cut makes it
    look done. Either may come at a bad moment (between two waits, in code that catches everything),
    so the ranks are looked at and freed again. A rank that has yet to begin a request is not idle.

    Args:
        party: The live ranks of the group. Idle ranks that are not to be freed have their ends of
            the connections cut as well.
        ranks: The ranks to free.
        timeout: Seconds after which to give up; None: enough for that many ranks.
    """
    timing = party.timing
    ranks = set(ranks) & set(party)
    others = _idle(party.only(set(party) - ranks))
    if timeout is None:
        timeout = timing.free_timeout(len(ranks))
    deadline = timing.clock.monotonic() + timeout
    busy = set(ranks)
    was_busy = cut = False
    cut_at = math.inf
    seen: dict[int, Look] = {}
    signalled: dict[int, float] = {}
    while busy:
        seen = looking.looks(party.only(busy))
        stays = timing.clock.monotonic() - cut_at >= timing.free_again
        idle = {
            rank
            for rank, look in seen.items()
            if look.state == "idle" or (stays and _has_left_a_thread(look))
        }
        busy = (busy - idle) | (party.owing(LASTING) & ranks)
        was_busy = was_busy or bool(busy)
        now = timing.clock.monotonic()
        if not busy or now > deadline:
            break
        waiting = {rank for rank in busy if rank in seen and _waits(seen[rank])}
        # A rank that joins a group waits in Python for the others to come.
        joining = party.owing((Initialize.op,))
        in_c = {rank for rank in waiting if not seen[rank].polls} - joining
        on_its_way = not cut and any(data_moves(seen[rank], timing) for rank in waiting)
        at_once = bool(signalled) or cut or on_its_way
        # A signal that arrives while torch handles the cut, or IPython the exception, would do
        # harm; and Python may still do something useful (save a checkpoint, for example).
        again = timing.free_again
        due = {
            rank
            for rank in busy - idle
            if (at_once if rank in in_c else now - signalled.get(rank, -again) >= again)
        }
        # A handler of the code's own, which asks it to stop soon, was called before.
        insisting = waiting & signalled.keys()
        signalled |= dict.fromkeys(due | waiting, now)
        if waiting and not cut and not on_its_way:
            cut, cut_at = True, now
            # A rank may notice another's cut connections before its own are cut. It must know
            # that this is not an error.
            _ask(party, dict.fromkeys({*busy, *others}, Free()))
            polling = (due & waiting) - in_c
            if polling:  # after the cut each would see its collective as done, and go on
                _ask(party, dict.fromkeys(polling, Free(interrupt=True)))
                looking.wait_until_idle(party.only(polling), timing.free_round)
                due -= polling
        asked: dict[int, Request] = {
            rank: Free(rank in due, cut, rank in insisting) for rank in busy
        }
        asked |= dict.fromkeys(others - busy if cut else (), Free(cut=True))
        if cut or due:
            _ask(party, asked)
        still = looking.wait_until_idle(party.only(busy - idle), timing.free_round)
        busy = still | (busy & party.owing(LASTING))
        if busy and not still:
            timing.clock.sleep(timing.idle_poll)
    return Freed(was_busy, cut, frozenset(busy), dict(sorted(seen.items())))


def data_moves(look: Look, timing: Timing) -> bool:
    """Whether the data that a rank waits for is arriving, so that it only has to wait longer."""
    return bool(look.waiting) and look.silent is not None and look.silent < timing.on_its_way


def _waits(look: Look) -> bool:
    """Whether a rank waits in ``torch.distributed``, even in a thread that its cell left behind."""
    return look.state == "waiting" or _has_left_a_thread(look)


def _has_left_a_thread(look: Look) -> bool:
    """Whether nothing but a thread that a cell left behind is in ``torch.distributed``."""
    return look.state == "running" and look.cell is None and not look.line


def _idle(party: Party) -> set[int]:
    seen = looking.looks(party) if len(party) else {}
    return {rank for rank, look in seen.items() if look.state == "idle"}


def _ask(party: Party, requests: Mapping[int, Request]) -> None:
    call = party.request(requests)
    call.wait(party.timing.answer_timeout(len(requests)))
    call.forget()
