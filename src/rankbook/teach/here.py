"""A rank on which an answer is tried, as the functions of a lesson see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Ended", "Here"]


@dataclass(frozen=True)
class Ended:
    """How the cell that answers a prediction ended."""

    how: str = ""
    """``all done``, ``error``, or ``hang``."""
    ranks: tuple[int, ...] = ()
    """The ranks that ran it."""
    stuck: tuple[int, ...] = ()
    """The ranks that waited, and had to be freed."""
    culprits: tuple[int, ...] = ()
    """The ranks that its verdict names first; none if it had no verdict."""
    waited: Mapping[int, float] = field(default_factory=dict)
    """By rank, the seconds that it waited for others."""

    @property
    def passed(self) -> list[int]:
        """The ranks on which it came to its end."""
        return [rank for rank in self.ranks if rank not in self.stuck]


class Here:
    """A rank, as the functions of a lesson see it: the learner's names are its attributes.

    ``here.torch``, ``here.dist``, ``here.rank`` and ``here.world_size`` are torch's own, whatever
    the learner has called so. Where a prediction is checked, ``here.cell`` says how the cell that
    answers it ended.
    """

    def __init__(self, names: dict[str, Any], cell: Ended | None = None) -> None:
        import torch
        from torch import distributed as dist

        self._names = names
        self.torch: Any = torch
        self.dist: Any = dist
        self.rank: int = dist.get_rank()
        self.world_size: int = dist.get_world_size()
        self.cell = cell or Ended()
        self.notes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """The learner's variable of that name."""
        try:
            return self._names[name]
        except KeyError:
            raise NameError(f"name {name!r} is not defined", name=name) from None

    @property
    def variables(self) -> dict[str, Any]:
        """All variables of the learner, to be changed while an answer is tried."""
        return self._names

    def lacks(self, names: tuple[str, ...]) -> list[str]:
        """Those of the names that the learner has not defined."""
        return [name for name in names if name not in self._names]

    def note(self, **values: Any) -> None:
        """Keep numbers for the targets of an exercise."""
        self.notes |= values
