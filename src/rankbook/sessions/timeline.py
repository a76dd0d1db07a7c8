"""Collecting what the ranks have recorded, so rarely that they do not feel it.

Whoever looks at a session periodically, plugs it in like this::

    timeline = Timeline(session.pool.channel)
    ...
    snapshot = session.snapshot()
    timeline.collect(snapshot.states, session.cells)  # about twice a second, from one thread
    view.update(timeline, snapshot.states, session.cells)  # rankbook.widgets.timeline.TimelineView

and when the session is closed, once::

    timeline.end()
    view.update(timeline, snapshot.states, session.cells)
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rankbook.cluster.channel import Channel
from rankbook.models import CellSpan, RankState, Recorded
from rankbook.models.requests import TellTimeline
from rankbook.sessions.looking import answer_timeout
from rankbook.timeline import Alignment, Bar, Clock, Kept, measure

__all__ = ["Timeline"]

_COST = 1 / 250
"""Share of the time that ranks which run a cell may spend on answering, by their own account; to
send the answer takes them a quarter more."""

_LEAST = 0.005
"""Seconds that an answer takes at least, all that it does not count itself included."""

_SETTLE = 0.3
"""Seconds after a cell's end in which the next one may follow, and must not meet us."""

_STANDS = 2.0
"""Seconds in one collective after which a rank stands still, and has time for an answer; and after
which what a rank that does not stand still has answered is old."""

_NOT_THERE = ("gone", "no answer")

_COMPARING = 0.5
"""Seconds after which no other clock is compared, until the next time."""

_AGAIN = 2.0
"""Seconds after which an engine that did not tell its time is asked for it again."""

_CLOCK_HOLDS = 120.0
"""Seconds after which the clock of another host is compared anew."""


@dataclass
class _Engine:
    """How far an engine's answers have been read."""

    after: int = -1
    """Entries up to this one are known, and have completed."""
    last: int = -1
    """The highest entry that is known."""
    completed: frozenset[int] = frozenset()
    """Entries above ``after`` of which it is known that they have completed."""
    mark: str = ""
    lost: int = 0
    due: float = 0.0

    def read(self, answer: Mapping[str, Any]) -> None:
        """Note how far an answer went."""
        done = {row[0]: row[6] for row in answer["entries"]}
        dropped = answer["first"] - 1  # up to this one, before it could be asked for
        if self.mark:  # else nobody has asked it before, and nothing of that could be shown
            self.lost += max(0, dropped - self.last)
        self.mark = answer["mark"]
        self.last = max([self.last, dropped, *done])
        self.after = min((i for i, its in done.items() if not its), default=self.last + 1) - 1
        self.completed = frozenset(i for i, its in done.items() if its and i > self.after)


