"""A rank on which an answer is tried, as the functions of a lesson see it."""

from __future__ import annotations

from typing import Any

__all__ = ["Here"]


class Here:
    """A rank, as the functions of a lesson see it: the learner's names are its attributes.

    ``here.torch``, ``here.dist``, ``here.rank`` and ``here.world_size`` are torch's own, whatever
    the learner has called so.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        import torch
        from torch import distributed as dist

        self._names = names
        self.torch: Any = torch
        self.dist: Any = dist
        self.rank: int = dist.get_rank()
        self.world_size: int = dist.get_world_size()
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
