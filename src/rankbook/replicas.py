"""Whether replicas of a model have diverged, judged by the steps that their optimizers took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["Diverged", "diverged"]

Diverged = tuple[str, tuple[float, ...]]
"""Class of an optimizer or a scheduler, and by rank how many steps it has taken; -1 where new, and
half a step where the last was cut."""


def diverged(reports: Sequence[Mapping[str, Sequence[float]] | None]) -> tuple[Diverged, ...]:
    """The optimizers whose number of steps differs between ranks.

    Args:
        reports: By rank and by class and shapes of parameters, the steps of its optimizers; None:
            the rank is new.
    """
    known = [report for report in reports if report is not None]
    found = []
    for kind in dict.fromkeys(kind for report in known for kind in report):
        # A rank without such an optimizer has another part of the model: it is not a replica.
        steps = [report.get(kind, []) for report in known]
        # With several of a kind, one may be garbage that Python has freed on some ranks only. But
        # a step that was cut is none of the past.
        if not all(len(report) == 1 for report in steps) and not any(map(_cut, steps)):
            continue
        counts = {_count(report) for report in steps}
        if len(counts) > 1 or any(one % 1 for one in counts):
            by_rank = (-1 if report is None else _count(report.get(kind, [])) for report in reports)
            found.append((kind.split()[0], tuple(by_rank)))
    return tuple(found)


def _cut(steps: Sequence[float]) -> list[float]:
    """Those of which the last was cut."""
    return [one for one in steps if one % 1]


def _count(steps: Sequence[float]) -> float:
    """The steps of one of the optimizers of a kind: of one that was cut, if there is any."""
    return max(_cut(steps) or steps, default=0)
