"""The verdict in a sentence, two at most; that about clashes is with these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rankbook.diagnosis.calls import COMPLEMENT, family, is_handle, is_p2p
from rankbook.diagnosis.phrases import keys, shortened
from rankbook.diagnosis.waits import Wait
from rankbook.diagnosis.wording import Words, grouped
from rankbook.models import Collective
from rankbook.models.calls import OPENS
from rankbook.words import agree, sentence_start

__all__ = [
    "Case",
    "dead",
    "destroyed",
    "left_out",
    "missing",
    "never_set",
    "raised",
    "raised_first",
    "running",
    "silent",
    "slow",
    "stopped",
    "strangers",
    "unclear",
]

_CHECK = (
    "Gloo ends a process when sizes or dtypes differ between ranks: "
    "%dist_init --check says so beforehand."
)
_CLOSED = (
    "It had closed descriptors that the process itself needs, as daemons do "
    "(os.closerange): close them in a process that it forks."
)
_SIGNS_OF_CLOSING = ("nfds != -1", "Bad file descriptor")
"""What gloo and ZeroMQ say last, whose descriptors were closed."""

_PLURAL = {"was": "were", "has": "have"}


@dataclass(frozen=True)
class Case:
    """A call in which some ranks wait for others."""

    culprits: tuple[int, ...]
    waiters: tuple[int, ...]
    call: Collective


def dead(words: Words, gone: Collection[int], case: Case | None) -> str:
    """Say how ranks ended, and who waited for them."""
    wait = ""
    if case:
        culprits = _them(gone) if len(case.culprits) == len(gone) else words.ranks(case.culprits)
        wait = (
            f" while {words.ranks(case.waiters)} waited for {culprits} "
            f"in {words.call(case.call)}{words.at(case.waiters)}"
        )
    aborted = any("SIGABRT" in words.looks[rank].ended for rank in gone)
    advice = _CHECK if aborted and (case or _were_cut_off(words)) else ""
    if any(sign in line for sign in _SIGNS_OF_CLOSING for line in _said_last(words, gone)):
        advice = _CLOSED
    return f"{_each(words, gone)}{wait}{_last_words(words, gone)}. {advice}".rstrip(" ")


def _said_last(words: Words, gone: Collection[int]) -> list[str]:
    return [line for rank in gone for line in words.looks[rank].last_words]


def _last_words(words: Words, gone: Collection[int]) -> str:
    for rank in sorted(gone):
        lines = [line for line in words.looks[rank].last_words if line.strip()]
        if lines:
            whose = agree(gone, "its last words", f"last words of rank {rank}")
            return f"; {whose}: {shortened(lines[-1])}"
    return ""


def _were_cut_off(words: Words) -> bool:
    """Whether a rank noticed in a collective that another ended."""
    return any("onnection closed" in look.raised for look in words.looks.values())


def left_out(
    words: Words, waiters: Collection[int], members: Iterable[int], call: Collective
) -> str:
    """Say that ranks wait for data in a collective, or for a group, that others are done with."""
    others = [rank for rank in members if rank not in waiters]
    had = "had" if words.is_past else "has"
    why = "" if call.makes else " for more data than was sent"
    return sentence_start(
        f"{words.do(waiters, 'wait')} in {words.call(call)}{words.at(waiters)}{why}: "
        f"it {had} ended on {words.ranks(others)}."
    )


def raised(words: Words, case: Case) -> str:
    """Say what ranks raised while others waited for them."""
    return f"{_each(words, case.culprits)}, and {_wait_for(words, case)}."


def raised_first(words: Words, culprits: Collection[int], calls: Mapping[int, Collective]) -> str:
    """Say what ranks raised that wait all the same, and in what the others wait."""
    errors = words.listed(
        grouped(culprits, lambda rank: f"{words.raising(rank)} {words.call(calls[rank])}"),
        lambda ranks: (
            f"{words.ranks(ranks)} {words.raising(ranks[0])} and then {words.verb('wait', ranks)} "
            f"in {words.call(calls[ranks[0]])}{words.at(ranks)}"
        ),
        "likewise",
    )
    others = {rank: call for rank, call in calls.items() if rank not in culprits}
    if others:
        return f"{sentence_start(errors)}; {words.waiting(others, verb=True)}."
    idle = [rank for rank, look in words.looks.items() if look.state == "idle"]
    why = f", which {words.ranks(idle)} never called: {_why_idle(words, idle)}" if idle else ""
    return f"{sentence_start(errors)}{why}."


def missing(words: Words, case: Case) -> str:
    """Say who is idle while others wait for them."""
    culprits, waiters = case.culprits, case.waiters
    subject, why = sentence_start(words.ranks(culprits)), _why_idle(words, culprits)
    if case.call.entries:
        wait = f"{words.do(waiters, 'wait')}{words.at(waiters)}"
        never = f"opened {words.call(case.call)}" if case.call.op == OPENS else ""
        return f"{subject} never {never or f'set {keys(case.call)}'}, for which {wait}: {why}."
    if is_handle(case.call):
        return f"{subject} will not come ({why}), and {_wait_for(words, case)}."
    call, at = words.call(case.call), words.at(waiters)
    wait = words.do(waiters, "wait")
    if is_p2p(case.call):
        part = COMPLEMENT[family(case.call.op)]
        never = f"{part}, for which {wait} in {call}{at}"
    else:
        never = f"{call}, in which {wait}{at}"
    return f"{subject} never called {never}: {why}."


def destroyed(words: Words, case: Case, place: str) -> str:
    """Say who has destroyed the group in which others wait, and where."""
    had = "" if words.is_past else agree(case.culprits, "has ", "have ")
    which = words.members(case.call).removeprefix(" of ")
    group = f"the group of {which}" if which.startswith("rank") else which or "the process group"
    group = f"the {group}" if which.startswith("group") else group
    return sentence_start(
        f"{words.ranks(case.culprits)} {had}destroyed {group} ({shortened(place)}), and "
        f"{_wait_for(words, case)}."
    )


def never_set(words: Words, waits: Mapping[int, Wait], ranks: Iterable[int]) -> str:
    """Say that ranks wait for keys, and that no other rank is left to set them."""
    ranks = list(ranks)
    groups = grouped(ranks, lambda rank: (waits[rank].call.entries, words.at([rank])))
    items = words.listed(
        groups,
        lambda same: f"{words.do(same, 'wait')} for {keys(waits[same[0]].call)}{words.at(same)}",
        "wait for others",
    )
    return f"{sentence_start(items)}: no rank sets {agree(ranks, 'it', 'that')}."


def strangers(words: Words, case: Case) -> str:
    """Say that ranks make a group with others that do not exist."""
    is_are = agree(case.culprits, "is no rank", "are no ranks")
    return sentence_start(
        f"{words.do(case.waiters, 'wait')} in {words.call(case.call)}{words.at(case.waiters)} for "
        f"{words.ranks(case.culprits)}, which {is_are} of this session."
    )


def _why_idle(words: Words, ranks: Collection[int]) -> str:
    """Whether idle ranks have run the cell to its end, or were not given it."""
    if all(words.looks[rank].line for rank in ranks):
        return words.ended(ranks)
    return words.runs_none(len(ranks))


def slow(words: Words, case: Case) -> str:
    """Say who still runs while others wait for them."""
    if words.is_past:
        was = words.listed(
            grouped(case.culprits, words.place), words.was_computing, "were still computing"
        )
        return (
            f"{sentence_start(was)}, {words.do(case.waiters, 'wait')} for {_them(case.culprits)} "
            f"in {words.call(case.call)}."
        )
    looks = words.looks
    groups = grouped(case.culprits, lambda rank: (looks[rank].line, looks[rank].handles))

    def say(ranks: tuple[int, ...]) -> str:
        runs = f"{agree(ranks, 'still runs', 'still run')}{words.at(ranks)}"
        if looks[ranks[0]].handles:  # a fallback, or one more attempt
            runs = f"{words.raising(ranks[0])} and {runs}"
        return f"{words.ranks(ranks)} {runs}"

    run = words.listed(groups, say, "still run")
    return f"{sentence_start(run)}; {_have_waited(words, case)}."


def stopped(words: Words, case: Case) -> str:
    """Say who stands at a prompt while others wait for it."""
    groups = grouped(case.culprits, words.does)
    stand = ", ".join(f"{words.ranks(ranks)} {words.stands(ranks)}" for ranks in groups)
    return f"{sentence_start(stand)}; {_have_waited(words, case)}."


def silent(words: Words, ranks: Collection[int], case: Case | None) -> str:
    """Say who gives no answer, and who waits for them."""
    wait = f"; {_have_waited(words, case)}" if case else ""
    return f"{sentence_start(words.ranks_do(ranks, 'does not', 'do not'))} answer{wait}."


def unclear(words: Words, waits: Mapping[int, Wait], stuck: Collection[int]) -> str:
    """Say who is stuck where no culprit can be named."""
    subject, they = sentence_start(words.ranks(stuck)), agree(stuck, "it", "they")
    items = words.waiting({rank: waits[rank].call for rank in stuck})
    cannot = "could not" if words.is_past else "cannot"
    what = f"what {they} {words.verb('wait', stuck)} for"
    return f"{subject} {cannot} go on, but too little is known of {what}: {items}."


def running(words: Words, waits: Mapping[int, Wait], runners: Iterable[int]) -> str:
    """Say what ranks do that can all go on."""
    under_way = {rank: wait.call for rank, wait in waits.items() if not wait.needs}
    behind = {rank: wait.call for rank, wait in waits.items() if wait.needs}
    parts = []
    if words.is_past and (runs := grouped(runners, words.place)):
        parts.append(words.listed(runs, words.was_computing, "were computing"))
    elif runs := grouped(runners, lambda rank: words.looks[rank].line):
        parts.append(
            words.listed(runs, lambda ranks: f"{words.ranks(ranks)} {words.runs(ranks)}", "run")
        )
    stopped = (rank for rank, look in words.looks.items() if look.state == "stopped")
    groups = grouped(stopped, words.does)
    parts += [f"{words.ranks(ranks)} {words.stands(ranks)}" for ranks in groups]
    if under_way:
        none = f"no rank {words.verb('be', [0])} missing"
        parts.append(f"{words.waiting(under_way, verb=True)}, where {none}")
    if behind:
        parts.append(f"{words.waiting(behind, verb=True)} for others that can go on")
    return sentence_start("; ".join(parts)) + "."


def _each(words: Words, ranks: Iterable[int]) -> str:
    """What happened to ranks, for the start of a sentence: ``Rank 1 was killed by SIGKILL``."""
    parts = []
    for same in grouped(ranks, words.does):
        action = words.does(same[0])
        if len(same) > 1:
            action = _PLURAL.get(verb := action.partition(" ")[0], verb) + action.removeprefix(verb)
        parts.append(f"{words.ranks(same)} {action}")
    return sentence_start(" and ".join(parts))


def _wait_for(words: Words, case: Case) -> str:
    return (
        f"{words.do(case.waiters, 'wait')} for {_them(case.culprits)} "
        f"in {words.call(case.call)}{words.at(case.waiters)}"
    )


def _have_waited(words: Words, case: Case) -> str:
    return (
        f"{words.ranks_do(case.waiters, 'has waited', 'have waited')} for {_them(case.culprits)} "
        f"in {words.call(case.call)}{words.age(case.waiters)}"
    )


def _them(ranks: Collection[int]) -> str:
    return agree(ranks, "it", "them")
