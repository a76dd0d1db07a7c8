"""What a prediction may be: a number, a list, a choice. Anything else is refused in a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from rankbook.errors import LessonError, RankbookError
from rankbook.ranks import parse

__all__ = ["Choice", "Form", "Number", "Numbers", "Ranks", "Whole", "plain"]


def plain(value: Any) -> Any:
    """Make a value of JSON's types of a number, a tensor, an array, or any nesting of them."""
    if hasattr(value, "tolist"):  # a tensor, an array, or a number of NumPy's
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Form:
    """What a prediction looks like."""

    @property
    def example(self) -> str:
        """What could be typed."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """Return a prediction in JSON's types.

        Raises:
            LessonError: It has another type or shape.
        """
        if value is ...:
            raise LessonError(f"Type your prediction in place of the dots, such as {self.example}.")
        found = self._read(plain(value))
        if found is None:
            raise LessonError(f"A prediction such as {self.example} is asked for, not {value!r}.")
        return found

    def _read(self, value: Any) -> Any:
        """The value, or None if it does not have this form."""
        raise NotImplementedError

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether a prediction is the truth, within a relative tolerance."""
        return all(
            math.isclose(mine, its, rel_tol=tolerance, abs_tol=1e-9)
            for mine, its in zip(_numbers(predicted), _numbers(truth), strict=True)
        )


def _numbers(value: Any) -> list[float]:
    return list(value) if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Whole(Form):
    """A whole number."""

    @property
    def example(self) -> str:
        """What could be typed."""
        return "2"

    def _read(self, value: Any) -> int | None:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if is_whole and not isinstance(value, bool) else None


@dataclass(frozen=True)
class Number(Form):
    """A number."""

    @property
    def example(self) -> str:
        """What could be typed."""
        return "0.5"

    def _read(self, value: Any) -> float | None:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        return float(value) if is_number and math.isfinite(value) else None


@dataclass(frozen=True)
class Numbers(Form):
    """A list of numbers."""

    length: int

    @property
    def example(self) -> str:
        """What could be typed."""
        return repr(list(range(1, self.length + 1)))

    def _read(self, value: Any) -> list[float] | None:
        if not isinstance(value, list) or len(value) != self.length:
            return None
        if not all(isinstance(v, Real) and not isinstance(v, bool) for v in value):
            return None
        return [int(v) if isinstance(v, Integral) else float(v) for v in value]


@dataclass(frozen=True)
class Ranks(Form):
    """A selection of ranks, as the magics read it."""

    world_size: int = 4

    @property
    def example(self) -> str:
        """What could be typed."""
        return '"0,2"'

    def _read(self, value: Any) -> list[int] | None:
        if value in ("", [], "none"):
            return []
        try:
            return sorted(parse(value, self.world_size))
        except (RankbookError, TypeError):
            return None

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether these are the same ranks."""
        del tolerance
        return set(predicted) == set(truth)


@dataclass(frozen=True)
class Choice(Form):
    """One of some words."""

    options: tuple[str, ...]

    @property
    def example(self) -> str:
        """What could be typed."""
        return " or ".join(f'"{option}"' for option in self.options)

    def _read(self, value: Any) -> str | None:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        found = _same(str(value), self.options)
        return found[0] if len(found) == 1 else None

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether it is that word."""
        del tolerance
        return bool(predicted == truth)


def _same(value: str, options: Iterable[str]) -> Sequence[str]:
    return [option for option in options if option.lower() == value.strip().lower()]
