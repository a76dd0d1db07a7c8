"""The state of a keeper: the processes that fork engines, and which engines live.

Nothing here reads or writes: the keeper does, and asks this for the messages to send.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rankbook.cluster.launchers.host import seats_to_fill

__all__ = ["Forker", "Held", "Holding"]


@dataclass(frozen=True)
class Forker:
    """A process that forks engines, or connects to one that does; numbers are descriptors."""

    why_lost: str
    """Why the engines have ended when it has, in words; empty: they were killed with it."""
    seats: int
    """Number of engines that it should have."""
    engines: tuple[int, ...]
    """Engines that live, or are being started."""
    commands: int
    """Its standard input."""
    lines: int
    """Its standard output."""
    relay: int
    """Passes its output on to the launcher that started the process."""


@dataclass(frozen=True)
class Holding:
    """The initial state of a keeper."""

    lifeline: int
    """Descriptor of the controller's standard input."""
    forkers: tuple[Forker, ...]
    fork: Mapping[str, Any] = field(default_factory=dict)
    """The command that forks engines, without their number and the first id; empty if none can be
    added. It contains the cluster's key."""
    next: int = 0
    """Id of the next engine to be forked."""

    @property
    def fds(self) -> tuple[int, ...]:
        """All descriptors."""
        each = [fd for one in self.forkers for fd in (one.commands, one.lines, one.relay)]
        return (self.lifeline, *each)


class Held:
    """Follows what becomes of the engines, and says how others are added.

    Args:
        holding: The initial state.
    """

    def __init__(self, holding: Holding) -> None:
        self._fork, self._next = holding.fork, holding.next
        self._forkers = dict(enumerate(holding.forkers))
        self._engines = {n: set(one.engines) for n, one in self._forkers.items()}
        self._size = len(self.living)
        self._statuses: dict[int, int] = {}

    @property
    def living(self) -> list[int]:
        """Engines that live, or are being started."""
        return sorted(engine for engines in self._engines.values() for engine in engines)

    def state(self) -> dict[str, Any]:
        """The message to a new follower."""
        return {
            "size": self._size,
            "living": self.living,
            "next": self._next,
            "forkers": len(self._engines) if self._fork else 0,
            "ended": {str(engine): status for engine, status in self._statuses.items()},
            "log": self._fork.get("log", ""),
        }

    def take(self, forker: int, line: bytes) -> dict[str, Any] | None:
        """Note a message of a process about an engine.

        Returns:
            The message for followers; None if it is not for them.
        """
        try:
            event: dict[str, Any] = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):  # output of a login script
            return None
        if kind == "ready":
            self._engines[forker].add(event["engine"])
        elif kind == "ended":
            self._engines[forker].discard(event["index"])
            self._statuses[event["index"]] = event["status"]
        else:
            return None
        return event

    def lose(self, forker: int) -> dict[str, Any]:
        """Note that a process has ended; return the message for followers."""
        engines = sorted(self._engines.pop(forker))
        return {
            "event": "lost",
            "engines": engines,
            "why": self._forkers[forker].why_lost,
            "forkers": self.state()["forkers"],
        }

    def add(self, n: int) -> tuple[list[int], dict[int, dict[str, Any]]]:
        """Plan ``n`` more engines, first where some have ended.

        Returns:
            Their ids, and by process the command that forks its share. No engine is planned if no
            process could fork one.
        """
        if not self._fork or not self._engines:
            return [], {}
        room = [self._forkers[k].seats - len(own) for k, own in self._engines.items()]
        ids: list[int] = []
        commands = {}
        for forker, count in zip(self._engines, seats_to_fill(n, room), strict=True):
            if count:
                commands[forker] = {**self._fork, "fork": count, "first": self._next}
                new = range(self._next, self._next + count)
                self._engines[forker].update(new)
                ids += new
                self._next += count
        return ids, commands

    def kill(self, engines: Collection[int]) -> dict[int, dict[str, Any]]:
        """By process, the command that kills its engines among these."""
        chosen = {k: sorted(own & set(engines)) for k, own in self._engines.items()}
        return {forker: {"kill": ids} for forker, ids in chosen.items() if ids}
