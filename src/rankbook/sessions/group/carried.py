"""Says which objects of earlier process groups go on, and which have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from rankbook.models import GroupInfo
from rankbook.words import agree, in_words, plural, sentence_start

__all__ = ["listed", "sentence_end"]


def sentence_end(infos: Mapping[int, GroupInfo]) -> str:
    """The end of a sentence about a new group: its full stop, and more where needed.

    Args:
        infos: By rank, its place in that group.
    """
    waiting = _kinds(info.waiting for info in infos.values())
    goes_on = _kinds(info.healed for info in infos.values())
    goes_on = [kind for kind in goes_on if kind not in waiting]
    ended = _kinds(info.lost for info in infos.values())
    text = f"; {listed(goes_on)} made before go on." if goes_on else "."
    if ended:
        some = listed([f"some {kind}" if kind in goes_on else kind for kind in ended])
        text += f" {sentence_start(some)} made before have ended; each says so when it is used."
    if waiting:
        new = [rank for rank, info in infos.items() if info.is_new]
        subject = f"{in_words(new)} {agree(new, 'has', 'have')}" if new else "the replaced rank has"
        text += f" {sentence_start(listed(waiting))} wait until {subject} them, too."
    return text + _diverged(infos)


def _diverged(infos: Mapping[int, GroupInfo]) -> str:
    """Say that ranks have taken steps that others have not; empty if none has."""
    text = ""
    for name, steps in dict.fromkeys(one for info in infos.values() for one in info.diverged):
        by_count: dict[float, list[int]] = {}
        for rank, count in enumerate(steps):
            by_count.setdefault(count, []).append(rank)
        by_count.pop(-1, None)
        most, *fewer = sorted(by_count, reverse=True)
        counts = [f"{plural(ceil(most), 'step')}{_cut(most)} on {in_words(by_count[most])}"]
        less = [f"{ceil(count)}{_cut(count)} on {in_words(by_count[count])}" for count in fewer]
        counts += [listed(less)] if less else []
        text += (
            f" Replicas have diverged: {name} has taken {', '.join(counts)}, since the group was "
            "made: load a checkpoint on all ranks."
        )
    return text


def _cut(count: float) -> str:
    return " (the last not to its end)" if count % 1 else ""


def _kinds(by_rank: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(kind for kinds in by_rank for kind in kinds))


def listed(kinds: list[str]) -> str:
    """``DDP modules, FSDP modules and subgroups``."""
    *most, last = kinds
    return f"{', '.join(most)} and {last}" if most else last
