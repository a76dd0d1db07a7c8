"""Lines that are still being rewritten, progress bars for example, in one display of their own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from rankbook.display.text import prefixed
from rankbook.models.meshes import NamedMesh

__all__ = ["Region"]


@dataclass
class Region:
    """Lines that are still being rewritten, in one display of their own."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    rows: dict[tuple[int, str, int], str] = field(default_factory=dict)
    open: dict[tuple[int, str], int] = field(default_factory=dict)
    drawn: str | None = None

    def put(self, key: tuple[int, str], text: str) -> None:
        """Put a text in the place of a line of a rank and stream, or begin one."""
        number = self.open.setdefault(key, len(self.rows))
        self.rows[(*key, number)] = text

    def end(self, key: tuple[int, str], text: str) -> None:
        """End a line; the next of that rank and stream is another."""
        self.put(key, text)
        del self.open[key]

    def text(self, mesh: NamedMesh | None) -> str:
        """The rows by rank; equal rows of several ranks are one."""
        alike: dict[tuple[int, str], list[int]] = {}
        turn: dict[int, int] = {}
        for (rank, _, _), row in self.rows.items():
            turn[rank] = turn.get(rank, -1) + 1
            alike.setdefault((turn[rank], row), []).append(rank)
        ordered = sorted(alike.items(), key=lambda pair: (pair[0][0], min(pair[1])))
        return "\n".join(prefixed(ranks, row, mesh) for (_, row), ranks in ordered)
