"""Hangs in a row: each must be explained, freed, and leave everything in place."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from kinds import ALL_KINDS, Hang
from placed import WAYS, Placed, place
from world import World, until

import rankbook as rb
from rankbook.sessions.group.repair import Repair

__all__ = ["run"]

_LIMIT = 20.0
"""Seconds after which a hang counts as not freed."""


@dataclass
class Report:
    """What happened."""

    count: int = 0
    freed: int = 0
    verdicts: int = 0
    next_cells: int = 0
    unchanged: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the decision to free until the group worked again."""
    totals: list[float] = field(default_factory=list)
    """From the start of cells that end by themselves until they had ended."""
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        """Whether every hang went as it must."""
        return (
            self.count == self.freed == self.verdicts == self.next_cells == self.unchanged
            and median(self.seconds) <= 1
            and max(self.seconds) <= 5
        )

    def lines(self) -> list[str]:
        """The report in words."""
        kinds = ", ".join(
            f"{n} {kind}" if n > 1 else kind for kind, n in sorted(self.kinds.items())
        )
        ways = ", ".join(f"{n} in a {way}" for way, n in sorted(self.ways.items()))
        freed = f"median {median(self.seconds):.2f} s, worst {max(self.seconds):.2f} s"
        total = f"median {median(self.totals):.2f} s, worst {max(self.totals):.2f} s"
        return [
            f"hangs: {self.count} of {len(self.kinds)} kinds, {ways} ({kinds})",
            f"  freed: {self.freed} (until the group works again, from proven: {freed})",
            f"  verdicts that name the right ranks, operation and lines: {self.verdicts}",
            f"  next cells that work: {self.next_cells}",
            f"  variables and processes unchanged: {self.unchanged}",
            f"  cells that cannot end, from their start to their end: {total}",
            *(f"  FAULT {fault}" for fault in self.faults),
        ]


def run(count: int, random: Random, sizes: tuple[int, ...] = (2, 4, 8)) -> Report:
    """Hang ``count`` times, spread over worlds of several sizes."""
    report = Report()
    begun: list[float] = []
    free = Repair.free

    def timed(self: Repair, *args: object) -> object:
        begun.append(time.perf_counter())
        return free(self, *args)  # type: ignore[arg-type]

    Repair.free = timed  # type: ignore[assignment,method-assign]
    try:
        for i, size in enumerate(sizes):
            world = World(size, seed=random.randrange(10**6))
            try:
                share = count // len(sizes) + (i < count % len(sizes))
                with tempfile.TemporaryDirectory() as folder:
                    for name in _drawn(random, size, share):
                        _one(name, world, random, report, begun, Path(folder))
            finally:
                world.close()
    finally:
        Repair.free = free  # type: ignore[method-assign]
    return report


def _drawn(random: Random, size: int, count: int) -> list[str]:
    """Names of kinds, each once before one comes again."""
    names = [name for name, (_, least) in ALL_KINDS.items() if least <= size]
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += random.sample(names, len(names))
    return drawn[:count]


def _one(
    name: str,
    world: World,
    random: Random,
    report: Report,
    begun: list[float],
    folder: Path,
) -> None:
    hang = ALL_KINDS[name][0](random, world.n)
    way = random.choice(WAYS)
    placed = place(hang.code, way, folder)
    name = f"{name}, in a {way}"
    report.kinds[name.partition(", in a ")[0]] += 1
    report.ways[way] += 1
    report.count += 1
    begun.clear()
    start = time.perf_counter()
    diagnosis, ended, error = _hang(world, hang, placed)
    if not ended:
        report.faults.append(f"{name} on {world.n}: not freed: {error} {hang.code!r}")
        world.session.reset(hard=True)
        world.refill(0)
        return
    report.freed += 1
    now = time.perf_counter()
    if begun:
        report.seconds.append(now - begun[0])
    if hang.proven:
        report.totals.append(now - start)
    right = diagnosis is not None and (
        diagnosis.kind == hang.verdict
        and set(diagnosis.ranks) == hang.culprits
        and hang.operation in diagnosis.summary
        and not placed.unnamed(diagnosis.summary)
    )
    report.verdicts += right
    if not right:
        said = f"{diagnosis.kind} {diagnosis.ranks} {diagnosis.summary}" if diagnosis else error
        report.faults.append(f"{name} on {world.n}: said {said!r}, of {hang.code!r}")
    if dead := world.session.members.dead:
        report.faults.append(f"{name} on {world.n}: ranks {sorted(dead)} died of {hang.code!r}")
        world.session.restart_ranks(sorted(dead))
        world.refill(0)
        return
    works = world.works()
    report.next_cells += works
    same = world.is_as_it_was()
    report.unchanged += same
    if not (works and same):
        report.faults.append(f"{name} on {world.n}: {works=} {same=} after {hang.code!r}")


def _hang(world: World, hang: Hang, placed: Placed) -> tuple[rb.Diagnosis | None, bool, object]:
    session = world.session
    running = world.in_background(lambda: placed.run(session))
    diagnosis = None
    if not hang.proven:

        def is_seen() -> bool:
            nonlocal diagnosis
            diagnosis = session.diagnose()
            return diagnosis.kind == hang.verdict and set(diagnosis.ranks) == hang.culprits

        until(is_seen, _LIMIT)
        session.interrupt()
    if not running.join(_LIMIT):
        return diagnosis, False, "still running"
    if running.value is None:
        return diagnosis, False, running.error
    return diagnosis if not hang.proven else running.value.diagnosis, True, running.value
