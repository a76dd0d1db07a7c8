"""Looking at ranks: what each does, answered whatever their main threads do."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from rankbook.cluster.channel import Call, Channel, everyone
from rankbook.models import EngineFacts, GroupInfo, Look, RankState, how_ended, load
from rankbook.models.requests import ForgetError, LookAt, Request, SayStacks, SayState

__all__ = [
    "PAUSE",
    "answer_timeout",
    "forget_errors",
    "looks",
    "stacks",
    "states",
    "wait_until_idle",
]

_ANSWER_TIMEOUT = 1.0
"""Seconds for engines' control threads to answer."""

_TURN = 0.05
"""Seconds for each of many engines, which may share a few cores: then this is longer."""

PAUSE = 0.02
"""Seconds between two looks at engines that are about to become idle."""


def answer_timeout(count: int) -> float:
    """Seconds after which engines that have not answered do not answer.

    Args:
        count: How many were asked.
    """
    return max(_ANSWER_TIMEOUT, _TURN * count)


def states(
    channel: Channel,
    engines: Sequence[int],
    alive: Collection[int],
    ended: Mapping[int, int],
    groups: Mapping[int, GroupInfo],
    known: Mapping[int, EngineFacts],
) -> list[RankState]:
    """Ask engines what they do.

    Args:
        channel: To the engines.
        engines: Whom to ask.
        alive: Engines that the cluster knows.
        ended: How those ended that have.
        groups: By engine, the rank it is.
        known: Where engines stand, as far as they have said: told of who does not answer.

    Returns:
        One state per engine, in their order. Who does not answer has the state ``no answer``, who
        has ended ``gone``.
    """
    call = _ask(channel, SayState(), engines)

    def state(engine: int) -> RankState:
        if engine in call.values:
            return load(RankState, call.values[engine])
        where = known.get(engine)
        silent = RankState(
            engine,
            "no answer",
            groups.get(engine),
            host=where.host if where else "",
            pid=where.pid if where else 0,
        )
        if engine in alive and engine not in ended:
            return silent
        return replace(silent, state="gone", activity=how_ended(ended.get(engine)))

    return [state(engine) for engine in engines]


def looks(channel: Channel, engines: Sequence[int]) -> dict[int, Look]:
    """Look at what engines do, more closely; by engine, those that answer."""
    call = _ask(channel, LookAt(), engines)
    return {engine: load(Look, value) for engine, value in call.values.items()}


def stacks(channel: Channel, engines: Sequence[int]) -> dict[int, list[str]]:
    """Where the main threads of engines stand; by engine, those that answer."""
    call = _ask(channel, SayStacks(), engines)
    return dict(call.values)


def forget_errors(channel: Channel, engines: Collection[int]) -> None:
    """Have engines forget the error of their last cell: it was repaired, or was another's."""
    _ask(channel, ForgetError(), engines)


def wait_until_idle(channel: Channel, engines: Collection[int], timeout: float) -> set[int]:
    """Wait for engines to have nothing to do; return those that still have after ``timeout``."""
    deadline = time.monotonic() + timeout
    busy = set(engines)
    while busy and time.monotonic() < deadline:
        call = _ask(channel, SayState(), busy)
        busy -= {engine for engine, state in call.values.items() if state["state"] == "idle"}
        busy -= set(call.failures)
        if busy:
            time.sleep(PAUSE)
    return busy


def _ask(channel: Channel, request: Request, engines: Collection[int]) -> Call:
    """Ask engines for something that they answer at any time; who does not is not waited for."""
    call = channel.request(everyone(engines, request))
    channel.wait(call, answer_timeout(len(engines)))
    channel.forget(call)
    return call
