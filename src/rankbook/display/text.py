"""Text of streams: lines, carriage returns, prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rankbook import ranks as rank_selection

__all__ = ["overwrite", "plain", "prefixed"]

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJ-LS-lno-z]")


def overwrite(line: str) -> str:
    """What a terminal would show of a line with carriage returns: later text lies on earlier.

    Movements of the cursor to other lines, which progress bars use to stand below each other, are
    dropped; colours stay.
    """
    line = _CURSOR.sub("", line)
    if "\r" not in line:
        return line
    shown = ""
    for part in line.split("\r"):
        if part:
            shown = part if len(plain(part)) >= len(plain(shown)) else part + shown[len(part) :]
    return shown.rstrip()


def plain(text: str) -> str:
    """Text without ANSI sequences."""
    return _ANSI.sub("", text)


def prefixed(ranks: Iterable[int], text: str) -> str:
    """Put ranks before a text; its further lines are indented to stand below the first."""
    prefix = f"[{rank_selection.label(ranks)}] "
    if "\n" not in text:
        return prefix + text
    return prefix + text.replace("\n", "\n" + " " * len(prefix))
