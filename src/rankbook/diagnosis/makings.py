"""Process groups that ranks make differently: of other members, or under other names.

torch names a group by a number that each rank counts for itself, and the members of a group find
each other by its name. So a rank that has made a group more, or of other ranks, meets nobody, or
the wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from rankbook.diagnosis.meetings import together
from rankbook.diagnosis.phrases import shortened
from rankbook.diagnosis.wording import Words, grouped, outside_majority
from rankbook.models import Collective, Diagnosis, Look
from rankbook.models.calls import Making
from rankbook.words import agree, sentence_start

__all__ = [
    "HALF_MADE",
    "Misfit",
    "destroyed_at",
    "has_come",
    "hint",
    "is_half_made",
    "misfit",
    "sentence",
    "unlike",
]

_ORDER = (
    "Every rank of the world must make the same groups in the same order, also groups that it will "
    "not be in; torch numbers them on each rank by itself."
)

HALF_MADE = (
    "The ranks make the group in different ways. Often torch's debug level differs between them "
    "(TORCH_DISTRIBUTED_DEBUG, set_debug_level): with DETAIL a rank makes a second group beside it."
)

_BACKEND = "All ranks must make a group with the same backend."

_STANDING = {"idle", "waiting", "gone"}
"""States of ranks whose script has ended, or waits for others."""

_MOMENT = 2.0
"""Seconds without a movement after which a script that ends seems to be stuck in that."""

_AT_REST = 2.0
"""Seconds without a movement after which a group that others have is not coming about any more."""


@dataclass(frozen=True)
class Misfit:
    """Groups of several ranks that ought to be one."""

    made: Mapping[int, Making]
    culprits: tuple[int, ...]
    """Those that differ from the majority; without one, all."""

    @property
    def by_backend(self) -> bool:
        """Whether the groups differ in their backends alone."""
        return len({(making.name, making.ranks) for making in self.made.values()}) == 1

    @property
    def of_one_name(self) -> bool:
        """Whether the name is the same, and the members are not."""
        return len({making.name for making in self.made.values()}) == 1


def has_come(look: Look, waiter: Look, call: Collective) -> bool:
    """Whether a rank has come to the making of a group in which another one waits."""
    awaited = _named(waiter, call.group)
    found = _named(look, call.group, awaited.epoch if awaited else None)
    if found is None or call.meets is None or found.meets is None:
        return found is not None
    return together(call.meets, found.meets)


def is_half_made(looks: Mapping[int, Look], rank: int, call: Collective) -> bool:
    """Whether a rank waits in the making of a group that has come about on the ranks it is of."""
    awaited = _named(looks[rank], call.group)
    if not call.makes or awaited is None:
        return False
    others = [looks[other] for other in call.ranks if other in looks]
    resting = [look for look in others if _rests_in(look, call)]
    rest = [look for look in others if look not in resting]
    made = [_named(look, call.group, awaited.epoch) for look in rest]
    is_whole = len(others) == len(call.ranks) and looks[rank] in resting
    return is_whole and bool(made) and all(each is not None and each.done for each in made)


def _rests_in(look: Look, call: Collective) -> bool:
    """Whether a rank waits in the making of a group, and has not moved for a while."""
    waits = look.waiting is not None and look.waiting.makes and look.waiting.group == call.group
    return waits and look.still >= _AT_REST


def destroyed_at(look: Look, waiter: Look, call: Collective) -> str:
    """Where a rank has destroyed the group of a call in which another one waits; empty: not yet."""
    awaited = _named(waiter, call.group)
    found = _named(look, call.group, awaited.epoch if awaited else None)
    return "" if found is None or _is_ending(look, found.destroyed) else found.destroyed


def _is_ending(look: Look, destroyed: str) -> bool:
    """Whether the script of a rank may be about to end: many destroy the group in their last line.

    Then the rank is in that line yet, or has none any more. In a moment it is known what it does:
    it goes on, has ended, or has raised an exception.
    """
    is_there = look.line == "" or _place(look.line) == _place(destroyed)
    moves = look.state not in _STANDING and look.still < _MOMENT
    return look.is_script and moves and is_there


def _place(line: str) -> str:
    """Of ``train.py:6 in step, called from cell 2 line 1: f(x)`` what comes first."""
    return line.partition(": ")[0].partition(",")[0]


def misfit(
    looks: Mapping[int, Look], rank: int, call: Collective, stuck: Collection[int] = ()
) -> Misfit | None:
    """Find how ranks have made the group differently in which a rank waits; None if they did not.

    Args:
        looks: Of all ranks.
        rank: One that waits.
        call: What it waits in: a call of the group, or that which makes it.
        stuck: Ranks that wait in vain, as far as they are known.
    """
    own = _named(looks[rank], call.group)
    if own is None:
        return None
    made = {rank: own}
    for other, look in looks.items():
        making = _named(look, own.name, own.epoch)
        if making is None and call.makes and other in own.ranks:
            is_over = look.state == "idle" or other in stuck
            making = _under_way(look, own)
            if making is None and is_over:
                making = _left_behind(look, looks[rank], own)
        if making is not None:
            made[other] = making
    return _misfit(made)


def unlike(made: Mapping[int, Making]) -> Diagnosis | None:
    """Say how ranks have made a group differently that has come about all the same.

    Args:
        made: By rank, what it made.

    Returns:
        A verdict of the kind ``mismatch``; None if all have made the same.
    """
    found = _misfit(made)
    if found is None:
        return None
    words = Words({}, past=True)
    per_rank = {
        rank: f"made group {_number(making)} of {words.ranks(making.ranks)}{_at(making)}"
        for rank, making in sorted(made.items())
    }
    summary = sentence(words, found)
    return Diagnosis("mismatch", found.culprits, summary, per_rank, hint=hint(found))


def _misfit(made: Mapping[int, Making]) -> Misfit | None:
    sorts = _sorts(made)
    return Misfit(made, outside_majority(sorts)) if len(sorts) > 1 else None


def _sorts(made: Mapping[int, Making]) -> list[tuple[int, ...]]:
    """The ranks that have made the same group, together."""
    sorts = grouped(made, lambda each: (made[each].name, made[each].ranks))
    if len(sorts) > 1 or not _are_strange(made.values()):
        return sorts
    return grouped(made, lambda each: made[each].backends)


def _are_strange(made: Iterable[Making]) -> bool:
    """Whether the backends of some two are different on every device that both have."""
    of = [dict(re.findall(r"(\w+):(\w+)", making.backends)) for making in made]
    return any(
        bool(shared := one.keys() & other.keys())
        and all(one[device] != other[device] for device in shared)
        for one, other in combinations(of, 2)
    )


def hint(found: Misfit) -> str:
    """What must be the same."""
    return _BACKEND if found.by_backend else _ORDER


def sentence(words: Words, found: Misfit) -> str:
    """Say who has made which group, and where."""

    def say(ranks: tuple[int, ...]) -> str:
        making = found.made[ranks[0]]
        if found.by_backend:
            used = "+".join(sorted(set(re.findall(r":(\w+)", making.backends))))
            return f"{words.do(ranks, 'make')} it with backend {used}{_at(making)}"
        if found.of_one_name:
            return f"{words.do(ranks, 'make')} it of {words.ranks(making.ranks)}{_at(making)}"
        nth = f"{agree(ranks, 'its', 'their')} {_nth(making.nth)}"
        made = f"{words.do(ranks, 'make')} a group of {words.ranks(making.ranks)} as {nth}"
        return f"{made}{_at(making)}"

    made = found.made
    first, *others = _sorts(made)
    one = say(first)
    if found.by_backend:
        name = f"group {_number(made[first[0]])}"
        which = "the process group" if name == "group 0" else name
        one = one.replace(" it with ", f" {which} with ", 1)
    elif found.of_one_name:
        one = one.replace(" it of ", f" group {_number(made[first[0]])} of ", 1)
    return f"{sentence_start(one)}, where {words.listed(others, say, 'others')}."


def _named(look: Look, name: str, epoch: int | None = None) -> Making | None:
    """The latest group of a name that a rank has made, or makes."""
    found = [each for each in look.groups if each.name == name and epoch in (None, each.epoch)]
    return found[-1] if found else None


def _under_way(look: Look, own: Making) -> Making | None:
    """The group that a rank makes just now of the same members, under another name."""
    latest = look.groups[-1] if look.groups else None
    waits = look.waiting is not None and look.waiting.makes
    return (
        latest
        if latest and waits and not latest.done and set(latest.ranks) == set(own.ranks)
        else None
    )


def _left_behind(look: Look, waiter: Look, own: Making) -> Making | None:
    """The group of the same members, under another name, that a rank has made last.

    It thinks that it is done: it has met what an earlier group of that name has left in the store.
    A rank that can go on may still make one of the right name.
    """
    latest = look.groups[-1] if look.groups else None
    met = {each.name for each in waiter.groups if set(each.ranks) == set(own.ranks)}
    is_same = latest and latest.epoch == own.epoch and set(latest.ranks) == set(own.ranks)
    return latest if latest and is_same and latest.name not in met else None


def _at(making: Making) -> str:
    return f" ({shortened(making.line)})" if making.line else ""


def _number(making: Making) -> str:
    name = making.name.rpartition("/")[2]
    return name if name.isdigit() else "of a name"


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 % 10 != 1 else 0, "th")
    return f"{number}{ending}"