class Timeline:
    """The collectives of one session's ranks, side by side.

    Attributes:
        kept: The settled bars.
        open: Bars of collectives in flight.
        ended: When the session was seen to be closed, seconds since the epoch; None: it is not.
    """

    def __init__(self, channel: Channel, host: str | None = None) -> None:
        """Begin with nothing.

        Args:
            channel: To the engines.
            host: Where the notebook's kernel runs; None: here.
        """
        self.kept = Kept()
        self.open: list[Bar] = []
        self.ended: float | None = None
        self._channel = channel
        self._host = socket.gethostname() if host is None else host
        self._alignment = Alignment()
        self._engines: dict[tuple[int, int], _Engine] = {}
        self._clocks: dict[str, tuple[Clock, float]] = {}
        self._compared: dict[int, float] = {}
        self._without_clock: set[str] = set()
        self._due = 0.0
        self._pause = 0.0
        self._is_busy = False
        self._seen: object = None

    @property
    def clocks(self) -> list[dict[str, Any]]:
        """How the clocks of other hosts were corrected: host, offset and error in seconds."""
        return [
            {"host": host, "offset": clock.offset, "error": clock.error}
            for host, (clock, _) in sorted(self._clocks.items())
        ]

    @property
    def note(self) -> str:
        """What is not shown, in a sentence or two; empty if everything is."""
        said = [self.kept.note]
        # Each rank loses about the same ones.
        if lost := max((engine.lost for engine in self._engines.values()), default=0):
            were = "collective was" if lost == 1 else "collectives were"
            said.append(f"{lost:,} {were} not kept by torch's recorder (TORCH_FR_BUFFER_SIZE).")
        if hosts := ", ".join(sorted(self._without_clock)):
            said.append(f"What ran on {hosts} is not shown: its clock could not be compared yet.")
        if self._is_busy and self._pause > _STANDS:
            said.append(f"While a cell runs this moves on every {self._pause:.0f} s.")
        return " ".join(filter(None, said))

    def collect(
        self, states: Sequence[RankState], cells: Sequence[CellSpan], *, is_last: bool = False
    ) -> bool:
        """Ask the ranks, if it is time; returns within a second or two, at once if it is not.

        Args:
            states: What the ranks do, as it was seen a moment ago.
            cells: When cells ran.
            is_last: The ranks are about to end: it is time.

        Returns:
            Whether anything was asked.
        """
        looked = time.time()
        ranks = {s.engine: s for s in states if s.info is not None}
        there = {e: s for e, s in ranks.items() if s.state not in _NOT_THERE}
        if not ranks:
            self._settle_all()
        self._without_clock &= {s.host for s in there.values()}
        runs = bool(cells) and cells[-1].ended is None
        self._is_busy = runs or any(s.state != "idle" for s in there.values())
        if self._is_busy:
            self._seen = None
            chosen = there if is_last else self._due_while_busy(there)
            answers = self._ask(chosen)
        else:
            seen = (cells[-1:], [(e, s.pid, s.info, e in there) for e, s in ranks.items()])
            soon = cells and looked - (cells[-1].ended or 0.0) < _SETTLE
            # What was started and not waited for may end at any time.
            known = seen == self._seen and not (self.open and time.monotonic() >= self._due)
            chosen = there if is_last or not (soon or known) else {}
            answers = self._ask(chosen)
            if len(answers) == len(chosen) and chosen:
                self._seen = seen
        if chosen:
            gone = _ranks(s for s in ranks.values() if s.state == "gone")
            # While a group is being made, not all of its ranks have a place in it.
            newest = max((s.info for s in ranks.values() if s.info), key=lambda i: i.generation)
            gone |= {rank for rank in self._alignment.ranks if rank >= newest.world_size}
            expected = {e for e, s in there.items() if e not in chosen or self._has_its_turn(s)}
            silent = [s for e, s in ranks.items() if e not in answers and e not in expected]
            self.kept.add(self._alignment.settle(_ranks(silent), gone))
        if chosen or self.open:
            self.open = self._alignment.open(_ranks(self._moved(ranks.values(), looked)))
        return bool(chosen)

    def _moved(self, states: Iterable[RankState], looked: float) -> Iterator[RankState]:
        """Who may do something else by now than when it answered last.

        Args:
            states: What the ranks do.
            looked: When that was seen.
        """
        for state in states:
            assert state.info is not None  # noqa: S101 - only ranks have a lane
            answered = self._alignment.until(state.info.rank)
            began = looked - state.since if state.state == "collective" else looked
            if began > answered and looked - answered > _STANDS:
                yield state

    def _due_while_busy(self, there: Mapping[int, RankState]) -> Mapping[int, RankState]:
        """Whom to ask while a cell runs: all, now and then; who stands still, more often.

        And at once, whose clock is still to be compared.
        """
        now = time.monotonic()
        if now >= self._due:
            return there
        still = {e: s for e, s in there.items() if s.state == "collective" and s.since > _STANDS}
        chosen = {e: s for e, s in still.items() if now >= self._known(s).due}
        return chosen | {e: s for e, s in there.items() if self._has_its_turn(s)}

    def _ask(self, chosen: Mapping[int, RankState]) -> Mapping[int, dict[str, Any]]:
        """Ask engines for what is new, and take what they answer."""
        self._compare_clocks(chosen)
        chosen = {e: s for e, s in chosen.items() if self._offset(s.host) is not None}
        if not chosen:
            return {}
        known = {engine: self._known(state) for engine, state in chosen.items()}
        args = {e: TellTimeline(its.after, its.mark) for e, its in known.items()}
        call = self._channel.request(args)
        self._channel.wait(call, answer_timeout(len(chosen)))
        self._channel.forget(call)
        for engine, answer in call.values.items():
            self._take(chosen[engine], known[engine], answer)
        now = time.monotonic()
        for its in known.values():
            its.due = now + _STANDS
        took = max([_LEAST, *(answer["took"] for answer in call.values.values())])
        self._pause = took / _COST
        self._due = max(self._due, now + self._pause)
        return call.values

    def _take(self, state: RankState, engine: _Engine, answer: Mapping[str, Any]) -> None:
        info = state.info
        assert info is not None  # noqa: S101 - only ranks are asked
        offset = self._offset(state.host)
        assert offset is not None  # noqa: S101 - only who has a clock is asked
        by_rank: dict[int, list[Recorded]] = {info.rank: []}
        if "mark" in answer:
            news = [row for row in answer["entries"] if row[0] not in engine.completed]
            groups = [(name, tuple(ranks), g, rank) for name, ranks, g, rank in answer["groups"]]
            for row in news:
                rank, recorded = _recorded(row, answer["ops"], groups, offset)
                by_rank.setdefault(rank, []).append(recorded)
            engine.read(answer)
        until = answer["now"] - offset
        for rank, recorded_there in by_rank.items():
            self._alignment.take(rank, recorded_there, until, info.generation)

    def _known(self, state: RankState) -> _Engine:
        return self._engines.setdefault((state.engine, state.pid), _Engine())

    def _offset(self, host: str) -> float | None:
        """Seconds by which a host's clock is ahead of this one's; None if that is not known."""
        if host == self._host:
            return 0.0
        return self._clocks[host][0].offset if host in self._clocks else None

    def _has_its_turn(self, state: RankState) -> bool:
        """Whether the clock of its host is still to be compared: it did not fail before."""
        return self._offset(state.host) is None and state.host not in self._without_clock

    def _compare_clocks(self, chosen: Mapping[int, RankState]) -> None:
        """Compare the clocks of other hosts with this one's, if it was not done lately.

        First those that are not known; of the rest, whoever was not asked for longest.
        """
        begin = time.monotonic()
        last = {engine: self._compared.get(engine, -math.inf) for engine in chosen}
        for engine in sorted(chosen, key=lambda e: (chosen[e].host in self._clocks, last[e])):
            host = chosen[engine].host
            _, measured = self._clocks.get(host, (None, -_CLOCK_HOLDS))
            if host == self._host or begin - measured < _CLOCK_HOLDS:
                continue
            if begin - last[engine] < _AGAIN:
                continue
            if time.monotonic() - begin > _COMPARING:
                break  # the others' turn is next time
            self._compared[engine] = begin
            clock = measure(partial(self._clock_of, engine), time.time, within=_COMPARING)
            if clock is not None:
                self._clocks[host] = clock, begin
                self._without_clock.discard(host)
            elif host not in self._clocks:
                self._without_clock.add(host)

    def _clock_of(self, engine: int) -> float | None:
        call = self._channel.request({engine: TellTimeline(None)})
        self._channel.wait(call, answer_timeout(1))
        self._channel.forget(call)
        return float(call.values[engine]["now"]) if engine in call.values else None

    def end(self) -> None:
        """The session is closed: nothing is in flight any more, and no cell runs."""
        self.ended = time.time()
        self._is_busy = False
        self._settle_all()

    def _settle_all(self) -> None:
        """There is no group any more: nothing that was in flight still is."""
        self.kept.add(self._alignment.end())
        self.open = []


def _ranks(states: Iterable[RankState]) -> set[int]:
    return {state.info.rank for state in states if state.info}


def _recorded(
    row: Sequence[Any],
    ops: Sequence[str],
    groups: Sequence[tuple[str, tuple[int, ...], int, int]],
    offset: float,
) -> tuple[int, Recorded]:
    """One entry of an answer, by the notebook's clock, and whose it is."""
    number, op, group, seq, created, ended, done, nbytes, failed = row
    name, ranks, generation, rank = groups[group]
    return rank, Recorded(
        id=number,
        op=ops[op],
        group=name,
        ranks=ranks,
        seq=seq,
        generation=generation,
        created=created - offset,
        ended=None if ended is None else ended - offset,
        done=done,
        nbytes=nbytes,
        failed=failed,
    )
