"""Looking at ranks: what each does, answered whatever its main thread does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rankbook.diagnosis import diagnose as verdict_on
from rankbook.models import Diagnosis, Failure, GroupInfo, Look, RankState, load
from rankbook.models.requests import ForgetError, LookAt, SayStacks, SayState
from rankbook.sessions.members import outcomes
from rankbook.sessions.members.members import Members
from rankbook.sessions.members.party import Party
from rankbook.words import how_ended

__all__ = [
    "Progress",
    "complete",
    "diagnose",
    "forget_errors",
    "looks",
    "stacks",
    "states",
    "wait_until_idle",
]

Progress = Mapping[int, "Failure | str | None"]
"""By rank that was asked to run the present cell, the exception that ended it there, None if it
went well, or :data:`rankbook.sessions.members.outcomes.PENDING`."""


def looks(party: Party) -> dict[int, Look]:
    """Look at what ranks do; by rank, those that answer."""
    return {rank: load(Look, value) for rank, value in party.look(LookAt()).values.items()}


def stacks(party: Party) -> dict[int, list[str]]:
    """By rank, the main thread's Python stack, of those that answer."""
    return dict(sorted(party.look(SayStacks()).values.items()))


def forget_errors(party: Party) -> None:
    """Have ranks forget the error of their last cell: it was repaired, or another rank's."""
    party.look(ForgetError())


def states(members: Members, groups: Mapping[int, GroupInfo]) -> list[RankState]:
    """Ask every engine what it does.

    Args:
        members: The ranks and the other engines.
        groups: By rank, its place in the group: shown of a rank that does not answer.

    Returns:
        One state per rank, by rank, then one per engine that is no rank. An engine that does not
        answer has the state ``no answer``, one that has ended ``gone``.
    """
    everyone = members.seated() | members.spares()
    call = members.party(everyone).look(SayState())

    def state(number: int, engine: int) -> RankState:
        if number in call.values:
            return load(RankState, call.values[number])
        where = members.known.get(engine)
        silent = RankState(
            engine,
            "no answer",
            groups.get(number),
            host=where.host if where else "",
            pid=where.pid if where else 0,
        )
        if members.lives(engine):
            return silent
        return replace(silent, state="gone", activity=how_ended(members.ended.get(engine)))

    return [state(number, engine) for number, engine in everyone.items()]


def wait_until_idle(party: Party, timeout: float) -> set[int]:
    """Wait for ranks to have nothing to do; return those that still have after ``timeout``."""
    timing = party.timing
    deadline = timing.clock.monotonic() + timeout
    busy = set(party)
    while busy and timing.clock.monotonic() < deadline:
        call = party.only(busy).look(SayState())
        busy -= {rank for rank, state in call.values.items() if state["state"] == "idle"}
        busy -= set(call.failures)
        if busy:
            timing.clock.sleep(timing.idle_poll)
    return busy


def diagnose(members: Members, progress: Progress) -> Diagnosis:
    """Look at all ranks and say what they do or wait for.

    Raises:
        SessionError: There was no group yet.
    """
    members.placed()
    seen = looks(members.living())
    if any(look.waiting for look in seen.values()):
        # A rank that was seen in a collective may have been on its way through it.
        pause = members.timing.second_look
        members.timing.clock.sleep(pause)
        seen = {
            rank: replace(look, state="running", waiting=None)
            if look.waiting and look.still < pause / 2
            else look
            for rank, look in looks(members.living()).items()
        }
    return verdict_on(complete(members, members.ranks(), seen, progress))


def complete(
    members: Members, party: Party, seen: Mapping[int, Look], progress: Progress
) -> dict[int, Look]:
    """Add what ranks cannot say themselves: which raised, has ended, does not answer.

    Args:
        members: Knows who lives.
        party: All ranks, as they were when the present cell began.
        seen: By rank, the looks of those that answered.
        progress: What has become of the present cell.
    """
    found = {}
    for rank, engine in party.engines.items():
        look = seen.get(rank)
        if engine in members.ended:
            line, words = outcomes.post_mortem(members.last_words(engine))
            ended = how_ended(members.ended[engine])
            found[rank] = Look("gone", line, ended=ended, last_words=words)
        elif not members.lives(engine):
            found[rank] = Look("gone", ended=how_ended(None))
        elif look is None:
            found[rank] = Look("no answer")
        else:
            found[rank] = outcomes.with_outcome(look, progress[rank]) if rank in progress else look
    return found
