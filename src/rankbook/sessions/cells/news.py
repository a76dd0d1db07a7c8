"""What a person is told while a cell runs: who died or fell silent, and what is likely a hang."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from rankbook.models import Diagnosis
from rankbook.sessions.cells.collecting import Collector
from rankbook.sessions.members import Members
from rankbook.words import how_ended, sentence_start

__all__ = ["News"]


class News:
    """Says each thing once, in the output of the cell.

    Args:
        members: The ranks.
        collector: Shows the output of the cell.
    """

    def __init__(self, members: Members, collector: Collector) -> None:
        self._members = members
        self._collector = collector
        self._known_dead = set(members.dead)
        self._silent: set[str] = set()
        self._likely: tuple[object, float] = None, 0.0
        """The verdict that is likely, without its times, and since when it is."""
        self._said: set[object] = set()

    def tell(
        self,
        pending: Collection[int],
        unheard: Mapping[int, float],
        likely: Diagnosis | None = None,
    ) -> None:
        """Say what is new.

        Args:
            pending: Ranks on which the cell has not ended.
            unheard: By rank that did not answer last, the seconds since it did.
            likely: What is likely a hang by the latest looks; None: nothing is.
        """
        self._tell_deaths(set(pending))
        self._tell_silence(unheard)
        self._tell_likely(likely)

    def _tell_likely(self, found: Diagnosis | None) -> None:
        """Say that ranks wait in vain as far as can be seen, where they are not freed for it."""
        now = time.monotonic()
        verdict = (found.kind, found.ranks, found.stuck) if found else None
        if verdict != self._likely[0]:
            self._likely = verdict, now
        seconds = now - self._likely[1]
        if found is None or verdict is None or verdict in self._said:
            return
        if seconds >= self._members.timing.likely:
            self._said.add(verdict)
            self._collector.note(f"{found.summary} {found.hint}".strip())

    def _tell_deaths(self, pending: set[int]) -> None:
        dead = self._members.dead
        for rank in sorted(dead.keys() - self._known_dead):
            others = pending - dead.keys()
            go_on = f"; {self._members.ranks_do(others, 'goes on', 'go on')}" if others else ""
            self._collector.note(sentence_start(f"rank {rank} {how_ended(dead[rank])}{go_on}."))
        self._known_dead |= dead.keys()

    def _tell_silence(self, unheard: Mapping[int, float]) -> None:
        """Name hosts on which no rank answers; a single rank may be busy outside Python."""
        placement = self._members.placement
        if placement is None or placement.is_local:
            return
        dead = self._members.dead
        silent = placement.hosts_within({*unheard, *dead})
        for host, ranks in silent.items():
            since = min((unheard[rank] for rank in ranks if rank not in dead), default=0.0)
            if host not in self._silent and since >= self._members.timing.silent:
                self._silent.add(host)
                self._collector.note(
                    f"{host} has not answered for {since:.0f} s ({self._members.in_words(ranks)}): "
                    "the host or the network is down. The cell waits, and nothing has been ended."
                )
        for host in self._silent - silent.keys():
            self._silent.remove(host)
            self._collector.note(f"{host} answers again.")
