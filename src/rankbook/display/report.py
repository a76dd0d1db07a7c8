"""A saved report as text and as HTML."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape

from rankbook import reports
from rankbook.diagnosis.phrases import shortened
from rankbook.diagnosis.wording import Words
from rankbook.display import environment, html, stacks, standings, table, verdict
from rankbook.models import CellSpan
from rankbook.models.report import Report
from rankbook.words import in_words, sentence_start

__all__ = ["LoadedReport", "load_report", "to_html", "to_text"]

_STACKS = "Stacks"

_LOCALS = "Local variables"

_ENVIRONMENTS = "What the ranks run with"

_LATEST = 3
"""How many of each rank's latest calls are listed."""


@dataclass(frozen=True, repr=False)
class LoadedReport(Report):
    """A report that shows itself as text, and as HTML where there is a rich front end."""

    def __repr__(self) -> str:
        return to_text(self)

    def _repr_html_(self) -> str:
        return to_html(self)


def load_report(path: str | os.PathLike[str]) -> LoadedReport:
    """Load a report that :meth:`rankbook.Session.save_report` has saved; no session is needed.

    Args:
        path: The file.

    Returns:
        The report: ``.verdict``, ``.looks``, ``.stacks``, ``.cell``, ``.versions`` … Printed, or as
        the last expression of a cell, it shows all of that.

    Raises:
        ReportError: The file cannot be read, or is not a report of this format.
    """
    return reports.read(path, LoadedReport)


def to_text(report: Report) -> str:
    """A report for a terminal, nbconvert's text, or a screen reader."""
    parts = [_title(report)]
    if report.verdict:
        parts.append(verdict.to_text(report.verdict))
    parts.append(table.to_text(report.snapshot))
    parts += [f"{heading}\n{text}" for heading, text in _texts(report)]
    return "\n\n".join([*parts, report.contents])


def to_html(report: Report) -> str:
    """A report as HTML; every style is inline, so that it survives in a saved notebook."""
    parts = [html.heading(_title(report))]
    if report.verdict:
        parts.append(verdict.to_html(report.verdict))
    parts.append(table.to_html(report.snapshot))
    rich = {  # HTML that is easier to read
        f"{_STACKS} {_when_seen(report)}": stacks.to_html(report.stacks, report.snapshot.mesh),
        f"{_LOCALS} {_when_seen(report)}": standings.to_html(
            report.standings, report.snapshot.mesh
        ),
        _ENVIRONMENTS: environment.to_html(report.environments, mesh=report.snapshot.mesh),
    }
    for heading, text in _texts(report):
        inner = rich.get(heading) or f"<pre>{escape(text)}</pre>"
        summary = f'<summary style="font-weight: 600">{escape(heading)}</summary>'
        parts.append(f'<details open style="margin: 8px 0">{summary}{inner}</details>')
    parts.append(f'<p style="color: {html.QUIET}">{escape(report.contents)}</p>')
    return f'<div style="font-size: 13px; overflow-x: auto">{"".join(parts)}</div>'


def _texts(report: Report) -> Iterator[tuple[str, str]]:
    """What follows the verdict and the table: headings and their text."""
    if report.cell:
        yield _cell(report, report.cell), _numbered(report.cell.code, report.cell.first_line)
    if report.looks:
        yield f"What each rank did {_when_seen(report)}", "\n".join(_looks(report))
    if report.stacks:
        yield f"{_STACKS} {_when_seen(report)}", stacks.to_text(report.stacks, report.snapshot.mesh)
    if any(one.frames for one in report.standings.values()):
        text = standings.to_text(report.standings, report.snapshot.mesh)
        yield f"{_LOCALS} {_when_seen(report)}", text
    if report.environments:
        yield _ENVIRONMENTS, environment.to_text(report.environments, mesh=report.snapshot.mesh)
    if report.versions:
        yield f"Versions in the notebook's kernel, on {report.host}", _listed(report.versions)
    if report.environment:
        yield "Variables of the environment there", _listed(report.environment)


def _when_seen(report: Report) -> str:
    return "before it was freed" if report.before_freed else "when the report was made"


def _title(report: Report) -> str:
    """``Report of a cell that hangs · 2026-03-01 12:00:00 UTC · host a · rankbook 0.1.0``."""
    of = "a cell that could not end" if report.snapshot.verdict else "a session"
    of = "a cell that hangs" if report.snapshot.hangs else of
    version = report.versions.get("rankbook", "")
    parts = [f"Report of {of}", _when(report.made), f"host {report.host}", f"rankbook {version}"]
    return " · ".join(part.strip() for part in parts)


def _cell(report: Report, cell: CellSpan) -> str:
    seconds = (report.made if cell.ended is None else cell.ended) - cell.started
    state = "it has run for" if cell.ended is None else "it ended after"
    name = sentence_start(cell.name or "the cell")
    return f"{name} on {in_words(cell.ranks, report.snapshot.mesh)}: {state} {seconds:.1f} s"


def _looks(report: Report) -> Iterator[str]:
    looks = report.looks
    words = Words(looks, mesh=report.snapshot.mesh)
    width = len(str(max(looks)))
    for rank, look in sorted(looks.items()):
        calls = [
            f"{words.call(call)}{'' if call.done else ' (open)'}" for call in look.recent[-_LATEST:]
        ]
        latest = f"; latest calls: {', '.join(calls)}" if calls else ""
        yield f"rank {rank:{width}}  {words.does(rank)}{latest}"
        yield from (f"  {shortened(line)}" for line in look.last_words)


def _numbered(code: str, first: int) -> str:
    lines = code.splitlines()
    width = len(str(first + len(lines) - 1))
    return "\n".join(f"{number:{width}}  {line}" for number, line in enumerate(lines, first))


def _listed(pairs: Mapping[str, str]) -> str:
    width = max(map(len, pairs))
    return "\n".join(f"{name:{width}}  {value}" for name, value in pairs.items())


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
