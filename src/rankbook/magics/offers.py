"""What Tab offers for an argument of a magic: words, ranks, names, files, modules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import PathFinder
from itertools import islice
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from rankbook.magics.cursor import Wanted
from rankbook.magics.options import FILES, NAMES_HERE, NAMES_THERE, RANK_SELECTIONS, SCRIPTS

__all__ = ["offers"]

_MOST = 1_000
"""Files of a folder that are offered."""


def offers(
    wanted: Wanted,
    before: Sequence[str],
    *,
    ranks: Callable[[], Sequence[str]],
    here: Callable[[], Iterable[str]],
    there: Callable[[str], Iterable[str]],
) -> tuple[str, list[str]]:
    """The part of the argument that is typed, and its completions.

    Args:
        wanted: What can be typed here.
        before: The words before it.
        ranks: Selections of ranks.
        here: Variables of the notebook.
        there: Variables of the ranks that begin so.
    """
    typed, kind = wanted.typed, wanted.ways
    if kind == RANK_SELECTIONS:
        above, comma, typed = typed.rpartition(",")
        words = ranks() if comma else ["all", *ranks()]
        if "=" not in typed and "-" in typed:  # a range: 0-
            typed, words = typed.rpartition("-")[2], [one for one in words if one.isdigit()]
        words = [one for one in words if one not in above.split(",")]
    elif kind == NAMES_HERE:
        words = [*here()]
    elif kind == NAMES_THERE:
        words = [*there(typed)]
    elif kind == SCRIPTS and "-m" in before:
        words = _modules(typed)
    elif kind in (FILES, SCRIPTS):
        words = _files(typed, ".py" if kind == SCRIPTS else "")
    else:
        words = [*kind]
    return typed, [word for word in dict.fromkeys(words) if word.startswith(typed)]


def _files(typed: str, ending: str) -> list[str]:
    """Paths that begin like that: folders, and files with an ending."""
    head, slash, begun = typed.rpartition("/")
    folder = Path(f"{head}{slash}" or ".").expanduser()
    try:
        with os.scandir(folder) as entries:
            found = [
                f"{head}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in islice(entries, _MOST)
                if (begun.startswith(".") or not entry.name.startswith("."))
                and (entry.name.endswith(ending) or entry.is_dir())
            ]
    except OSError:
        return []
    return sorted(found)


def _modules(typed: str) -> list[str]:
    """Modules of the typed package, found by the notebook's Python; none is imported."""
    *packages, _ = typed.split(".")
    path: Any = None  # sys.path
    for package in packages:
        spec = PathFinder.find_spec(package, path)
        path = spec and spec.submodule_search_locations
        if not path:
            return []
    above = "".join(f"{package}." for package in packages)
    return sorted(f"{above}{module.name}" for module in iter_modules(path))
