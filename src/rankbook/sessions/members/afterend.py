"""The last calls of engines that have ended, which they left in files."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rankbook import lastcalls
from rankbook.errors import ClusterError
from rankbook.models import EngineFacts, load
from rankbook.models.calls import LastCalls
from rankbook.models.requests import ReadLastCalls
from rankbook.sessions.members.party import Party, RankCall

__all__ = ["AfterEnd"]


class AfterEnd:
    """Reads those files, or asks a live engine on the host that has one."""

    def __init__(
        self,
        party: Callable[[Mapping[int, int]], Party],
        told: Callable[[int], LastCalls | None],
    ) -> None:
        """Read nothing yet.

        Args:
            party: Makes a party of engines, to be asked.
            told: What the process has told that an engine was forked from: it has read the file.
        """
        self._party = party
        self._told = told
        self._found: dict[int, LastCalls | RankCall | None] = {}

    def of(
        self, engine: int, known: Mapping[int, EngineFacts], alive: Sequence[int]
    ) -> LastCalls | None:
        """What an engine called last; None if no process knows, or none yet. Does not wait.

        Args:
            engine: Its id.
            known: By engine, the facts that it reported.
            alive: Engines that live.
        """
        if engine not in self._found:
            self._found[engine] = self._ask(engine, known, alive)
        found = self._found[engine]
        if not isinstance(found, RankCall):
            return found
        if not found.done:
            return None
        found.forget()
        value = found.values.get(0)
        self._found[engine] = read = load(LastCalls, value) if value else None
        return read

    def forget(self) -> None:
        """Forget all: engine ids will be reused."""
        self._found.clear()

    def _ask(
        self, engine: int, known: Mapping[int, EngineFacts], alive: Sequence[int]
    ) -> LastCalls | RankCall | None:
        if (told := self._told(engine)) is not None:
            return told
        facts = known.get(engine)
        if facts is None or not facts.last_calls:
            return None
        if facts.host == socket.gethostname():
            return lastcalls.read(Path(facts.last_calls))
        neighbours = [each for each in alive if each in known and known[each].host == facts.host]
        if not neighbours:
            return None
        try:
            return self._party({0: neighbours[0]}).request(ReadLastCalls(facts.last_calls))
        except ClusterError:  # the controller is gone, which is reported elsewhere
            return None
