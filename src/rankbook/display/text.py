"""Text of streams: lines, carriage returns, prefixes; tables as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from rankbook import ranks as rank_selection
from rankbook.models.meshes import NamedMesh

__all__ = ["alike", "in_columns", "is_notice", "overwrite", "plain", "prefixed"]

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CELL = re.compile(r"(?:\x1b\[[0-9;?]*[A-Za-z])*[^\x1b]")
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJ-LS-lno-z]")


def overwrite(line: str) -> str:
    """What a terminal would show of a line with carriage returns: later text covers earlier text.

    Cursor movements to other lines, which progress bars use to stay below each other, are dropped;
    colours stay.
    """
    line = _CURSOR.sub("", line)
    if "\r" not in line:
        return line
    shown: list[str] = []
    for part in line.split("\r"):
        cells = _cells(part)
        shown[: len(cells)] = cells
    return "".join(shown).rstrip()


def _cells(text: str) -> list[str]:
    """The visible characters of a text, each with the colour codes before it."""
    cells: list[str] = []
    at = 0
    while found := _CELL.match(text, at):
        cells.append(found[0])
        at = found.end()
    if cells:
        # Codes after the last character belong to it: they end the colours set before it.
        cells[-1] += text[at:]
    return cells


def alike(line: str, stream: str) -> str:
    """A line without what differs between ranks that print the same: pid, rank, time.

    Warnings name a file after the process that ran the cell, torch's log lines begin with the rank
    and the time. A time that a person prints stays: what is logged goes to ``stderr``, or has the
    time as ``logging`` writes it.
    """
    if "[" in line or "]" in line or "_" in line:
        line = _OF_LOG.sub(r"\1\2", _OF_RANK.sub("", _OF_CELL.sub("ipykernel", line)))
    # A flood has many lines: what has neither a time nor a pid is not searched for them.
    if stream == "stderr":
        return _OF_TIME.sub("", line) if ":" in line or "pid" in line else line
    return _OF_LOGGING.sub("", line) if ":" in line and "," in line else line


_OF_CELL = re.compile(r"ipykernel_\d+(?:[/\\]\d+(?=[/\\][^/\\]+\.py\b))?")
"""A cell's file: ranks that have run other cells before it have numbered it differently."""
_OF_RANK = re.compile(r"^\[rank\d+\]: ?|(?<=\[Gloo\] Rank )\d+")
_OF_LOG = re.compile(
    r"(?:\[|^)([VIWECF])\d{4} \d\d:\d\d:\d\d\.\d+(?: +\d+)?(?= )"
    r"|^([A-Z]+:)\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \d+:\d+(?= )"
)
"""From torch's C++ in brackets, from its Python without, from its profiler with pid and thread."""
_OF_LOGGING = re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\b")
_OF_TIME = re.compile(
    r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"|^\W?(?:\d+/\d+/\d+,? )?\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\bpid[ =]\d+"
)
"""A time alone is one of a log line where that begins with it; elsewhere it may be a duration."""


def is_notice(line: str) -> bool:
    """Whether a line is the first one of a Python warning, or one of torch's log."""
    return ("Warning: " in line or line[:1] in "[VIWECF") and _NOTICE.search(line) is not None


_NOTICE = re.compile(
    r"(?::|line )\d+: \w*Warning: |^\[rank\d+\]:|^\[Gloo\] Rank |^\[?[VIWECF]\d{4} \d\d:\d\d:"
)


def plain(text: str) -> str:
    """Text without ANSI sequences."""
    return _ANSI.sub("", text)


@lru_cache(maxsize=1024)
def _prefix(ranks: frozenset[int], mesh: NamedMesh | None) -> str:
    return f"[{rank_selection.label(ranks, mesh)}] "


def prefixed(ranks: Iterable[int], text: str, mesh: NamedMesh | None = None) -> str:
    """Put ranks before a text; its further lines are indented to align with the first.

    Args:
        ranks: Whose text it is.
        text: One line, or several.
        mesh: Its dimensions name the ranks, where that is possible.
    """
    prefix = _prefix(frozenset(ranks), mesh)
    if "\n" not in text:
        return prefix + text
    return prefix + text.replace("\n", "\n" + " " * len(prefix))


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table without borders, whose columns are as wide as their widest cell.

    Args:
        rows: The cells of each row, equally many in all; the first row has the names.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
