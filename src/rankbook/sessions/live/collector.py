"""Collecting what the ranks have recorded, rarely enough not to slow them down.

To use it along with periodic looks at a session::

    timeline = Timeline(session.members)
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
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankbook.models import CellSpan, Look, Recorded, Recording, load
from rankbook.models.requests import GetTimeline
from rankbook.sessions.live.clocks import HostClocks
from rankbook.sessions.members import Members
from rankbook.timeline import Alignment, Bar, Kept, from_array

__all__ = ["Timeline"]

_COST = 1 / 250
"""Share of its time that a rank with a running cell may spend on answering, as it measures;
sending the answer takes a quarter more."""

_LEAST = 0.005
"""The least seconds that an answer takes, with the parts that the rank does not measure."""

_SETTLE = 0.3
"""Seconds after a cell's end in which no rank is asked, because the next may follow."""

_STANDS = 2.0
"""Seconds in one collective after which a rank stands still, and has time to answer; and age at
which the answer of a moving rank is old."""

_GROUPLESS = 2.0
"""Seconds without a group after which what was in flight in the last one counts as over. A group
that is re-created is missing for a moment, and how its calls ended can be asked after that."""

_NOT_THERE = ("gone", "no answer")


@dataclass
class _Process:
    """How far the answers of one rank's process have been read."""

    after: int = -1
    """Entries up to this one are known, and have completed."""
    last: int = -1
    """The highest entry that is known."""
    completed: frozenset[int] = frozenset()
    """Entries above ``after`` that are known to have completed."""
    mark: str = ""
    lost: int = 0
    due: float = 0.0

    def read(self, answer: Recording) -> None:
        """Note how far an answer went."""
        done = {entry.id: entry.done for entry in answer.entries}
        dropped = answer.first - 1  # lost before they could be read
        if self.mark:  # not in its first answer: earlier entries could not be shown
            self.lost += max(0, dropped - self.last)
        self.mark = answer.mark
        self.last = max([self.last, dropped, *done])
        self.after = (
            min((i for i, is_done in done.items() if not is_done), default=self.last + 1) - 1
        )
        self.completed = frozenset(i for i, is_done in done.items() if is_done and i > self.after)


