"""A cell, or a script, to run on ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.cells import Script
from rankbook.models.requests import Request, Run

__all__ = ["Cell"]

_LABEL = 80
"""How many characters of a cell's first line label it."""


@dataclass(frozen=True)
class Cell:
    """What is to run, and where."""

    code: str
    ranks: tuple[int, ...]
    number: int = 0
    """Number of the notebook's cell; 0: a program runs it."""
    name: str = "a cell"
    """Its name: ``In [4]``, ``cell 3``."""
    title: str = ""
    """What it does, of code that the user has not written."""
    first_line: int = 1
    """The line of the editor in which the code begins."""
    timeout: float | None = None
    """Seconds after which it is interrupted, None for never."""
    on_hang: str = "free"
    """One of :data:`rankbook.words.ON_HANG`."""
    post_mortem: str = ""
    """One of :data:`rankbook.models.cells.POST_MORTEM`."""
    keep_values: bool = False
    """Whether the ranks keep the inputs and outputs of its calls."""
    scripts: Mapping[int, Script] = field(default_factory=dict)
    """By rank, the script to run there instead of code."""

    @property
    def label(self) -> str:
        """Its title, or its first line, cut if it is long."""
        if self.title:
            return self.title
        first = next((line.strip() for line in self.code.splitlines() if line.strip()), "")
        return first[:_LABEL]

    def requests(self) -> dict[int, Request]:
        """The requests, by rank."""
        return {
            r: Run(
                self.code,
                self.number,
                self.name,
                self.first_line,
                self.post_mortem,
                self.scripts.get(r),
                self.keep_values,
            )
            for r in self.ranks
        }
