"""Whom the code at the cursor is for: this notebook, or ranks; without running anything."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankbook.magics.options import Option

__all__ = ["ForRanks", "InMagic", "options_at", "target"]

_RANKS = re.compile(r"(?:^|\s)(?:-r\s*|--ranks[=\s]\s*)(\S+)")
_MAGIC = re.compile(r"\s*(%%?)(\w+)")
_LINE = re.compile(r"\s*%dist(?=\s|$)")
_CELLS = {"dist", "rank"}


@dataclass(frozen=True)
class ForRanks:
    """The cursor is in code that ranks run."""

    ranks: str
    """The selection, as it is typed."""
    code: str
    cursor: int
    begin: int
    """Where that code begins in the cell."""


@dataclass(frozen=True)
class InMagic:
    """The cursor is behind a magic, among what can be typed there."""

    magic: str
    words: tuple[str, ...]
    """What is typed before the cursor; the last one is being typed, and may be empty."""


def target(
    cell: str, cursor: int, magics: Mapping[str, Sequence[Option]], *, mode: bool
) -> ForRanks | InMagic | None:
    """Find out whom the code at the cursor is for.

    Args:
        cell: All of it.
        cursor: Where the cursor is.
        magics: By name, what can be typed after a magic of ours.
        mode: Whether plain cells run on ranks (``%dist_mode on``).

    Returns:
        None: it is for the notebook.
    """
    first, _, rest = cell.partition("\n")
    magic = _MAGIC.match(first)
    name = magic[2] if magic else ""
    if magic and magic[1] == "%%" and name in _CELLS and cursor > len(first):
        begin = len(first) + 1
        chosen = _RANKS.search(first) if name == "dist" else None
        ranks = chosen[1] if chosen else first[magic.end() :].strip() if name == "rank" else ""
        return ForRanks(ranks or "all", rest, cursor - begin, begin)
    start = cell.rfind("\n", 0, cursor) + 1
    line = cell[start:].partition("\n")[0]
    here = _MAGIC.match(line)
    if here and here[2] in magics and cursor - start >= here.end():
        typed = line[here.end() : cursor - start]
        if not typed[:1].isspace():
            return None
        return _after(here[2], here[1], typed, cell, cursor, magics[here[2]], _end(cell, start))
    if mode and not (magic or first.lstrip().startswith("!")):
        return ForRanks("all", cell, cursor, 0)
    return None


def options_at(
    options: Sequence[Option], words: Sequence[str], ranks: Sequence[str]
) -> list[str] | None:
    """What can be typed after a magic, of which ``words`` are there.

    Args:
        options: Of the magic.
        words: Before the cursor; the last is being typed.
        ranks: Selections of ranks: ``0``, ``tp=1``.

    Returns:
        None: names of variables.
    """
    *before, typed = words
    last = before[-1] if before else ""
    valued = next((each for each in options if each.takes_value and last in each.names), None)
    if valued is not None:
        return _values(valued, ranks)
    if typed.startswith("-"):
        return [name for each in options for name in each.names if name.startswith("-")]
    plain = [each for each in options if not each.names[0].startswith("-")]
    if not plain:
        return [name for each in options for name in each.names if name.startswith("--")]
    return None if plain[0].names[0] == "names" else _values(plain[0], ranks)


def _values(option: Option, ranks: Sequence[str]) -> list[str]:
    if option.settings.get("choices"):
        return list(option.settings["choices"])
    if "backend" in option.names:
        return ["gloo", "nccl"]
    if {"--ranks", "ranks"} & set(option.names):
        return ["all", *ranks]
    return []


def _after(
    name: str,
    mark: str,
    typed: str,
    cell: str,
    cursor: int,
    options: Sequence[Option],
    end: int,
) -> ForRanks | InMagic:
    """What stands after a magic of ours: options, or the code of ``%dist`` or ``%dist_show``."""
    words = typed.split()
    if not typed or typed[-1].isspace():
        words.append("")
    takes_code = any(each.names == ("expression",) for each in options)
    if mark == "%%" or not takes_code:
        return InMagic(name, tuple(words))
    with_value = {one for each in options if each.takes_value for one in each.names}
    rest, offset = typed.lstrip(), cursor - len(typed.lstrip())
    while rest.startswith("-"):
        head = re.match(r"\S+(\s+|$)", rest)
        assert head is not None  # noqa: S101 - it starts with a dash
        taken = head[0]
        if taken.strip() in with_value and taken[-1].isspace():
            value = re.match(r"\S+(\s+|$)", rest[len(taken) :])
            taken += value[0] if value else ""
            if value is None:
                return InMagic(name, tuple(words))
        if not taken[-1].isspace():
            return InMagic(name, tuple(words))
        rest, offset = rest[len(taken) :], offset + len(taken)
    chosen = _RANKS.search(typed[: len(typed) - len(rest)])
    return ForRanks(chosen[1] if chosen else "all", cell[offset:end], cursor - offset, offset)


def _end(cell: str, start: int) -> int:
    end = cell.find("\n", start)
    return len(cell) if end < 0 else end
