"""Freeing ranks: whatever they do, they are to be idle again, with their variables in place."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rankbook.cluster.channel import Channel, everyone
from rankbook.models import Look
from rankbook.models.requests import Free, Request
from rankbook.sessions import looking

__all__ = ["TIMEOUT", "Freed", "data_moves", "free"]

TIMEOUT = 5.0
"""Seconds after which engines count as stuck for good."""

_TURN = 0.2
"""Seconds for each of many engines, which may share a few cores: then this is longer."""

_ROUND = 0.15
"""Seconds for what was done to take effect; then it is looked again."""

_AGAIN = 1.5
"""Seconds after which Python that has been interrupted and goes on is interrupted again."""


_ON_ITS_WAY = 0.1
"""Seconds after which no more data is taken to come over a connection that has been silent."""

_FREED = ("run", "initialize")
"""What engines are asked for that may last: the rest ends by itself."""


@dataclass(frozen=True)
class Freed:
    """What came of it."""

    was_busy: bool
    """Whether there was anything to free."""
    cut: bool
    """Whether connections were cut: the process group is of no use any more."""
    busy: frozenset[int] = frozenset()
    """Engines that did not become idle."""
    looks: tuple[tuple[int, Look], ...] = ()
    """What those were seen to do, by engine; who did not answer is not among them."""


def free(
    channel: Channel,
    engines: Collection[int],
    others: Collection[int] = (),
    timeout: float | None = None,
) -> Freed:
    """End what engines do.

    Python gets a ``KeyboardInterrupt``. A collective that waits in C++ notices nothing of signals;
    it ends with the connections that it waits on, which are cut on all ranks, for gloo passes the
    end on from rank to rank only slowly or not at all. But gloo never wakes who waits for a message
    that is cut in two: while data is on its way, only Python is interrupted, and stops after the
    collective. Both may come at a bad moment (between two waits, in code that catches everything),
    so it is looked whether they have worked, and done again. An engine that has yet to begin with
    what it was asked for, meanwhile even, is not idle.

    Args:
        channel: To the engines.
        engines: Whom to free.
        others: Idle engines of the same group, whose ends of the connections are cut as well.
        timeout: Seconds after which to give up; None: long enough for so many.
    """
    if timeout is None:
        timeout = max(TIMEOUT, _TURN * len(engines))
    deadline = time.monotonic() + timeout
    busy = set(engines)
    was_busy = cut = False
    looks: dict[int, Look] = {}
    signalled: dict[int, float] = {}
    while busy:
        looks = looking.looks(channel, sorted(busy))
        idle = {engine for engine, look in looks.items() if look.state == "idle"}
        busy = (busy - idle) | (channel.owing(_FREED) & set(engines))
        was_busy = was_busy or bool(busy)
        now = time.monotonic()
        if not busy or now > deadline:
            break
        waiting = {e for e in busy if e in looks and looks[e].state == "waiting"}
        on_its_way = not cut and any(data_moves(looks[e]) for e in waiting)
        at_once = bool(signalled) or cut or on_its_way
        # A signal that arrives while torch handles the cut, or IPython the exception, would only
        # confuse; and what Python still does may be worth waiting for (it saves something, say).
        due = {
            e
            for e in busy - idle
            if (at_once if e in waiting else now - signalled.get(e, -_AGAIN) >= _AGAIN)
        }
        signalled |= dict.fromkeys(due | waiting, now)
        if waiting and not cut and not on_its_way:
            cut = True
            # One that notices the end of another's connections before its own are cut must know
            # that this is no error.
            _ask(channel, everyone({*busy, *others}, Free()))
        asked: dict[int, Request] = {engine: Free(engine in due, cut) for engine in busy}
        asked |= everyone(set(others) - busy if cut else (), Free(cut=True))
        if cut or due:
            _ask(channel, asked)
        still = looking.wait_until_idle(channel, busy - idle, _ROUND)
        busy = still | (busy & channel.owing(_FREED))
        if busy and not still:
            time.sleep(looking.PAUSE)
    return Freed(was_busy, cut, frozenset(busy), tuple(sorted(looks.items())))


def data_moves(look: Look) -> bool:
    """Whether what a rank waits for is on its way: then it has only to wait for longer."""
    return bool(look.waiting) and look.silent is not None and look.silent < _ON_ITS_WAY


def _ask(channel: Channel, asked: Mapping[int, Request]) -> None:
    call = channel.request(asked)
    channel.wait(call, looking.answer_timeout(len(asked)))
    channel.forget(call)
