"""Phrases: what a call is, where a rank stands, what it does."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from rankbook.diagnosis.calls import HANDLE, group, is_handle, is_p2p, name, slot
from rankbook.diagnosis.phrases import given, keys, number, root, shortened
from rankbook.models import Collective, Look
from rankbook.models.calls import OPENS
from rankbook.models.meshes import NamedMesh
from rankbook.words import agree, in_words, ranks_do

__all__ = ["ENDED", "Words", "grouped", "outside_majority"]

_Key = TypeVar("_Key", bound=Hashable)

_TENTHS_UNTIL = 10
"""Seconds from which on tenths are left out."""

_OF_CODE = re.compile(r"(?:^| )line \d+|\.py:\d+")
"""What is said of a rank in code, not of one that does something else."""

_MOST = 3
"""Groups of ranks that a sentence lists one by one."""

ENDED = "its cell has ended"
"""What a look says instead of a line where a rank has run the cell to its end."""

_VERBS = {
    "be": ("is", "are", "was"),
    "call": ("calls", "call", "called"),
    "do": ("does", "do", "did"),
    "make": ("makes", "make", "made"),
    "receive": ("receives", "receive", "received"),
    "run": ("runs", "run", "ran"),
    "send": ("sends", "send", "sent"),
    "wait": ("waits", "wait", "waited"),
}
"""By infinitive: of one, of many, in the past."""


class Words:
    """Says what ranks call and do; knows the whole world of them."""

    def __init__(
        self, looks: Mapping[int, Look], *, past: bool = False, mesh: NamedMesh | None = None
    ) -> None:
        """Take looks.

        Args:
            looks: By rank.
            past: Whether ranks do that no longer: they were freed.
            mesh: By whose dimensions ranks are named, too.
        """
        self.looks = looks
        self._past = past
        self._mesh = mesh

    @property
    def is_past(self) -> bool:
        """Whether all is said in the past tense."""
        return self._past

    def ranks(self, ranks: Iterable[int]) -> str:
        """Name ranks: ``rank 1``, ``ranks 0-3``, ``ranks 0,2 (tp=0)``."""
        return in_words(ranks, self._mesh)

    def ranks_do(self, ranks: Iterable[int], one: str, many: str) -> str:
        """A subject and its verb, in one tense: ``rank 1 still runs``."""
        return ranks_do(ranks, one, many, self._mesh)

    def place(self, rank: int) -> str:
        """Where a rank stands, without the text of the line: ``In [4] line 2``."""
        line = self.looks[rank].line
        return line.partition(": ")[0] if _OF_CODE.search(line) else line

    def was_computing(self, ranks: Collection[int]) -> str:
        """What ranks did: ``rank 1 was still computing in In [4] line 2``."""
        place = self.place(min(ranks))
        at = f" in {place}" if place else ""
        return f"{self.ranks(ranks)} {agree(ranks, 'was', 'were')} still computing{at}"

    def verb(self, verb: str, ranks: Iterable[int]) -> str:
        """A verb that agrees with ranks, in the tense of all that is said."""
        one, many, was = _VERBS[verb]
        if self._past:
            return was if verb != "be" or len(set(ranks)) == 1 else "were"
        return agree(ranks, one, many)

    def do(self, ranks: Iterable[int], verb: str) -> str:
        """A subject and its verb: ``rank 1 waits``, ``ranks 0-3 waited``."""
        ranks = set(ranks)
        return f"{self.ranks(ranks)} {self.verb(verb, ranks)}"

    def does(self, rank: int) -> str:
        """What a rank does: ``waits in all_reduce #5 for 2.1 s (In [4] line 3: f(x))``."""
        look = self.looks[rank]
        first = f"{self.raising(rank)}, then " if look.handles else ""
        if look.state == "waiting":
            call = look.waiting or Collective(HANDLE)
            wait = f"{self.verb('wait', [rank])} in {self.call(call, tensors=True)}"
            left = look.gives_up if look.may_end else None
            limit = "" if left is None else f", {left:.0f} s before its timeout"
            return f"{first}{wait}{self.age([rank])}{limit}{self.at([rank])}"
        if look.state in {"running", "stopped"}:
            does = self.runs if look.state == "running" else self.stands
            return f"{first}{does([rank])}"
        if look.state == "gone":
            return f"{look.ended or 'has ended'}{self._last_call(look)}"
        if look.state == "idle":
            if look.raised:
                return self.raising(rank)
            return f"{'was ' if self._past else ''}idle: {self._why_idle(rank)}"
        return f"{self.verb('do', [rank])} not answer"

    def raising(self, rank: int) -> str:
        """What a rank raised, and where: ``raised ValueError: no data (In [4] line 3: f(x))``."""
        look = self.looks[rank]
        error, line = (look.handles, look.raised_at) if look.handles else (look.raised, look.line)
        return f"raised {shortened(error)}{f' ({shortened(line)})' if line else ''}"

    def _why_idle(self, rank: int) -> str:
        look = self.looks[rank]
        if look.line in {"", ENDED}:
            return self.ended([rank]) if look.line else self.runs_none(1)
        return look.line

    def ended(self, ranks: Collection[int]) -> str:
        """The clause that says of idle ranks that they have run the cell or script to its end."""
        what = "script" if all(self.looks[rank].is_script for rank in ranks) else "cell"
        if len(ranks) == 1:
            return f"its {what} {'had' if self._past else 'has'} ended"
        return f"their {what}s {'had' if self._past else 'have'} ended"

    def runs_none(self, count: int) -> str:
        """The clause that says of idle ranks that they were not given the cell."""
        if count == 1:
            return "it ran no cell" if self._past else "it runs no cell"
        return "they ran no cell" if self._past else "they run no cell"

    def _last_call(self, look: Look) -> str:
        """In or after what a rank ended, with a space before it, as far as that is known."""
        if look.waiting is not None:
            at = f" ({shortened(look.line)})" if look.line else ""
            return f" in {self.call(look.waiting, tensors=True)}{at}"
        where = f" at {look.line}" if look.line else ""
        if not look.recent:
            return where
        last = look.recent[-1]
        how = "after" if last.done else "with"
        at = f" ({shortened(last.line)})" if last.line else ""
        under_way = "" if last.done else " under way"
        return f"{where}{',' if where else ''} {how} {self.call(last)}{under_way}{at}"

    def runs(self, ranks: Iterable[int]) -> str:
        """What ranks run that stand at the same line: ``runs line 4: f(x)``."""
        ranks = list(ranks)
        run = self.verb("run", ranks)
        line = shortened(self.looks[ranks[0]].line)
        # Outside of a cell it is said what the rank does instead.
        is_of_code = _OF_CODE.search(line) is not None
        return f"{run} {line}" if is_of_code else f"{run}{self.at(ranks)}"

    def stands(self, ranks: Iterable[int]) -> str:
        """At which prompt ranks stand: ``stands at a prompt (In [7] line 4)``."""
        ranks = list(ranks)
        return f"{agree(ranks, 'stands', 'stand')} at a prompt{self.at(ranks)}"

    def call(self, call: Collective, *, tensors: bool = False) -> str:
        """Name a call: ``all_reduce #5``, ``broadcast #2 from 0 of ranks 0-1``, ``recv from 1``."""
        if is_handle(call):
            return "a handle's wait()"
        if call.op == OPENS:
            return f"{OPENS}({keys(call)})"
        if call.entries:
            return f"{name(call.op)} for {keys(call)}"
        about = f" of {given(call)}" if tensors and call.dtypes else ""
        return f"{name(call.op)}{number(call)}{root(call)}{about}{self.members(call)}"

    def waiting(self, calls: Mapping[int, Collective], *, verb: bool = False) -> str:
        """List who is in which call: ``rank 0 in recv from 1 (line 3: f(x)), rank 2 in …``."""

        def say(ranks: tuple[int, ...]) -> str:
            wait = f"{self.verb('wait', ranks)} " if verb else ""
            at = "" if shared else self.at(ranks)
            return f"{self.ranks(ranks)} {wait}in {self.call(calls[ranks[0]])}{at}"

        places = {self.at([rank]) for rank in calls}
        shared = places.pop() if len(places) == 1 and len(calls) > 1 else ""
        same = grouped(calls, lambda rank: self.call(calls[rank]))
        rest = "waited likewise" if self._past else "wait likewise"
        return self.listed(same, say, rest if verb else "likewise") + shared

    def listed(
        self, groups: Sequence[tuple[int, ...]], say: Callable[[tuple[int, ...]], str], rest: str
    ) -> str:
        """List groups of ranks; of several beyond the third only that they do ``rest``."""
        shown = len(groups) if len(groups) <= _MOST + 1 else _MOST
        items = [say(ranks) for ranks in groups[:shown]]
        if left := [rank for ranks in groups[shown:] for rank in ranks]:
            items.append(f"{self.ranks(left)} {rest}")
        return ", ".join(items)

    def members(self, call: Collective) -> str:
        """Whose group a call is of, with a space before it; empty for the whole world's."""
        if not group(call) or not call.ranks or is_p2p(call):
            return ""
        if self.looks.keys() <= set(call.ranks):
            # Not the default group, which it might be taken for.
            named = group(call).rpartition("/")[2]
            return f" of group {named}" if named.isdigit() and named != "0" else ""
        return f" of {self.ranks(call.ranks)}"

    def at(self, ranks: Iterable[int]) -> str:
        """Where the first of some ranks stands, with a space before it: ``(line 3: f(x))``."""
        line = next((line for rank in ranks if (line := self.looks[rank].line)), "")
        return f" ({shortened(line)})" if line else ""

    def at_call(self, rank: int, call: Collective) -> str:
        """Where a rank called something, with a space before it.

        That is where it stands if it is in the call still.
        """
        waiting = self.looks[rank].waiting
        if waiting is not None and (
            waiting == call or (slot(waiting) and slot(waiting) == slot(call))
        ):
            return self.at([rank])
        return f" ({shortened(call.line)})" if call.line else ""

    def age(self, ranks: Iterable[int]) -> str:
        """For how long the longest of some ranks has waited, with a space before it."""
        calls = [call for rank in ranks if (call := self.looks[rank].waiting)]
        seconds = round(max((call.since for call in calls), default=0.0), 1)
        if not seconds:
            return ""
        return f" for {seconds:.0f} s" if seconds >= _TENTHS_UNTIL else f" for {seconds:.1f} s"


def grouped(ranks: Iterable[int], key: Callable[[int], _Key]) -> list[tuple[int, ...]]:
    """Put ranks together of which ``key`` is the same, lowest ranks first."""
    found: dict[_Key, list[int]] = {}
    for rank in sorted(ranks):
        found.setdefault(key(rank), []).append(rank)
    return [tuple(same) for same in found.values()]


def outside_majority(sorts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The ranks that differ from the majority; without one, or where all are the same, all.

    Args:
        sorts: Ranks that are the same, together.
    """
    every = {rank for same in sorts for rank in same}
    most = max(sorts, key=len)
    has_majority = len(sorts) > 1 and 2 * len(most) > len(every)
    return tuple(sorted(every - set(most) if has_majority else every))
