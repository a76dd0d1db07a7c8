"""Outcomes as text for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankbook.selftest.steps import FAILED, NOT_RUN, PASSED, Outcome

__all__ = ["counted", "lines", "text", "write"]

MARKS = {PASSED: "ok ", FAILED: "NO ", NOT_RUN: "-  "}
TAIL = 60
"""Lines of a log that the report shows."""


def lines(outcome: Outcome, former: Outcome | None) -> Iterator[str]:
    """What is shown of an outcome, after the one before it.

    A part begins with its name. Of steps that were not run for the same reason, the first is shown.
    """
    if former is None or former.part != outcome.part:
        yield ""
        yield f"[{outcome.part}]"
    elif (outcome.outcome, outcome.detail) == (NOT_RUN, former.detail):
        return
    yield _line(outcome)


def _line(outcome: Outcome) -> str:
    seconds = f"{outcome.seconds:6.1f} s" if outcome.outcome != NOT_RUN else " " * 8
    detail = f": {outcome.detail}" if outcome.detail else ""
    return f"{MARKS[outcome.outcome]} {seconds}  {outcome.step}{detail}"


def counted(outcomes: Sequence[Outcome]) -> str:
    """``12 passed, 1 failed, 3 not run``."""
    numbers = {kind: sum(o.outcome == kind for o in outcomes) for kind in MARKS}
    return ", ".join(f"{number} {kind}" for kind, number in numbers.items())


def text(machine: dict[str, Any], outcomes: Sequence[Outcome], logs: dict[str, str]) -> str:
    """The whole report.

    Args:
        machine: See :func:`rankbook.selftest.machine.describe`.
        outcomes: Of all steps.
        logs: By part in which something failed, what its process wrote.
    """
    written = [f"rankbook selftest, {machine.get('when', '')}", ""]
    written += [f"{key}: {_flat(value)}" for key, value in machine.items() if key != "when"]
    former = None
    for outcome in outcomes:
        written += lines(outcome, former)
        former = outcome
    written += ["", counted(outcomes)]
    for name, log in logs.items():
        written += ["", f"--- the end of the log of {name}", *log.splitlines()[-TAIL:]]
    return "\n".join(written) + "\n"


def write(
    folder: Path, machine: dict[str, Any], outcomes: Sequence[Outcome], logs: dict[str, str]
) -> Path:
    """Write ``report.txt`` and ``report.json``; return the path of the first."""
    found = {
        **machine,
        "counts": {kind: sum(o.outcome == kind for o in outcomes) for kind in MARKS},
        "checks": [asdict(outcome) for outcome in outcomes],
        "logs": logs,
    }
    (folder / "report.json").write_text(json.dumps(found, indent=1) + "\n")
    path = folder / "report.txt"
    path.write_text(text(machine, outcomes, logs))
    return path


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return str(value)
