"""Deaths in a row: each must be reported at once, and the group made whole again."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from statistics import median

import psutil
from world import World, at_any_moment, descendants, shared_memory, until

import rankbook as rb

__all__ = ["run"]

_LIMIT = 20.0
_SOON = 1.0
"""Seconds within which a death must be known."""

_WAYS = {
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "SIGABRT": "os.abort()",
    "exit code 3": "os._exit(3)",
}
_MOMENTS = ("idle", "computing", "in a collective", "initialising")


@dataclass
class Report:
    """What happened."""

    count: int = 0
    reported: int = 0
    whole: int = 0
    unchanged: int = 0
    left_behind: int = 0
    seconds: list[float] = field(default_factory=list)
    """From the death until the session knew of it."""
    repairs: list[float] = field(default_factory=list)
    """What restart_ranks took."""
    faults: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        """Whether every death went as it must."""
        return self.count == self.reported == self.whole == self.unchanged and not self.left_behind

    def lines(self) -> list[str]:
        """The report in words."""
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(self.kinds.items()))
        known = f"median {median(self.seconds):.3f} s, worst {max(self.seconds):.3f} s"
        repair = f"median {median(self.repairs):.2f} s, worst {max(self.repairs):.2f} s"
        return [
            f"deaths: {self.count} ({kinds})",
            f"  reported within {_SOON:g} s: {self.reported} ({known})",
            f"  groups whole again: {self.whole} (restart_ranks: {repair})",
            f"  surviving variables and processes unchanged: {self.unchanged}",
            f"  processes and shared-memory segments left behind: {self.left_behind}",
            *(f"  FAULT {fault}" for fault in self.faults),
        ]


def run(count: int, random: Random, n: int = 4) -> Report:
    """Kill a rank ``count`` times."""
    report = Report()
    before = shared_memory()
    world = World(n, seed=random.randrange(10**6))
    try:
        for i in range(count):
            _one(world, random, report, i)
    finally:
        world.close()
    until(lambda: not descendants(), 5)
    report.left_behind = len(descendants()) + len(shared_memory() - before)
    return report


def _one(world: World, random: Random, report: Report, i: int) -> None:
    moment, way = random.choice(_MOMENTS), random.choice(list(_WAYS))
    victim = i % world.n  # rank 0 included
    name = f"{moment}, {way}"
    report.kinds[name] += 1
    report.count += 1
    seconds, said = _kill(world, random, moment, way, victim)
    report.seconds.append(seconds)
    if seconds <= _SOON and way in said and f"ank {victim}" in said:
        report.reported += 1
    else:
        report.faults.append(f"{name} of rank {victim}: after {seconds:.2f} s said {said!r}")
    begin = time.perf_counter()
    try:
        world.session.restart_ranks()
    except rb.RankbookError as error:
        report.faults.append(f"{name} of rank {victim}: not restarted: {error}")
        world.session.reset(hard=True)
        world.refill(0)
        return
    report.repairs.append(time.perf_counter() - begin)
    works = world.works()
    report.whole += works
    sums, pids = world.checksums(), world.processes()
    same = all(
        sums[r] == world.sums[r] and pids[r] == world.pids[r] for r in range(world.n) if r != victim
    )
    report.unchanged += same
    if not (works and same):
        report.faults.append(f"{name} of rank {victim}: {works=} {same=} {sums} {world.sums}")
    world.refill(i)


def _kill(world: World, random: Random, moment: str, way: str, victim: int) -> tuple[float, str]:
    """Have a rank die; return the seconds until that was known, and what was said."""
    session, pid = world.session, world.pids[victim]

    def is_known() -> bool:
        return victim in session.dead_ranks

    if moment in ("idle", "initialising"):
        # From outside, as the system would; only SIGKILL and SIGABRT can come so.
        signum = 6 if way == "SIGABRT" else 9
        running = None
        if moment == "initialising":
            running = world.in_background(session.initialize)
            at_any_moment(random, 0.03)
        psutil.Process(pid).send_signal(signum)
        seconds = until(is_known, _LIMIT)
        if running is not None:
            running.join(_LIMIT)
        said = _what_the_next_cell_says(session)
        return seconds, said.replace("SIGKILL", way) if signum == 9 else said
    body = {
        "computing": "time.sleep(600 if rank != victim else 0.1)",
        "in a collective": "time.sleep(0.2 if rank == victim else 0)",
    }[moment]
    code = (
        f"import os, time\nvictim = {victim}\n"
        f"{'time.sleep(0.1)' if moment == 'computing' else body}\n"
        f"if rank == victim:\n    {_WAYS[way]}\ndist.all_reduce(torch.ones(3))"
    )
    running = world.in_background(lambda: session.run(code))
    until(is_known, _LIMIT)
    known = time.perf_counter()
    if not running.join(_LIMIT):
        session.interrupt()
        return float("inf"), "the cell did not end"
    seconds = max(0.0, running.ended - known)
    if running.value is None or running.value.diagnosis is None:
        return seconds, str(running.error or running.value)
    return seconds, running.value.diagnosis.summary


def _what_the_next_cell_says(session: rb.Session) -> str:
    try:
        return str(session.run("1"))
    except rb.SessionError as error:
        return str(error)
