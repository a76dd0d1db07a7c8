"""Of what a value is made on each rank: classes, and modules that train or do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rankbook.models.diffs import Departure, LeafDiff

__all__ = ["by_size", "made_differently"]

_TRAINS = "training"


def by_size(groups: Iterable[list[int]]) -> list[list[int]]:
    """Sets of ranks, the largest first, and of several such sets that with the lowest rank."""
    return sorted(groups, key=lambda ranks: (-len(ranks), ranks))


def made_differently(by_rank: Mapping[int, Mapping[str, str]]) -> list[LeafDiff]:
    """What is of another class on some ranks, or does not train there.

    Of a module that does not train, its parts are not named if they do not either.

    Args:
        by_rank: Paths, and what is there: see :class:`~rankbook.models.diffs.Prints`.
    """
    by_path: dict[str, dict[str, list[int]]] = {}
    for rank, made in sorted(by_rank.items()):
        for path, what in made.items():
            by_path.setdefault(path, {}).setdefault(what, []).append(rank)
    found: list[LeafDiff] = []
    modes: dict[str, dict[str, list[int]]] = {}
    for path, groups in by_path.items():
        if len(groups) == 1:
            continue
        module, _, last = path.rpartition(".")
        if last == _TRAINS:
            if any(f"{module}.".startswith(above) and modes[above] == groups for above in modes):
                continue
            modes[f"{module}." if module else ""] = groups
        found.append(_departing(path, groups, "" if last == _TRAINS else "class "))
    return found


def _departing(path: str, groups: Mapping[str, list[int]], of: str) -> LeafDiff:
    what_of = {tuple(ranks): what for what, ranks in groups.items()}
    most, *others = (tuple(ranks) for ranks in by_size(groups.values()))
    departures = tuple(
        Departure(ranks, f"{of}{what_of[ranks]}, not {what_of[most]}") for ranks in others
    )
    return LeafDiff(path, "class", most, departures)
