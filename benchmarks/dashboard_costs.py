"""Measuring what a dashboard costs: the notebook's kernel, the ranks, and a cell that runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import sqrt
from statistics import median, quantiles
from typing import TYPE_CHECKING

import psutil
from dashboard_page import opened
from dashboard_report import Section, Target, said

import rankbook
from rankbook.sessions.live.collector import Timeline
from rankbook.sessions.live.monitor import Monitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["idle", "slowdown", "watching"]

_KERNEL, _ENGINE = Target(2, "%"), Target(1, "%")

_FORGOTTEN = 80.0
"""Seconds after which a page that says nothing any more is forgotten, and some."""


def idle(browser: Browser, *, quick: bool) -> list[Section]:
    """Watch processes of ranks that do nothing: without a dashboard, with one, and abandoned.

    An engine has threads of its own, of gloo's and of ZeroMQ's, that wake now and then, watched
    or not; the dashboard's part is what is added to that.
    """
    section = Section(
        "CPU while nothing runs, of one core",
        ("ranks", "dashboard", "the kernel", "an engine: median", "the dashboard's part: highest"),
    )
    kernels: list[float] = []
    parts: list[float] = []
    seconds = 8 if quick else 20
    for n in (2, 8) if quick else (2, 8, 64):
        seen = {}
        cells = ["%load_ext rankbook", f"%dist_init gloo -n {n} --no-dashboard"]
        with opened(browser, cells) as tab:
            seen["none"] = _watched(tab.pid(), tab.engines(), seconds)
        with opened(browser, ["%load_ext rankbook", f"%dist_init gloo -n {n}"]) as tab:
            pids = tab.pid(), tab.engines()
            seen["in sight"] = _watched(*pids, seconds)
            tab.clear(1)
            seen["its output cleared"] = _watched(*pids, seconds)
            if n == 2 and not quick:  # noqa: PLR2004 - the same for all
                tab.run_cell(1)
                tab.page.close()
                seen["its page closed a moment ago"] = _watched(*pids, seconds)
                time.sleep(_FORGOTTEN - seconds)
                seen[f"its page closed {_FORGOTTEN:.0f} s ago"] = _watched(*pids, seconds)
        _, without = seen["none"]
        for what, (kernel, engines) in seen.items():
            part = [] if what == "none" else [its - median(without) for its in engines]
            kernels.append(kernel)
            parts += part
            figures = (kernel, median(engines), *([max(part)] if part else []))
            line = (str(n), what, *(said(each, "%") for each in figures))
            section.lines.append(line if part else (*line, ""))
    section.notes.append(
        f"Targets: the kernel {_KERNEL}, {_KERNEL.judge(kernels)}; the dashboard's part of an "
        f"engine {_ENGINE}, {_ENGINE.judge(parts)}."
    )
    return [section]


def _watched(kernel: int, engines: list[int], seconds: float) -> tuple[float, list[float]]:
    """Watch processes for a while: how much of a core the kernel took, and each engine."""
    time.sleep(3)  # until what was done before is over
    processes = [psutil.Process(pid) for pid in (kernel, *engines)]
    before = [_cpu(process) for process in processes]
    begun = time.monotonic()
    time.sleep(seconds)
    lasted = time.monotonic() - begun
    its, *ranks = (
        100 * (_cpu(process) - was) / lasted for process, was in zip(processes, before, strict=True)
    )
    return its, ranks


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


# -- a cell that runs ------------------------------------------------------------------------

_CELL = """\
%%dist
import time
x = torch.ones(2)
dist.barrier()
begin = time.perf_counter()
for _ in range({count}):
    dist.all_reduce(x)
