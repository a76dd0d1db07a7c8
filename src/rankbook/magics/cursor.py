"""Whether the code at the cursor is for this notebook or for ranks; runs nothing."""

from __future__ import annotations

import re
from argparse import REMAINDER
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from IPython.utils.tokenutil import token_at_cursor

from rankbook.magics.options import Option

__all__ = ["ForRanks", "InMagic", "Wanted", "name_at", "target", "wanted"]

_RANKS = re.compile(r"(?:^|\s)(?:-r\s*|--ranks[=\s]\s*)(\S+)")
_ABOVE = re.compile(r"(?:[^\S\n]*\n|[^\S\n]*%%(?!(?:dist|rank|local)\b)\w[^\n]*\n(?=\s*%%))*")
"""What may precede one of our cell magics: empty lines, and what runs a cell: ``%%time``."""

_MAGIC = re.compile(r"\s*(%%?)(\w+)")
_BEFORE = re.compile(
    r"\s*(?:[^\s=!%#][^=!%#\n]*=(?!=)\s*)?(?:%time(?:it)?\s+(?:-\S+\s+(?:\d+\s+)?)*)?(?=%)"
)
"""What may precede one of our line magics: ``x =``, ``%time``."""

_CELLS = {"dist", "rank"}

_ITEM = r"""\[(?:[^][\n"']*|"[^"\n]*"|'[^'\n]*')\]"""
_ITEMS = re.compile(_ITEM)
_PART = re.compile(rf"\.?[^\W\d]\w*|{_ITEM}")
_CHAIN = re.compile(rf"[^\W\d]\w*(?:\.[^\W\d]\w*|{_ITEM})*")
"""``model.layers[0].weight``."""

_CALLED = re.compile(rf"({_CHAIN.pattern})\s*\Z")

_FAR = 5_000
"""How many characters before the cursor are searched for an open bracket."""


@dataclass(frozen=True)
class ForRanks:
    """The cursor is in code that ranks run."""

    ranks: str
    """The selection, as typed."""
    code: str
    cursor: int
    begin: int
    """Where that code begins in the cell."""
    is_line: bool = False
    """Whether it is the argument of a line magic."""


@dataclass(frozen=True)
class Wanted:
    """What can be typed next to a magic."""

    typed: str
    """What is typed of it."""
    ways: tuple[str, ...] | str
    """These words; or the kind of them, as :class:`~rankbook.magics.options.Option` has it."""


@dataclass(frozen=True)
class InMagic:
    """The cursor is behind a magic, among what can be typed there."""

    magic: str
    words: tuple[str, ...]
    """What is typed before the cursor; the last one is being typed, and may be empty."""


def target(
    cell: str, cursor: int, magics: Mapping[str, Sequence[Option]], *, mode: bool
) -> ForRanks | InMagic | None:
    """Find out what runs the code at the cursor.

    Args:
        cell: All of its text.
        cursor: Where the cursor is.
        magics: By name, the options of each of our magics.
        mode: Whether plain cells run on ranks (``%dist_mode on``).

    Returns:
        None: it is for the notebook.
    """
    above = _ABOVE.match(cell)
    top = min(above.end(), cursor) if above else 0
    first = cell[top:].partition("\n")[0]
    magic = _MAGIC.match(first)
    name = magic[2] if magic else ""
    if magic and magic[1] == "%%" and name in _CELLS and cursor > top + len(first):
        chosen = _RANKS.search(first) if name == "dist" else None
        ranks = chosen[1] if chosen else first[magic.end() :].strip() if name == "rank" else ""
        return _code(ranks or "all", cell, top + len(first) + 1, cursor)
    start = cell.rfind("\n", 0, cursor) + 1
    line = cell[start:].partition("\n")[0]
    before = _BEFORE.match(line)
    here = _MAGIC.match(line, before.end()) if before else None
    if here and here[2] in magics and cursor - start >= here.end():
        typed = line[here.end() : cursor - start]
        if not typed[:1].isspace():
            return None
        return _after(here[2], here[1], typed, cell, cursor, magics[here[2]])
    if mode and not (magic or first.lstrip().startswith("!")):
        return _code("all", cell, 0, cursor)
    return None


def name_at(code: str, cursor: int) -> str:
    """The name that IPython inspects at a cursor, with its indices; in a call, the function's.

    Args:
        code: A cell.
        cursor: Where the cursor is.
    """
    plain = token_at_cursor(code, cursor)  # IPython leaves out indices
    found = (_chain_at(code, cursor), _called_at(code, cursor))
    return next((name for name in found if _ITEMS.sub("", name) == plain), plain)


