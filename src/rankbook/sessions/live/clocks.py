"""How far the clocks of other hosts are ahead of the notebook's."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from rankbook.models import Look, Recording, load
from rankbook.models.requests import GetTimeline
from rankbook.sessions.members import Members
from rankbook.timeline import Clock, measure

__all__ = ["HostClocks"]

_AGAIN = 2.0
"""Seconds after which a rank that did not answer is asked for its time again."""

_HOLDS = 120.0
"""Seconds after which the clock of another host is compared again."""


class HostClocks:
    """Compares clocks over the control channel.

    Attributes:
        unknown: Hosts whose clock could not be compared yet.
    """

    def __init__(self, members: Members, host: str | None) -> None:
        self.unknown: set[str] = set()
        self._members = members
        self._here = socket.gethostname() if host is None else host
        self._clocks: dict[str, tuple[Clock, float]] = {}
        self._asked: dict[int, float] = {}

    @property
    def all(self) -> list[dict[str, Any]]:
        """The corrections of clocks: host, offset and error in seconds."""
        return [
            {"host": host, "offset": clock.offset, "error": clock.error}
            for host, (clock, _) in sorted(self._clocks.items())
        ]

    def offset(self, host: str) -> float | None:
        """Seconds by which a host's clock is ahead of this one's; None if that is not known."""
        if host == self._here:
            return 0.0
        return self._clocks[host][0].offset if host in self._clocks else None

    def is_due(self, host: str) -> bool:
        """Whether a host's clock has yet to be compared, and no attempt has failed."""
        return self.offset(host) is None and host not in self.unknown

    def keep(self, hosts: Collection[str]) -> None:
        """Forget the failures of all other hosts: they are gone."""
        self.unknown &= set(hosts)

    def compare(self, ranks: Mapping[int, Look]) -> None:
        """Compare the clocks of other hosts with this one's, unless that was done recently.

        Unknown clocks come first, then the one compared longest ago.
        """
        begin = time.monotonic()
        within = self._members.timing.compare_clocks
        last = {rank: self._asked.get(rank, -math.inf) for rank in ranks}
        for rank in sorted(ranks, key=lambda r: (ranks[r].host in self._clocks, last[r])):
            host = ranks[rank].host
            _, measured = self._clocks.get(host, (None, -_HOLDS))
            if host == self._here or begin - measured < _HOLDS or begin - last[rank] < _AGAIN:
                continue
            if time.monotonic() - begin > within:
                break  # the others' turn is next time
            self._asked[rank] = begin
            clock = measure(partial(self._time_of, rank), time.time, within=within)
            if clock is not None:
                self._clocks[host] = clock, begin
                self.unknown.discard(host)
            elif host not in self._clocks:
                self.unknown.add(host)

    def _time_of(self, rank: int) -> float | None:
        call = self._members.ranks([rank]).look(GetTimeline(None))
        return load(Recording, call.values[rank]).now if rank in call.values else None