took = time.perf_counter() - begin
if rank == 0:
    print(took)"""

_MOST = Target(2, "%")


def slowdown(browser: Browser, *, quick: bool) -> list[Section]:
    """Run cells full of collectives in two notebooks in turns, one of them with a dashboard.

    Whose turn it is not has its kernel suspended: nothing of it takes time from the other.
    """
    rounds, count = (4, 4_000) if quick else (16, 20_000)
    start = ["%load_ext rankbook", "%dist_init gloo -n 2"]
    took: dict[str, list[float]] = {"in sight": [], "none": [], "none, again": []}
    with (
        opened(browser, start) as with_one,
        opened(browser, [start[0], f"{start[1]} --no-dashboard"]) as without,
    ):
        kernels = {tab: psutil.Process(tab.pid()) for tab in (with_one, without)}
        for number in range(-1, rounds):
            for what in sorted(took, reverse=number % 2 == 0):
                tab, other = with_one, without
                if what != "in sight":
                    tab, other = other, tab
                kernels[other].suspend()
                try:
                    seconds = float(tab.run(_CELL.format(count=count)).split()[-1])
                finally:
                    kernels[other].resume()
                if number >= 0:  # the first round warms up
                    took[what].append(seconds)
    section = _compared(
        f"A cell of {count:,} all_reduces of two numbers, 2 ranks", "dashboard", "in sight", took
    )
    section.notes.append("The page, its browser and the ranks share the cores of this machine.")
    return [section]


def watching(_: Browser, *, quick: bool) -> list[Section]:
    """Run such cells in turns while the ranks are watched as for a dashboard, and while not.

    There is no page: this is what watching costs the ranks themselves.
    """
    rounds, count = (4, 4_000) if quick else (16, 20_000)
    code = _CELL.format(count=count).removeprefix("%%dist\n")
    took: dict[str, list[float]] = {"watched": [], "not": [], "not, again": []}
    session = rankbook.start("gloo", 2)
    try:
        for number in range(-1, rounds):
            for what in sorted(took, reverse=number % 2 == 0):
                with _watch(session) if what == "watched" else nullcontext():
                    result = session.run(code)
                result.raise_for_error()
                if number >= 0:  # the first round warms up
                    took[what].append(float(result[0].stdout))
    finally:
        session.shutdown()
    title = f"The same cell of {count:,}, without a page"
    return [_compared(title, "the ranks are", "watched", took)]


@contextmanager
def _watch(session: rankbook.Session) -> Iterator[None]:
    """Have somebody look at a session as a dashboard does."""
    timeline = Timeline(session.members)
    monitor = Monitor(
        session,
        lambda snapshot: timeline.collect(snapshot.states, session.cells),
        lambda why: print(why, file=sys.stderr),
    )
    monitor.watched(someone=True)
    try:
        yield
    finally:
        monitor.stop()


def _compared(title: str, head: str, judged: str, took: dict[str, list[float]]) -> Section:
    """By how much each turn took longer than the one without in the same round.

    Args:
        title: Of the table.
        head: Of its first column.
        judged: Which of the turns must not take longer.
        took: Seconds of each turn: of ``judged``, of what it is compared with, and of that again.
    """
    _, none, again = sorted(took, key=lambda what: (what != judged, what))
    section = Section(
        title,
        (
            head,
            "median",
            "fastest",
            "slowest",
            f"longer than {none}",
            "middle half",
            "target",
            "",
        ),
    )
    changes = {
        what: [100 * (a / b - 1) for a, b in zip(values, took[none], strict=True)]
        for what, values in took.items()
    }
    low, _, high = quantiles(changes[again], n=4)
    is_quiet = (high - low) / sqrt(len(took[none])) < _MOST.value
    for what, values in took.items():
        line = [what, *(said(f(values), "s") for f in (median, min, max)), "", "", "", ""]
        if what != none:
            low, typical, high = quantiles(changes[what], n=4)
            line[4:6] = f"{typical:+.1f} %", f"{low:+.1f} % to {high:+.1f} %"
            if what == judged:
                line[6:] = (
                    str(_MOST),
                    (_MOST.judge([typical]) if is_quiet else "too noisy here to tell"),
                )
        section.lines.append(line)
    section.notes.append(
        f"*{again}* is the same as *{none}*: by so much figures differ that should not."
    )
    return section
