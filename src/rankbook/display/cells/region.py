"""Lines that are still being rewritten, progress bars for example, in one display of their own."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import count

from rankbook.display.cells.entries import Entry, Key, Screen
from rankbook.display.text import prefixed
from rankbook.models.meshes import NamedMesh

__all__ = ["Region"]


@dataclass(eq=False, slots=True)
class Region(Entry):
    """Lines that are still being rewritten, in one display of their own."""

    rows: dict[tuple[int, str, int], str] = field(default_factory=dict)
    open: dict[Key, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    is_final: bool = False
    id: str = ""
    drawn: str | None = None

    def put(self, key: Key, text: str) -> None:
        """Rewrite a line, or begin one."""
        self.ranks |= {key[0]}
        if key not in self.open:
            self.open[key] = next(self.numbers)
        self.rows[(*key, self.open[key])] = text

    def take_back(self, ranks: Collection[int]) -> bool:
        """See :meth:`Entry.take_back`."""
        for key in [key for key in self.rows if key[0] in ranks]:
            del self.rows[key]
        for open_key in [key for key in self.open if key[0] in ranks]:
            del self.open[open_key]
        return Entry.take_back(self, ranks)

    @property
    def size(self) -> int:
        """See :attr:`Entry.size`."""
        return sum(map(len, self.rows.values()))

    def text(self, mesh: NamedMesh | None) -> str:
        """The rows by rank; equal rows of several ranks are one."""
        alike: dict[Key, list[int]] = {}
        turn: dict[int, int] = {}
        for (rank, _, _), row in self.rows.items():
            turn[rank] = turn.get(rank, -1) + 1
            alike.setdefault((turn[rank], row), []).append(rank)
        ordered = sorted(alike.items(), key=lambda pair: (pair[0][0], min(pair[1])))
        return "\n".join(prefixed(ranks, row, mesh) for (_, row), ranks in ordered)

    def draw(self, screen: Screen, mesh: NamedMesh | None) -> None:
        """See :meth:`Entry.draw`."""
        self.id, self.drawn = uuid.uuid4().hex, None
        self.draw_again(screen, mesh)

    def draw_again(self, screen: Screen, mesh: NamedMesh | None) -> None:
        """Show it in place, if it has changed or is final."""
        text = self.text(mesh)
        if text != self.drawn or self.is_final:
            first = self.drawn is None
            screen.redraw(text, self.id, first=first, final=self.is_final)
            self.drawn = text
