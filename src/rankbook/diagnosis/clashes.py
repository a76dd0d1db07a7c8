"""Calls that keep each other from completing, and the sentence about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankbook.diagnosis.calls import (
    COMPLEMENT,
    classes,
    elements,
    family,
    group,
    is_p2p,
    name,
    slot,
)
from rankbook.diagnosis.phrases import number, reduces, root, with_tensors
from rankbook.diagnosis.waits import calls_at
from rankbook.diagnosis.wording import Words, outside_majority
from rankbook.models import Collective, Look
from rankbook.words import sentence_start

__all__ = ["Clash", "clash", "fatal", "mismatch"]

_Calls = Mapping[int, Collective]


@dataclass(frozen=True)
class Clash:
    """Calls of several ranks that keep each other from completing."""

    calls: _Calls
    sorts: Sequence[tuple[int, ...]]
    """The ranks whose calls are the same, together; empty if these ought not to be one call."""
    culprits: tuple[int, ...]


def clash(calls: _Calls, *, on_gloo: bool = False) -> Clash:
    """Tell who differs from the majority; without one, it is all.

    Ranks that wait for each other in calls that ought not to be the same have no majority.
    """
    sorts = classes(calls, on_gloo=on_gloo)
    one_group = len({group(call) for call in calls.values()}) == 1
    if len(sorts) == 1 or not one_group or any(map(is_p2p, calls.values())):
        return Clash(calls, (), tuple(sorted(calls)))
    return Clash(calls, sorts, outside_majority(sorts))


def fatal(looks: Mapping[int, Look], gone: Sequence[int]) -> Clash | None:
    """Find calls of ranks that have ended, and of others, that did not match; None if all did.

    Gloo ends a process that is sent more than it expects.
    """
    for rank in gone:
        look = looks[rank]
        last = look.waiting or next((call for call in look.recent[-1:] if not call.done), None)
        if last is None:
            continue
        if place := slot(last):
            found = clash(calls_at(looks, place), on_gloo="SIGABRT" in look.ended)
            if found.sorts:
                return found
        elif is_p2p(last):
            ends = _ends(looks, rank, last)
            if len({(elements(call), call.dtypes) for call in ends.values()}) > 1:
                return Clash(ends, (), tuple(sorted(ends)))
    return None


def _ends(looks: Mapping[int, Look], rank: int, call: Collective) -> _Calls:
    """A send or recv of a rank, and the call that it met, if one rank's alone can be that."""
    found = {
        other: recent
        for other, look in looks.items()
        for recent in look.recent
        if call.peer in (other, None)
        and (family(recent.op), recent.peer) == (COMPLEMENT[family(call.op)], rank)
        and (recent.tag, group(recent)) == (call.tag, group(call))
        and (recent.seq == call.seq or call.peer is None)
    }
    return {rank: call} | (found if len(found) == 1 else {})


def mismatch(words: Words, found: Clash) -> str:
    """Say which calls do not match, or who waits for each other."""
    calls, sorts = found.calls, found.sorts
    if not sorts and (ends := _of_other_tags(calls)):
        sends, receives = ends
        one, other = words.do([sends], "send"), words.do([receives], "receive")
        tag, instead = calls[sends].tag, calls[receives].tag
        return (
            f"{sentence_start(one)} to {receives} with tag {tag}{words.at([sends])}, "
            f"where {other} from {sends} with tag {instead}{words.at([receives])}."
        )
    if not sorts and (ends := _of_other_sizes(calls)):
        sends, receives = ends
        one, other = words.do([sends], "send"), words.do([receives], "receive")
        at = {rank: words.at_call(rank, calls[rank]) for rank in ends}
        return (
            f"{sentence_start(one)}{with_tensors(calls[sends]).removeprefix(' with')} to "
            f"{receives}{at[sends]}, where {other}"
            f"{with_tensors(calls[receives]).removeprefix(' with')}{at[receives]}."
        )
    if not sorts:
        return f"{sentence_start(words.do(calls, 'wait'))} for each other: {words.waiting(calls)}."
    others = next((ranks for ranks in sorts if ranks[0] not in found.culprits), None)
    if others and len(sorts) == 2:  # noqa: PLR2004 - those and the odd ones
        [odd] = [ranks for ranks in sorts if ranks != others]
        return _odd_ones(words, calls, odd, others)
    return _all_different(words, calls, sorts)


