"""Ranks that wait for each other before they have a group, at places or in numbers that differ."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rankbook.diagnosis.phrases import shortened
from rankbook.diagnosis.wording import Words, grouped, outside_majority
from rankbook.models import Collective, Look
from rankbook.models.calls import OPENS, SCRIPTS, Making
from rankbook.models.meetings import Meets
from rankbook.words import sentence_start

__all__ = [
    "SERVER",
    "Apart",
    "apart",
    "hint",
    "is_certain",
    "meets_of",
    "missing_from",
    "sentence",
    "together",
    "unanswered",
    "who_is_unanswered",
    "world",
]

_LOOPBACK = re.compile(r"^(localhost|127(\.\d+){3}|\[::1\])(?=:\d+$)")

_PLACE = (
    "Ranks meet only at one place: MASTER_ADDR and MASTER_PORT, the init_method or the store must "
    "be the same on every rank."
)
_PREFIX = "The PrefixStore around the store must have the same prefix on every rank."
_SIZE = "world_size (or WORLD_SIZE) must be the same on every rank: the number of all processes."
_NUMBER = "Each process needs a rank of its own (rank= or RANK), from 0 to world_size - 1."
_UNREACHABLE = (
    "MASTER_ADDR (or the host of init_method) must be a name or an address of rank 0's host that "
    "every rank can reach, and no firewall may close the port."
)
_OTHER_FILE = "The file must be the same on all ranks: in a file system that their hosts share."
SERVER = (
    "All ranks must open the store at the same host and port, one of them with is_master=True, and "
    "world_size must be the number of processes that open it."
)


_UNANSWERED = 5.0
"""Seconds after which ranks that have all come to a meeting, and stand still, do not meet there."""


@dataclass(frozen=True)
class Apart:
    """Ranks of which each waits for others that have come to another meeting.

    Attributes:
        claims: By rank, where it waits, or has made its group, and as which.
        made: Those that have made their group: they wait no longer.
        culprits: Those that differ from the majority; without one, all.
    """

    claims: Mapping[int, Meets]
    made: Mapping[int, Making]
    culprits: tuple[int, ...]
    call: Collective

    @property
    def places(self) -> set[str]:
        """The different places."""
        return {_place(claim) for claim in self.claims.values()}

    @property
    def sizes(self) -> set[int]:
        """The different numbers of ranks."""
        return {claim.size for claim in self.claims.values()}

    @property
    def prefixes(self) -> set[str | None]:
        """The different prefixes in the store, if all are known."""
        found = {claim.prefix for claim in self.claims.values()}
        return set() if None in found else found

    @property
    def is_by_number(self) -> bool:
        """Whether their own numbers show why they do not meet."""
        known = [claim.rank for claim in self.claims.values() if claim.rank is not None]
        if len(self.places) > 1 or len(self.sizes) > 1 or len(self.prefixes) > 1 or not known:
            return False
        return len(set(known)) < len(known) or 0 not in known


def meets_of(call: Collective) -> Meets | None:
    """Where a rank meets others by a call; None if it does not."""
    if call.meets is None and call.op == OPENS and call.entries:
        return Meets(call.entries[0])
    return call.meets


def world(ranks: Iterable[int], call: Collective) -> set[int]:
    """Which ranks may come to where one waits: of a script the ranks that run it."""
    return set(ranks) & set(call.ranks) if call.group.startswith(SCRIPTS) else set(ranks)


def together(one: Meets, other: Meets) -> bool:
    """Whether two ranks can meet."""
    same = _place(one) == _place(other) and (one.size == other.size or 0 in (one.size, other.size))
    same = same and (one.prefix == other.prefix or None in (one.prefix, other.prefix))
    return same and (one.rank is None or one.rank != other.rank)


def missing_from(rank: int, calls: Mapping[int, Collective], others: Iterable[int]) -> set[int]:
    """Who of others has not come to where a rank waits; nobody if it waits for nobody any more."""
    here, is_complete = _who_is_here(rank, calls)
    # Where all have come, and they are not those that are needed, none is left to come.
    return set() if is_complete else set(others) - here or set(others)


def _who_is_here(rank: int, calls: Mapping[int, Collective]) -> tuple[set[int], bool]:
    """Who has come to where a rank waits, itself included; and whether these are all."""
    claims = {each: claim for each in calls if (claim := meets_of(calls[each]))}
    own = claims[rank]
    here = {each for each, claim in claims.items() if each == rank or together(own, claim)}
    numbers = {claims[each].rank for each in here}
    count = len(numbers - {None}) + sum(claims[each].rank is None for each in here)
    return here, 0 in numbers and count >= max(own.size, 1)


def unanswered(rank: int, looks: Mapping[int, Look], calls: Mapping[int, Collective]) -> set[int]:
    """All who meet where a rank waits, if they have come and yet do not meet; else nobody.

    Args:
        rank: One that waits.
        looks: Of all ranks.
        calls: By rank that waits, what it waits in.
    """
    if calls[rank].makes or not meets_of(calls[rank]):
        return set()
    here, is_complete = _who_is_here(rank, calls)
    stand = is_complete and all(looks[each].still >= _UNANSWERED for each in here)
    return here if stand else set()


def apart(looks: Mapping[int, Look], stuck: Collection[int]) -> Apart | None:
    """Find ranks that do not meet although they have come; None if there are none.

    Args:
        looks: Of all ranks.
        stuck: Those that wait in vain.
    """
    calls = {rank: call for rank in stuck if (call := looks[rank].waiting) and meets_of(call)}
    if not calls:
        return None
    claims = {rank: claim for rank in calls if (claim := meets_of(calls[rank]))}
    made = _made(looks, stuck, calls)
    claims |= {rank: making.meets for rank, making in made.items() if making.meets}
    call = calls[min(calls)]
    if any(looks[rank].state != "waiting" for rank in world(looks, call) - claims.keys()):
        return None  # those that have not come at all are missing first
    are_known = all(claim.prefix is not None for claim in claims.values())

    def meeting(rank: int) -> tuple[object, ...]:
        claim = claims[rank]
        return _place(claim), claim.size, are_known and claim.prefix

    sorts = grouped(claims, meeting)
    found = Apart(claims, made, outside_majority(sorts), call)
    return found if len(sorts) > 1 or found.is_by_number or _lacks_server(found) else None


def is_certain(looks: Mapping[int, Look], found: Apart) -> bool:
    """Whether no process beside these ranks can be what one of them waits for.

    Whoever makes a group of as many as there are ranks, and has started no process, makes it of
    them. A rank alone may well serve a store for a program that is no rank, or wait for one that a
    program serves.
    """
    claims = found.claims
    if any(looks[rank].has_children for rank in claims) or len(claims) < 2:  # noqa: PLR2004
        return False
    numbers = [claim.rank for claim in claims.values()]
    count = len(world(looks, found.call))
    are_all = found.sizes == {count}
    if found.call.op == OPENS:
        return are_all and 0 in numbers
    return are_all or (len(found.places) == 1 and len(claims) == count)


def sentence(words: Words, found: Apart) -> str:
    """Say where each waits, and as what."""
    claims = found.claims

    def say(ranks: tuple[int, ...]) -> str:
        claim = claims[ranks[0]]
        size = f" with world_size {claim.size}" if len(found.sizes) > 1 else ""
        number = f" as rank {claim.rank}" if found.is_by_number else ""
        size = _below(claim) + size if len(found.prefixes) > 1 else size
        if ranks[0] in found.made:
            line = found.made[ranks[0]].line
            place = f" ({shortened(line)})" if line else ""
            return f"{words.ranks(ranks)} made a group at {claim.at}{size}{number}{place}"
        do = words.do(ranks, "wait")
        return f"{do} at {claim.at}{size}{number}{words.at(ranks)}"

    def key(rank: int) -> tuple[object, ...]:
        claim = claims[rank]
        number = claim.rank if found.is_by_number else None
        meeting = claim.at, claim.size, claim.prefix, number
        return (*meeting, words.at([rank]), rank in found.made)

    groups = grouped(claims, key)
    listed = words.listed(groups, say, "elsewhere")
    if _lacks_server(found):
        return (
            f"{sentence_start(words.do(claims, 'wait'))} for a store that no rank serves: {listed}."
        )
    do_not = "did not" if words.is_past else "do not"
    return f"{sentence_start(words.ranks(claims))} {do_not} meet in {found.call.op}: {listed}."


def who_is_unanswered(words: Words, ranks: Collection[int], call: Collective) -> tuple[str, str]:
    """Say where ranks wait that are all there and do not meet, and what it often is."""
    claim = meets_of(call)
    at = claim.at if claim else ""
    waits = f"{sentence_start(words.do(ranks, 'wait'))} for each other at {at}{words.at(ranks)}"
    none = f"none {'was' if words.is_past else 'is'} missing"
    if at.startswith(os.sep):
        do_not = "did not" if words.is_past else "do not"
        return f"{waits}, and {none}: they {do_not} see each other there.", _OTHER_FILE
    answers = "answered" if words.is_past else "answers"
    return f"{waits}, and {none}: nobody {answers} there.", _UNREACHABLE


def hint(found: Apart) -> str:
    """What it often is."""
    if found.call.op == OPENS:
        return SERVER
    if len(found.places) > 1:
        return _PLACE
    if len(found.prefixes) > 1:
        return _PREFIX
    return _SIZE if len(found.sizes) > 1 else _NUMBER


def _lacks_server(found: Apart) -> bool:
    """Whether all open the same store, and none serves it."""
    claims = found.claims.values()
    are_clients = found.call.meets is not None and all(claim.rank is None for claim in claims)
    return found.call.op == OPENS and are_clients and len(found.places) == 1


def _made(
    looks: Mapping[int, Look], stuck: Collection[int], calls: Mapping[int, Collective]
) -> dict[int, Making]:
    """The default groups that idle ranks have made of others, or elsewhere, in its stead."""
    found = {}
    for rank, look in looks.items():
        if rank in stuck or look.state != "idle":
            continue
        latest = next((each for each in reversed(look.groups) if each.meets), None)
        for waiter, call in calls.items():
            claim, epoch = meets_of(call), _epoch(looks[waiter])
            is_its = latest and claim and latest.done and latest.epoch == epoch
            if latest and claim and is_its and latest.meets and not together(claim, latest.meets):
                found[rank] = latest
    return found


def _epoch(look: Look) -> int:
    """That of the default group which a waiting rank makes, or is about to make."""
    making = look.waiting is not None and look.waiting.makes
    return max((each.epoch for each in look.groups), default=0) + (not making)


def _below(claim: Meets) -> str:
    return f" below the prefix {claim.prefix}" if claim.prefix else " without a prefix"


def _place(claim: Meets) -> str:
    """The same for all names of this host's loopback."""
    return _LOOPBACK.sub("localhost", claim.at)
