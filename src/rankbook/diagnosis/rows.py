"""What the ranks of a verdict do, a line for those that do the same, the cause first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rankbook.models import Diagnosis

__all__ = ["Row", "rows"]

_AGE = re.compile(r"\bfor [\d.]+ s\b")
"""How long a rank has done it; this differs a little between ranks that do the same."""

_VERBS = {
    "does": "do",
    "has": "have",
    "runs": "run",
    "stands": "stand",
    "waits": "wait",
    "was": "were",
}
"""Verbs with which a phrase begins, by what they are of several."""

_CLAUSES = {
    "its cell has ended": "their cells have ended",
    "its cell had ended": "their cells had ended",
    "its script has ended": "their scripts have ended",
    "its script had ended": "their scripts had ended",
    "it runs no cell": "they run no cell",
    "it ran no cell": "they ran no cell",
    "then waits": "then wait",
    "then runs": "then run",
}


@dataclass(frozen=True)
class Row:
    """Ranks that do the same."""

    ranks: tuple[int, ...]
    part: str
    """Theirs in the verdict: ``cause``, ``stuck``, ``cause, stuck`` or empty."""
    does: str


def rows(diagnosis: Diagnosis) -> list[Row]:
    """Sum up what each rank does."""

    def part_of(rank: int) -> str:
        parts = {"cause": diagnosis.ranks, "stuck": diagnosis.stuck}
        return ", ".join(name for name, ranks in parts.items() if rank in ranks)

    alike: dict[tuple[str, str], list[int]] = {}
    for rank, does in sorted(diagnosis.per_rank.items()):
        alike.setdefault((part_of(rank), _AGE.sub("", does)), []).append(rank)
    found = [
        Row(tuple(ranks), part, _of(len(ranks), diagnosis.per_rank[ranks[0]]))
        for (part, _), ranks in alike.items()
    ]
    return sorted(found, key=lambda row: ("cause" not in row.part, row.ranks))


def _of(count: int, does: str) -> str:
    """A phrase about one rank, said of several."""
    if count == 1:
        return does
    verb, space, rest = does.partition(" ")
    does = f"{_VERBS.get(verb, verb)}{space}{rest}"
    for one, many in _CLAUSES.items():
        does = does.replace(one, many)
    return does