class Timeline:
    """The collectives of one session's ranks, side by side.

    Attributes:
        kept: The settled bars.
        open: Bars of collectives in flight.
        ended: When the session was seen to be closed, seconds since the epoch; None: it is not.
        wanted: Seconds after which it is to collect again, because a cell has just ended; None: at
            the next look at the session.
    """

    def __init__(self, members: Members, host: str | None = None) -> None:
        """Start without bars.

        Args:
            members: The ranks.
            host: Where the notebook's kernel runs; None: here.
        """
        self.kept = Kept()
        self.open: list[Bar] = []
        self.ended: float | None = None
        self.wanted: float | None = None
        self._members = members
        self._hosts = HostClocks(members, host)
        self._alignment = Alignment()
        self._processes: dict[tuple[str, int], _Process] = {}
        self._due = 0.0
        self._pause = 0.0
        self._is_busy = False
        self._seen: object = None
        self._had_group = 0.0

    @property
    def clocks(self) -> list[dict[str, Any]]:
        """How the clocks of other hosts were corrected: host, offset and error in seconds."""
        return self._hosts.all

    @property
    def note(self) -> str:
        """What is not shown, in a sentence or two; empty if everything is."""
        notes = [self.kept.note]
        # Each rank loses about the same collectives.
        if lost := max((process.lost for process in self._processes.values()), default=0):
            were = "collective was" if lost == 1 else "collectives were"
            notes.append(f"{lost:,} {were} called too fast to be kept.")
        if hosts := ", ".join(sorted(self._hosts.unknown)):
            notes.append(f"What ran on {hosts} is not shown: its clock could not be compared yet.")
        if self._is_busy and self._pause > _STANDS:
            notes.append(f"While a cell runs this moves on every {self._pause:.0f} s.")
        return " ".join(filter(None, notes))

    def all(self) -> list[Bar]:
        """All bars, those in flight up to now; by the order in which they were called."""
        _, rows, *names = self.kept.since(0)
        settled, now = from_array(rows, *names), time.time()
        under_way = [
            bar._replace(duration=now - bar.start) if math.isnan(bar.duration) else bar
            for bar in self.open
        ]
        return sorted([*settled, *under_way], key=lambda bar: bar.start)

    def collect(
        self, states: Sequence[Look], cells: Sequence[CellSpan], *, is_last: bool = False
    ) -> bool:
        """Ask the ranks if that is due; returns within a second or two, at once if it is not.

        Args:
            states: What the ranks did a moment ago.
            cells: When cells ran.
            is_last: Whether the ranks are about to end, which makes it due.

        Returns:
            Whether anything was asked.
        """
        looked = time.time()
        size = self._members.size or 0
        ranks = {s.info.rank: s for s in states if s.info is not None and s.info.rank < size}
        present = {r: s for r, s in ranks.items() if s.state not in _NOT_THERE}
        if ranks:
            self._had_group = time.monotonic()
        elif time.monotonic() - self._had_group > _GROUPLESS:
            self._settle_all()
        self._hosts.keep({s.host for s in present.values()})
        runs = bool(cells) and cells[-1].ended is None
        self._is_busy = runs or any(s.state != "idle" for s in present.values())
        self.wanted = None
        if self._is_busy:
            self._seen = None
            chosen = present if is_last else self._due_while_busy(present)
            answers = self._ask(chosen)
        else:
            seen = (cells[-1:], [(r, s.pid, s.info, r in present) for r, s in ranks.items()])
            rest = _SETTLE - (looked - (cells[-1].ended or 0.0)) if cells else 0.0
            # What is shown in flight is wrong by now.
            soon = rest > 0 and not self.open
            self.wanted = rest if soon else None
            # An asynchronous collective may end at any time.
            known = seen == self._seen and not (self.open and time.monotonic() >= self._due)
            chosen = present if is_last or not (soon or known) else {}
            answers = self._ask(chosen)
            if len(answers) == len(chosen) and chosen:
                self._seen = seen
        if chosen:
            gone = _ranks(s for s in ranks.values() if s.state == "gone")
            # While a group is being made, not all of its ranks have a place in it.
            newest = max((s.info for s in ranks.values() if s.info), key=lambda i: i.generation)
            gone |= {rank for rank in self._alignment.ranks if rank >= newest.world_size}
            expected = {
                r for r, s in present.items() if r not in chosen or self._hosts.is_due(s.host)
            }
            silent = [s for r, s in ranks.items() if r not in answers and r not in expected]
            self.kept.add(self._alignment.settle(_ranks(silent), gone))
        if chosen or self.open:
            self.open = self._alignment.open(_ranks(self._moved(ranks.values(), looked)))
        return bool(chosen)

    def _moved(self, states: Iterable[Look], looked: float) -> Iterator[Look]:
        """Ranks that may do something else now than when they last answered.

        Args:
            states: What the ranks do.
            looked: When that was seen.
        """
        for state in states:
            assert state.info is not None  # noqa: S101 - only ranks have a lane
            answered = self._alignment.until(state.info.rank)
            began = looked - state.since if state.state == "waiting" else looked
            if began > answered and looked - answered > _STANDS:
                yield state

    def _due_while_busy(self, present: Mapping[int, Look]) -> Mapping[int, Look]:
        """Ranks to ask while a cell runs: all now and then, idle or waiting ones more often.

        Ranks whose clock has yet to be compared are asked at once.
        """
        now = time.monotonic()
        if now >= self._due:
            return present
        still = {r: s for r, s in present.items() if s.state == "waiting" and s.since > _STANDS}
        chosen = {r: s for r, s in still.items() if now >= self._process(s).due}
        return chosen | {r: s for r, s in present.items() if self._hosts.is_due(s.host)}

    def _ask(self, chosen: Mapping[int, Look]) -> Mapping[int, Recording]:
        """Ask ranks for what is new, and take their answers."""
        self._hosts.compare(chosen)
        chosen = {r: s for r, s in chosen.items() if self._hosts.offset(s.host) is not None}
        if not chosen:
            return {}
        known = {rank: self._process(state) for rank, state in chosen.items()}
        asked = {r: GetTimeline(process.after, process.mark) for r, process in known.items()}
        call = self._members.ranks(chosen).request(asked)
        call.wait(self._members.timing.answer_timeout(len(chosen)))
        call.forget()
        answers = {rank: load(Recording, value) for rank, value in call.values.items()}
        for rank, answer in answers.items():
            self._take(chosen[rank], known[rank], answer)
        now = time.monotonic()
        for process in known.values():
            process.due = now + _STANDS
        took = max([_LEAST, *(answer.took for answer in answers.values())])
        self._pause = took / _COST
        self._due = max(self._due, now + self._pause)
        return answers

    def _take(self, state: Look, process: _Process, answer: Recording) -> None:
        info = state.info
        assert info is not None  # noqa: S101 - only ranks are asked
        offset = self._hosts.offset(state.host)
        assert offset is not None  # noqa: S101 - only ranks with a known clock are asked
        by_rank: dict[int, list[Recorded]] = {info.rank: []}
        if answer.mark:
            for entry in answer.entries:
                if entry.id not in process.completed:
                    rank = answer.groups[entry.group].rank
                    by_rank.setdefault(rank, []).append(answer.recorded(entry, offset))
            process.read(answer)
        until = answer.now - offset
        for rank, recorded_there in by_rank.items():
            self._alignment.take(rank, recorded_there, until, info.generation)

    def _process(self, state: Look) -> _Process:
        return self._processes.setdefault((state.host, state.pid), _Process())

    def end(self) -> None:
        """End what was in flight, and the cell: the session is closed."""
        self.ended = time.time()
        self._is_busy = False
        self._settle_all()

    def _settle_all(self) -> None:
        """Settle everything in flight: there is no longer a group."""
        self.kept.add(self._alignment.end())
        self.open = []


def _ranks(states: Iterable[Look]) -> set[int]:
    return {state.info.rank for state in states if state.info}