def _of_other_tags(calls: _Calls) -> tuple[int, int] | None:
    """Who sends and who receives, if two ranks would be each other's but for the tags."""
    if len(calls) != 2:  # noqa: PLR2004 - a send and a recv
        return None
    ends = {family(call.op): rank for rank, call in calls.items()}
    if ends.keys() != {"send", "recv"}:
        return None
    sends, receives = ends["send"], ends["recv"]
    given, taken = calls[sends], calls[receives]
    are_of_one = group(given) == group(taken) and None not in (given.tag, taken.tag)
    face = given.peer == receives and taken.peer in (sends, None)
    return (sends, receives) if are_of_one and face and given.tag != taken.tag else None


def _of_other_sizes(calls: _Calls) -> tuple[int, int] | None:
    """Who sends and who receives, if only what they give and take differs."""
    ends = {family(call.op): rank for rank, call in calls.items()}
    if len(calls) != 2 or ends.keys() != {"send", "recv"}:  # noqa: PLR2004 - a send and a recv
        return None
    sends, receives = ends["send"], ends["recv"]
    given, taken = calls[sends], calls[receives]
    differ = (elements(given), given.dtypes) != (elements(taken), taken.dtypes)
    face = given.peer == receives and taken.peer in (sends, None)
    return (sends, receives) if differ and face else None


def _odd_ones(words: Words, calls: _Calls, odd: tuple[int, ...], others: tuple[int, ...]) -> str:
    one, other = _best_known(calls, odd), _best_known(calls, others)
    called = f"{name(one.op)}{number(one)}"
    if family(one.op) == family(other.op):
        given, instead = _given(one, [other]), f"it{_given(other, [one])}"
    else:
        given, instead = root(one), f"{name(other.op)}{number(other)}{root(other)}"
    (here, there), shared = _places(words, calls, [odd, others])
    some, most = words.do(odd, "call"), words.do(others, "call")
    return (
        f"{sentence_start(some)} {called}{given}{words.members(one)}{here}, "
        f"where {most} {instead}{there}{shared}."
    )


def _all_different(words: Words, calls: _Calls, sorts: Sequence[tuple[int, ...]]) -> str:
    known = [_best_known(calls, ranks) for ranks in sorts]
    one = known[0]
    if len({family(call.op) for call in known}) == 1:
        what = f"{name(one.op)}{number(one)}{words.members(one)} differently"
        given = [_given(call, known) for call in known]
    else:
        shared = number(one) if len({call.seq for call in known}) == 1 else ""
        what = f"different collectives{' as' if shared else ''}{shared}{words.members(one)}"
        own = ["" if shared else number(call) for call in known]
        given = [
            f" {name(call.op)}{part}{root(call)}" for call, part in zip(known, own, strict=True)
        ]
    places, at_all = _places(words, calls, sorts)
    alike: dict[str, tuple[int, ...]] = {}
    for ranks, part, at in zip(sorts, given, places, strict=True):
        alike[part + at] = (*alike.get(part + at, ()), *ranks)
    of = {ranks: part for part, ranks in alike.items()}
    items = words.listed(list(of), lambda ranks: f"{words.ranks(ranks)}{of[ranks]}", "others")
    return f"{sentence_start(words.do(calls, 'call'))} {what}: {items}{at_all}."


def _best_known(calls: _Calls, ranks: tuple[int, ...]) -> Collective:
    """Of calls that are alike, the one of which most is known."""
    return max(
        (calls[rank] for rank in ranks), key=lambda call: len(root(call) + with_tensors(call))
    )


def _given(call: Collective, others: Sequence[Collective]) -> str:
    """In what a call differs from others of the same function: root, tensors, reduce operation."""
    return "".join(
        say(call)
        for say in (root, with_tensors, reduces)
        if any(say(other) != say(call) for other in others)
    )


def _places(words: Words, calls: _Calls, sorts: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """Where each group of ranks stands, and where all of them do, if that is one line."""
    places = [_at(words, calls, ranks) for ranks in sorts]
    stem = min(places, key=len).removesuffix(")")  # the text of the line is not always known
    if all(place.removesuffix(")") == stem or place.startswith(f"{stem}: ") for place in places):
        return [""] * len(places), max(places, key=len)
    return places, ""


def _at(words: Words, calls: _Calls, ranks: tuple[int, ...]) -> str:
    """Where the first of some ranks called that, with a space before it."""
    return next((at for rank in ranks if (at := words.at_call(rank, calls[rank]))), "")
