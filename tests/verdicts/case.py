from __future__ import annotations

from typing import NamedTuple

from rankbook.models import Look


class Case(NamedTuple):
    looks: list[Look]
    kind: str
    ranks: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    proven: bool = False
    summary: str | None = None
