"""Phrases that many messages need: plurals, ranks, how a process ended, what to type.

A phrase of a single message is where the message is; the verdict has its own words in
``diagnosis.wording``.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from rankbook.ranks import label

if TYPE_CHECKING:
    from rankbook.models.meshes import NamedMesh

__all__ = [
    "ON_HANG",
    "agree",
    "how_ended",
    "how_to_replace",
    "in_minutes",
    "in_words",
    "lost_before",
    "plural",
    "ranks_do",
    "sentence_start",
]

ON_HANG = ("free", "report", "wait")
"""What to do about a proven hang: free the ranks, only report it, or nothing."""

_FEW = 4
"""How many ranks a call lists one by one; more are shortened as in a magic."""


def plural(count: int, noun: str) -> str:
    """Count things: ``1 rank``, ``4 ranks``, ``0 ranks``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def agree(things: Iterable[object], one: str, many: str) -> str:
    """Choose the form of a word that agrees with the number of its subjects.

    Args:
        things: The subjects, mostly ranks. Duplicates count once.
        one: The form for one of them: ``is``, ``waits``, ``its``.
        many: The form for several, and for none: ``are``, ``wait``, ``their``.
    """
    return one if len(set(things)) == 1 else many


def in_words(ranks: Iterable[int], mesh: NamedMesh | None = None) -> str:
    """Write ranks for a sentence: ``rank 1``, ``ranks 0-3``, ``ranks 0,2 (tp=0)``.

    Args:
        ranks: The ranks.
        mesh: A mesh whose name for them is added, where they are exactly the ranks of a place in
            it. Captions and tables show only the name: :func:`rankbook.ranks.label`.
    """
    ranks = set(ranks)
    name = mesh.name_of(ranks) if mesh else ""
    return f"{agree(ranks, 'rank', 'ranks')} {label(ranks)}{f' ({name})' if name else ''}"


def ranks_do(ranks: Iterable[int], one: str, many: str, mesh: NamedMesh | None = None) -> str:
    """Write a subject and its verb: ``rank 1 waits``, ``ranks 0-3 wait``."""
    ranks = set(ranks)
    return f"{in_words(ranks, mesh)} {agree(ranks, one, many)}"


def sentence_start(text: str) -> str:
    """Capitalise the first letter of a text."""
    return text[:1].upper() + text[1:]


def how_ended(status: int | None) -> str:
    """Say how a process ended: ``was killed by SIGKILL``, ``ended with exit code 3``.

    Args:
        status: Its exit code, or minus the signal that killed it; None if unknown.
    """
    if status is None:
        return "has ended"
    if status < 0:
        with suppress(ValueError):  # a signal without a name
            return f"was killed by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"


def how_to_replace(ranks: Collection[int]) -> str:
    """Say what to type to give ranks new processes: the magic, and the call for a script."""
    argument = sorted(ranks) if len(ranks) <= _FEW else label(ranks)
    return f"%dist_restart {label(ranks)} (or restart_ranks({argument!r}))"


def lost_before(characters: int) -> str:
    """The line that says how much of an output is not shown."""
    return f"({characters:,} characters before this are lost)\n"


def in_minutes(seconds: float) -> str:
    """``2 h 5 min``, ``9 min``, ``40 s``."""
    minutes = int(seconds // 60)
    if minutes >= 60:  # noqa: PLR2004
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
