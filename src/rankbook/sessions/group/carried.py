"""What was made with earlier process groups, and whether it goes on, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rankbook.models import GroupInfo
from rankbook.words import sentence_start

__all__ = ["in_words"]


def in_words(infos: Mapping[int, GroupInfo]) -> str:
    """The end of a sentence that says that a group was made: its full stop, and more where needed.

    Args:
        infos: By rank, its place in that group.
    """
    goes_on = _kinds(info.healed for info in infos.values())
    ended = _kinds(info.lost for info in infos.values())
    text = f"; {_listed(goes_on)} made before go on." if goes_on else "."
    if ended:
        some = _listed([f"some {kind}" if kind in goes_on else kind for kind in ended])
        text += f" {sentence_start(some)} made before have ended; each says so when it is used."
    return text


def _kinds(said: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(kind for its in said for kind in its))


def _listed(kinds: list[str]) -> str:
    *most, last = kinds
    return f"{', '.join(most)} and {last}" if most else last
