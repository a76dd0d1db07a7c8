"""Looking at ranks: what each does, answered while its main thread is busy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rankbook.diagnosis import diagnose as verdict_on
from rankbook.models import Diagnosis, Failure, GroupInfo, Look, load
from rankbook.models.frames import Standing
from rankbook.models.requests import ForgetError, GetFrames, GetStacks, LookAt
from rankbook.sessions.members import outcomes
from rankbook.sessions.members.members import Members
from rankbook.sessions.members.party import Party, RankCall

__all__ = [
    "Progress",
    "complete",
    "diagnose",
    "forget_errors",
    "looks",
    "observe",
    "stacks",
    "stacks_and_standings",
    "standings",
    "states",
    "wait_until_idle",
]

Progress = Mapping[int, "Failure | str | None"]
"""By rank that was asked to run the present cell, the exception that ended it there, None if it
went well, or :data:`rankbook.sessions.members.outcomes.PENDING`."""


def looks(party: Party, *, closely: bool = True, calls: bool = False) -> dict[int, Look]:
    """Look at what ranks do; by rank, those that answer.

    Args:
        party: Whom to look at.
        closely: As a diagnosis needs it; see :class:`~rankbook.models.requests.LookAt`.
        calls: As it needs it where ranks have ended.
    """
    values = party.look(LookAt(closely, calls)).values
    return {rank: load(Look, value) for rank, value in values.items()}


def stacks(party: Party) -> dict[int, list[str]]:
    """By rank, the main thread's Python stack, of those that answer."""
    return dict(sorted(party.look(GetStacks()).values.items()))


def standings(party: Party, *, native: bool = False) -> dict[int, Standing]:
    """By rank that answers, where its main thread stands, with local variables.

    Args:
        party: Whom to ask.
        native: With the frames of C++, where py-spy can read them.
    """
    call = party.request(GetFrames(native))
    call.wait(party.timing.native if native else party.timing.answer_timeout(len(party)))
    call.forget()
    return _standings(call)


def stacks_and_standings(party: Party) -> tuple[dict[int, list[str]], dict[int, Standing]]:
    """Both at once, to save time before the ranks are freed."""
    both = party.request(GetStacks()), party.request(GetFrames())
    for call in both:
        call.wait(party.timing.answer_timeout(len(party)))
        call.forget()
    return dict(sorted(both[0].values.items())), _standings(both[1])


def _standings(call: RankCall) -> dict[int, Standing]:
    return {rank: load(Standing, value) for rank, value in sorted(call.values.items())}


def forget_errors(party: Party) -> None:
    """Have ranks forget the error of their last cell: it was repaired, or is another rank's."""
    party.request(ForgetError()).forget()  # not awaited: whatever is asked next comes after it


def states(members: Members, groups: Mapping[int, GroupInfo]) -> list[Look]:
    """Ask every engine what it does.

    Args:
        members: The ranks and the other engines.
        groups: By rank, its place in the group, shown for a rank that does not answer.

    Returns:
        One look per rank, by rank, then one per engine that is no rank. An engine that does not
        answer has the state ``no answer``, one that has ended ``gone``.
    """
    everyone = members.seated() | members.spares()
    seen = looks(members.party(everyone), closely=False)
    return [
        seen[number] if number in seen else _unseen(members, engine, groups.get(number))
        for number, engine in everyone.items()
    ]


def _unseen(members: Members, engine: int, info: GroupInfo | None = None) -> Look:
    """What is known about an engine that has not answered."""
    where = members.known.get(engine)
    silent = Look(
        "no answer",
        engine=engine,
        info=info,
        host=where.host if where else "",
        pid=where.pid if where else 0,
    )
    if members.lives(engine):
        return silent
    return replace(silent, state="gone", ended=members.how_it_ended(engine))


def wait_until_idle(party: Party, timeout: float) -> set[int]:
    """Wait for ranks to become idle; return those that are still busy after ``timeout``."""
    timing = party.timing
    deadline = timing.clock.monotonic() + timeout
    busy = set(party)
    while busy and timing.clock.monotonic() < deadline:
        call = party.only(busy).look(LookAt())
        seen = {rank: load(Look, value) for rank, value in call.values.items()}
        busy -= {rank for rank, look in seen.items() if look.state == "idle"}
        busy -= set(call.failures)
        if busy:
            timing.clock.sleep(timing.idle_poll)
    return busy


def diagnose(members: Members, progress: Progress) -> Diagnosis:
    """Look at all ranks and say what they do or wait for.

    Raises:
        SessionError: There was no group yet.
    """
    return verdict_on(observe(members, progress), mesh=members.named_mesh)


def observe(members: Members, progress: Progress) -> dict[int, Look]:
    """Look at all ranks closely enough for a verdict.

    Raises:
        SessionError: There was no group yet.
    """
    members.placed()
    calls = bool(members.dead)
    seen = looks(members.living(), calls=calls)
    if any(look.waiting for look in seen.values()):
        # A rank that was seen in a collective may have been about to leave it.
        pause = members.timing.second_look
        members.timing.clock.sleep(pause)
        seen = {
            rank: replace(look, state="running", waiting=None)
            if look.waiting and look.still < pause / 2
            else look
            for rank, look in looks(members.living(), calls=calls).items()
        }
    return complete(members, members.ranks(), seen, progress)


def complete(
    members: Members, party: Party, seen: Mapping[int, Look], progress: Progress
) -> dict[int, Look]:
    """Add what ranks cannot report themselves: which raised, ended, or do not answer.

    Args:
        members: Tells which ranks live.
        party: All ranks, as they were when the present cell began.
        seen: By rank, the looks of those that answered.
        progress: How the present cell went, by rank; empty while this session runs none.
    """
    progress = progress or outcomes.inferred(seen)
    found = {}
    for rank, engine in party.engines.items():
        look = seen.get(rank)
        if look is None or not members.lives(engine):
            look = _unseen(members, engine)
        last = None if members.lives(engine) else members.last_calls(engine)
        if last is not None:
            look = outcomes.with_last_calls(look, last, members.generation, seen)
        if engine in members.ended:
            log = last.log if last else None
            # What it wrote before its latest cell does not explain its end.
            line, words = outcomes.post_mortem(members.last_words(engine) if log is None else log)
            look = replace(look, line=look.line or line, last_words=words)
        elif rank in progress:
            look = outcomes.with_outcome(look, progress[rank])
        found[rank] = look
    return found
