"""Figures to Markdown: a table, the targets, and where it was measured."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import distributions
from math import isfinite
from pathlib import Path
from statistics import median

from measurements import FLOOD_TIMEOUT

__all__ = ["Results", "markdown"]

ROWS = {
    "first": ("fresh kernel to first all_reduce shown", "{:.2f}", "s"),
    "first_cell": ("first cell to first all_reduce shown", "{:.2f}", "s"),
    "load": ("loading the extension", "{:.3f}", "s"),
    "trivial": ("trivial cell", "{:.1f}", "ms"),
    "all_reduce": ("all_reduce cell", "{:.1f}", "ms"),
    "line_one": ("a line of one rank is shown after", "{:.1f}", "ms"),
    "line_all": ("a line of every rank is shown after", "{:.1f}", "ms"),
    "flood_5000": ("5,000 lines on every rank", "{:.2f}", "s"),
    "flood_10000": ("10,000 lines on every rank", "{:.2f}", "s"),
    "wrong_lines": ("lines lost or doubled by then", "{:,.0f}", ""),
    "reset": ("destroy and initialise again", "{:.3f}", "s"),
    "hang": ("a hang ends, and the group is back, after", "{:.2f}", "s"),
    "engine_memory": ("memory of an engine (USS)", "{:.0f}", "MB"),
    "helpers": ("helper processes", "{:.0f}", ""),
    "helpers_memory": ("memory of all helpers (USS)", "{:.0f}", "MB"),
    "open_ports": ("ports open beyond loopback", "{:.0f}", ""),
    "torch_in_kernel": ("torch loaded in the kernel (1: yes)", "{:.0f}", ""),
}
"""What a row is called, how its figures are written, their unit."""

US = "rankbook"
_CELL_PEERS = ("jupyter-distributed", "ipyparallel")
LIMITS = [
    ("load", None, 0.3),
    ("line_one", None, 10),
    ("line_all", None, 10),
    ("flood_10000", 4, 1.0),
    ("wrong_lines", None, 0),
    ("reset", 4, 0.15),
    ("engine_memory", None, 50),
    ("open_ports", None, 0),
    ("torch_in_kernel", None, 0),
]
"""Row, number of ranks (None: any), the most that it may be."""
RATIOS = [
    ("first", 2, ("nbdistributed",), 1.0),
    ("first", 4, ("nbdistributed",), 0.7),
    ("first", 8, ("nbdistributed",), 0.5),
    ("first", 4, ("jupyter-distributed",), 0.5),
    *((row, n, _CELL_PEERS, 0.8) for row in ("trivial", "all_reduce") for n in (2, 4)),
]
"""Row, number of ranks, the peers of which the fastest counts, the most of its figure."""

_PACKAGES = (
    *("rankbook", "torch", "ipyparallel", "nbdistributed", "jupyter-distributed"),
    *("ipykernel", "jupyter-client", "pyzmq"),
)


@dataclass
class Results:
    """Figures of all trials of one run."""

    samples: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)
    """By number of ranks, contender and row."""
    notes: dict[str, None] = field(default_factory=dict)
    """What went wrong or was left out, in order, each once."""

    def add(self, n: int, contender: str, figures: dict[str, float]) -> None:
        """Take the figures of one trial."""
        for row, value in figures.items():
            self.samples.setdefault((n, contender, row), []).append(value)

    def note(self, text: str) -> None:
        """Remember something to be printed under the tables."""
        self.notes.setdefault(text)

    def get(self, n: int, contender: str, row: str) -> float | None:
        """The median, None if it was not measured."""
        values = self.samples.get((n, contender, row))
        return median(values) if values else None


def markdown(results: Results, command: str) -> str:
    """Everything as Markdown."""
    parts = [_where(command), _table(results)]
    if targets := list(_targets(results)):
        missed = [line for line in targets if line.endswith("**not met** |")]
        parts.append(f"{len(targets) - len(missed)} of {len(targets)} targets are met.")
        if missed:
            head = ["| target | ranks | figure | allowed | |", "|---|---|---|---|---|"]
            parts.append("\n".join(head + missed))
    if results.notes:
        parts += ["### Notes", "\n".join(f"- {note}" for note in results.notes)]
    return "\n\n".join(parts) + "\n"


def _where(command: str) -> str:
    today = datetime.now(tz=timezone.utc).date()
    machine = f"{os.cpu_count()} cores ({_cpu()}), {platform.system()}"
    installed = {its.name.lower().replace("_", "-"): its.version for its in distributions()}
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {installed.get(package, '(absent)')}" for package in _PACKAGES]
    return f"Measured on {today} with `{command}`: {machine}, {', '.join(versions)}."


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.machine()


def _table(results: Results) -> str:
    sizes = sorted({n for n, _, _ in results.samples})
    names = list(dict.fromkeys(name for _, name, _ in results.samples))
    ranks = " · ".join(map(str, sizes))
    lines = [f"| on {ranks} ranks | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, (title, _, unit) in ROWS.items():
        cells = [_on_each([results.get(n, name, row) for n in sizes], row) for name in names]
        if set(cells) != {"-"}:
            lines.append(f"| {title}{unit and f', {unit}'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _on_each(values: list[float | None], row: str) -> str:
    """The figures of a contender on each number of ranks; those that are all equal once."""
    figures = [_figure(row, value) for value in values]
    return figures[0] if len(set(figures)) == 1 else " · ".join(figures)


def _figure(row: str, value: float | None) -> str:
    if value is None:
        return "-"
    return ROWS[row][1].format(value) if isfinite(value) else f"> {FLOOD_TIMEOUT:g}"


def _said(row: str, value: float) -> str:
    return f"{_figure(row, value)} {ROWS[row][2]}".rstrip()


def _targets(results: Results) -> Iterator[str]:
    sizes = sorted({n for n, name, _ in results.samples if name == US})
    for row, only, most in LIMITS:
        for n in sizes:
            ours = results.get(n, US, row)
            if ours is not None and only in (None, n):
                yield _judged(row, n, _said(row, ours), f"≤ {_said(row, most)}", met=ours <= most)
    for row, n, names, factor in RATIOS:
        ours = results.get(n, US, row)
        theirs = {name: value for name in names if (value := results.get(n, name, row))}
        if ours is not None and theirs:
            peer = min(theirs, key=lambda name: theirs[name])
            ratio = ours / theirs[peer]
            figure = f"{_said(row, ours)}, {ratio:.2f} of {peer}'s"
            yield _judged(row, n, figure, f"≤ {factor:g} of it", met=ratio <= factor)


def _judged(row: str, n: int, figure: str, allowed: str, *, met: bool) -> str:
    return f"| {ROWS[row][0]} | {n} | {figure} | {allowed} | {'met' if met else '**not met**'} |"
