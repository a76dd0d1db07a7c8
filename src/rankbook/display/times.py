"""How a rank spent a cell's time, as a bar and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbook.timeline.shares import Share

__all__ = ["Times", "in_words", "to_html"]


_NAMES = ("computing", "communicating", "waiting", "done")
"""The fields of a share, and their names."""

_FIXED = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Times:
    """The shares of the last cell that called a collective."""

    cell: str = ""
    """The cell's name: ``In [4]``."""
    by_rank: Mapping[int, Share] = field(default_factory=dict)


def in_words(share: Share) -> str:
    """Say the parts of a rank's time: ``computing 62 %, waiting 38 %``."""
    return ", ".join(f"{name} {text}" for name, text in _parts(share))


def to_html(share: Share | None) -> str:
    """The same below a bar; nothing for a rank that did not run the cell."""
    if share is None:
        return ""
    words = ", ".join(" ".join(part).replace(" ", _FIXED) for part in _parts(share))
    bar = "".join(
        f'<span class="rb-{name}" style="width: {100 * part:.1f}%"></span>'
        for name, part in zip(_NAMES, share, strict=True)
    )
    return (
        f'<span class="rb-share" aria-hidden="true">{bar}</span>'
        f'<span class="rb-small">{words}</span>'
    )


def _parts(share: Share) -> list[tuple[str, str]]:
    """Parts of at least half a per cent, in whole per cent that add up to 100."""
    told = {name: round(100 * part) for name, part in zip(_NAMES, share, strict=True)}
    largest = max(told, key=lambda name: told[name])
    told[largest] += 100 - sum(told.values())
    return [(name, f"{percent} %") for name, percent in told.items() if percent]