def _chain_at(code: str, cursor: int) -> str:
    start, end = code.rfind("\n", 0, cursor) + 1, code.find("\n", cursor)
    for found in _CHAIN.finditer(code, start, len(code) if end < 0 else end):
        if found.start() <= cursor <= found.end():
            ends = [part.end() for part in _PART.finditer(code, *found.span())]
            return code[found.start() : next(end for end in ends if end >= cursor)]
    return ""


def _called_at(code: str, cursor: int) -> str:
    opening = _opening(code, cursor)
    called = _CALLED.search(code, code.rfind("\n", 0, opening) + 1, opening)
    return called[1] if called else ""


def _opening(code: str, cursor: int) -> int:
    """Where the innermost bracket is that is open at the cursor; 0 if none is."""
    depth = 0
    for at in range(cursor - 1, max(0, cursor - _FAR), -1):
        if code[at] in ")]}":
            depth += 1
        elif code[at] in "([{":
            if not depth:
                return at if code[at] == "(" else 0
            depth -= 1
    return 0


def wanted(options: Sequence[Option], words: Sequence[str]) -> Wanted:
    """What can be typed next after a magic and ``words``.

    Args:
        options: Of the magic.
        words: Before the cursor; the last is being typed.
    """
    *before, typed = words
    valued = {name: each for each in options if each.takes_value for name in each.names}
    name, joined, value = typed.partition("=")
    last = valued.get(before[-1]) if before else None
    if joined and name in valued:
        return Wanted(value, _values(valued[name]))
    if typed[:2] in valued and typed[2:] and typed[1] != "-":
        return Wanted(typed[2:], _values(valued[typed[:2]]))
    if last is not None and last.needs_value:
        return Wanted(typed, _values(last))
    return Wanted(typed, _argument(options, typed, _count(before, valued)))


def _argument(options: Sequence[Option], typed: str, count: int) -> tuple[str, ...] | str:
    """What follows ``count`` positional arguments: the next of them, or an option."""
    plain, dash = _plain(options, count), typed[:1] == "-"
    if plain is not None and plain.settings.get("nargs") == REMAINDER and count:
        return () if dash else _values(plain)  # options of a script, which only it knows
    if plain is not None and not dash and ((ways := _values(plain)) or typed):
        return ways
    begin = "-" if dash else "--"
    return tuple(name for each in options for name in each.names if name.startswith(begin))


def _plain(options: Sequence[Option], left: int) -> Option | None:
    """The positional argument after some of them; None if there is none."""
    for each in options:
        if each.names[0].startswith("-") or each.names == ("expression",):
            continue
        if each.settings.get("nargs") in ("*", "+", REMAINDER) or not left:
            return each
        left -= 1
    return None


def _count(before: Sequence[str], valued: Mapping[str, Option]) -> int:
    """How many positional arguments are there already."""
    found, is_value = 0, False
    for word in before:
        if not is_value and not word.startswith("-"):
            found += 1
        is_value = not is_value and word in valued and valued[word].needs_value
    return found


def _values(option: Option) -> tuple[str, ...] | str:
    return tuple(option.settings.get("choices") or ()) or option.completes


def _code(
    ranks: str, cell: str, begin: int, cursor: int, end: int | None = None, *, is_line: bool = False
) -> ForRanks:
    """Code for ranks, without leading empty lines: IPython 9 completes nothing below them."""
    blank = _BLANK.match(cell, begin, cursor)
    begin = blank.end() if blank else begin
    return ForRanks(ranks, cell[begin:end], cursor - begin, begin, is_line)


_BLANK = re.compile(r"(?:[^\S\n]*\n)*")


def _after(
    name: str, mark: str, typed: str, cell: str, cursor: int, options: Sequence[Option]
) -> ForRanks | InMagic:
    """What follows one of our magics: options, or the code of ``%dist`` or ``%dist_show``."""
    words = typed.split()
    if not typed or typed[-1].isspace():
        words.append("")
    takes_code = any(each.names == ("expression",) for each in options)
    if mark == "%%" or not takes_code:
        return InMagic(name, tuple(words))
    with_value = {one for each in options if each.needs_value for one in each.names}
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
    end = cell.find("\n", cursor)
    ranks = chosen[1] if chosen else "all"
    return _code(ranks, cell, offset, cursor, len(cell) if end < 0 else end, is_line=True)
