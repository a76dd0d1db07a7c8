"""The ranks of a cell that are at a prompt: what they ask, and which get an answer."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass

from rankbook.diagnosis import rows
from rankbook.errors import InputError
from rankbook.models.events import Asks
from rankbook.models.requests import Answer
from rankbook.sessions.members import Members, looks
from rankbook.words import sentence_start

__all__ = ["QUIT", "RANKS", "Command", "Prompting", "Question"]

QUIT = frozenset({"q", "quit", "exit", "quit()", "exit()", "EOF"})
"""The words that end the cell on all ranks."""

RANKS = "ranks"
"""The word that shows where every rank is."""

_TO_SOME = re.compile(r"\s*(all|[-\d,:\s\[\]]*[-\d,:\]]|\w+=[\w=,\s-]*?)\s*:(?!=)\s*(.*)")
"""``2: p x``, ``0-1: n``, ``tp=0: n``: a command for some of the ranks at the prompt."""


@dataclass(frozen=True)
class Question:
    """What is asked of the user."""

    ranks: tuple[int, ...]
    """The ranks that ask it."""
    of: str
    """See :class:`~rankbook.models.events.Asks`."""
    text: str
    """The prompt, with its ranks."""
    where: str
    """Where they are, for a message."""
    takes_commands: bool = False
    """Whether it takes a debugger command, rather than the next line of a statement."""


@dataclass(frozen=True)
class Command:
    """What the user typed."""

    text: str
    ranks: tuple[int, ...]
    """The ranks that it is for."""


class Prompting:
    """What the ranks of one cell ask, from the thread that waits for the cell.

    Ranks that stop within a moment share a question, and so do ranks that were answered together:
    each may take its own time to the next line.
    """

    def __init__(self, members: Members) -> None:
        self._members = members
        self._asks: dict[int, Asks] = {}
        self._awaited: frozenset[int] = frozenset()
        """Ranks that were answered, and may ask again soon."""
        self._news = 0.0
        self._since: float | None = None
        self._held = 0.0

    @property
    def held(self) -> float:
        """Total seconds for which some rank has been at a prompt."""
        present = 0.0 if self._since is None else time.monotonic() - self._since
        return self._held + present

    @property
    def asking(self) -> frozenset[int]:
        """The ranks that ask."""
        return frozenset(self._asks)

    def take(self, rank: int, asks: Asks) -> None:
        """Take a rank's question."""
        self._asks[rank] = asks
        self._news = time.monotonic()
        if self._since is None:
            self._since = self._news

    def keep(self, pending: Collection[int]) -> None:
        """Forget the questions of ranks whose cell has ended."""
        for rank in self._asks.keys() - set(pending):
            self._drop(rank)

    def is_due(self, pending: Collection[int]) -> bool:
        """Whether to ask the user now.

        Args:
            pending: The ranks whose cell has not ended.
        """
        self.keep(pending)
        if not self._asks:
            return False
        missing = set(pending) - self.asking
        timing = self._members.timing
        patience = timing.ask_again if missing & self._awaited else timing.ask
        return not missing or time.monotonic() - self._news >= patience

    def question(self) -> Question:
        """What to ask now: the question of the lowest rank, for all ranks that ask the same.

        Ranks that wait for the rest of a statement come first.
        """
        order = sorted(self._asks, key=lambda rank: (not _is_begun(self._asks[rank]), rank))
        first = self._asks[order[0]]
        by_place: dict[str, list[int]] = {}
        for rank, asks in sorted(self._asks.items()):
            if (asks.of, asks.text) == (first.of, first.text):
                by_place.setdefault(asks.place, []).append(rank)
        ranks = tuple(sorted(rank for some in by_place.values() for rank in some))
        label = self._members.label
        if first.of != "debugger":
            name = "input" if first.of == "input" else "getpass"
            text = f"[{label(ranks)}] {first.text}"
            return Question(ranks, first.of, text, f"{name}() of {self._members.in_words(ranks)}")
        places = ", ".join(f"[{label(some)}] {place}" for place, some in by_place.items())
        where = "; ".join(
            f"{self._members.in_words(some)}: {place}" for place, some in by_place.items()
        )
        end = " ".join(filter(None, (first.text, "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}")))
        return Question(ranks, first.of, f"{places} {end} ", where, not first.text)

    def read(self, line: str, question: Question) -> Command:
        """Read what the user has typed.

        Raises:
            InputError: It is for ranks that are not at this prompt.
        """
        if not question.takes_commands or not (named := _TO_SOME.fullmatch(line)):
            return Command(line, question.ranks)
        chosen = self._members.select(named[1].strip())
        if absent := sorted(set(chosen) - set(question.ranks)):
            they_do = sentence_start(self._members.ranks_do(absent, "does", "do"))
            others_do = self._members.ranks_do(question.ranks, "does", "do")
            raise InputError(
                f"{they_do} not stand at this prompt, {others_do}: "
                f"{RANKS} shows where each rank is."
            )
        return Command(named[2], chosen)

    def where(self, progress: looks.Progress) -> str:
        """What the ranks do, by rank, one line for all that do the same.

        Args:
            progress: How the cell has gone so far, by rank.
        """
        found = sorted(rows(looks.diagnose(self._members, progress)), key=lambda row: row.ranks)
        names = [self._members.in_words(row.ranks) for row in found]
        width = max(map(len, names), default=0)
        return "\n".join(
            f"{name.ljust(width)}  {row.does}" for name, row in zip(names, found, strict=True)
        )

    def answer(self, command: Command) -> None:
        """Send a command to its ranks, which go on."""
        requests = {
            rank: Answer(self._asks[rank].number, command.text)
            for rank in command.ranks
            if rank in self._asks
        }
        for rank in requests:
            self._drop(rank)
        self._awaited = frozenset(requests)
        self._news = time.monotonic()
        self._members.ranks(requests).request(requests).forget()

    def _drop(self, rank: int) -> None:
        del self._asks[rank]
        if not self._asks and self._since is not None:
            self._held += time.monotonic() - self._since
            self._since = None


def _is_begun(asks: Asks) -> bool:
    """Whether a rank asks for the rest of a statement."""
    return asks.of == "debugger" and bool(asks.text)
