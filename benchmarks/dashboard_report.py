"""Figures of the dashboard's benchmarks as Markdown tables, each judged by its target."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from statistics import median

__all__ = ["Section", "Target", "said", "where"]

_PACKAGES = ("rankbook", "torch", "ipyparallel", "ipykernel", "jupyterlab", "ipywidgets")
_FORMATS = {"s": "{:.2f} s", "ms": "{:.1f} ms", "%": "{:.1f} %", "fps": "{:.0f}", "MB": "{:.1f} MB"}


@dataclass(frozen=True)
class Target:
    """What figures have to be."""

    value: float
    unit: str
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g} {self.unit}"

    def judge(self, values: Sequence[float]) -> str:
        """Say whether the median meets it, and the worst does."""
        met = [v >= self.value if self.at_least else v <= self.value for v in values]
        typical = median(values)
        if all(met):
            return "met"
        if (typical >= self.value) if self.at_least else (typical <= self.value):
            return f"met by the median, missed by {met.count(False)} of {len(met)}"
        return "**not met**"


@dataclass
class Section:
    """A table with its title, and what is to be said under it."""

    title: str
    head: Sequence[str] = ("", "median", "worst", "target", "")
    lines: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, values: Sequence[float], unit: str, target: Target | None) -> None:
        """A line of the usual kind."""
        worst = min(values) if target and target.at_least else max(values)
        judged = (str(target), target.judge(values)) if target else ("", "")
        self.lines.append((what, said(median(values), unit), said(worst, unit), *judged))

    def markdown(self) -> str:
        """The table and the notes; a target that all figures meet stands below it, once."""
        head, lines, notes = self.head, self.lines, self.notes
        judged = {tuple(line[-2:]) for line in lines}
        if head[-2] == "target" and len(judged) == 1 and next(iter(judged))[1] == "met":
            notes = [f"Target {lines[0][-2]}: met.", *notes]
            head, lines = head[:-2], [line[:-2] for line in lines]
        rows = [head, ["---"] * len(head), *lines]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return "\n\n".join([f"### {self.title}", table, *notes])


def said(value: float, unit: str) -> str:
    """A figure with its unit."""
    return _FORMATS[unit].format(value)


def where(command: str, more: Iterable[str]) -> str:
    """When and on what it was measured."""
    today = datetime.now(tz=timezone.utc).date()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    machine = f"{os.cpu_count()} cores ({found[1] if found else platform.machine()})"
    versions = [f"{package} {version(package)}" for package in _PACKAGES]
    facts = [machine, platform.system(), f"Python {platform.python_version()}", *versions, *more]
    return f"Measured on {today} with `{command}`: {', '.join(facts)}."
