"""What a prediction may be: a number, a list, a choice. Anything else is refused in a line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from rankbook.errors import LessonError, RankbookError
from rankbook.ranks import parse

__all__ = ["Choice", "Form", "Number", "Numbers", "Ranks", "Whole", "in_short", "plain"]

_LONGEST = 60
"""Characters of a value that are repeated."""


_RANKS = re.compile(r"^(?:only )?ranks? ")
"""What many type in front of the numbers."""

_WRITTEN_OUT = (
    (re.compile(r"\s*\bto\b\s*"), "-"),
    (re.compile(r"\s*(?:,|\band\b)\s*(?:and\b\s*)?"), ","),
    (re.compile(r"(?<=\d)\s+(?=\d)"), ","),
)
"""``0 to 2``, ``1 and 3``, ``0 1 3``, in the words of the magics."""


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

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """Return a prediction in JSON's types.

        Raises:
            LessonError: It has another type or shape.
        """
        if value is ...:
            raise LessonError(f"Type your prediction in place of the dots: {self.asked}.")
        found = self._read(plain(value))
        if found is None:
            raise LessonError(f"Predict {self.asked}; not {in_short(value)}.")
        return found

    def _read(self, value: Any) -> Any:
        """The value, or None if it does not have this form."""
        raise NotImplementedError

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether a prediction is the truth, within a relative tolerance."""
        guesses, truths = _numbers(predicted), _numbers(truth)
        return (
            len(guesses) == len(truths)
            and all(map(_is_number, truths))
            and all(
                math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-9)
                for one, other in zip(guesses, truths, strict=True)
            )
        )


def _is_number(value: Any) -> bool:
    """Whether it is a finite number that a float can hold."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def in_short(value: Any) -> str:
    """A value as it was typed, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _numbers(value: Any) -> list[float]:
    return list(value) if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Whole(Form):
    """A whole number."""

    @property
    def example(self) -> str:
        """What could be typed."""
        return "2"

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        return "a whole number, such as 2"

    def _read(self, value: Any) -> int | None:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return int(value) if is_whole and _is_number(value) else None


@dataclass(frozen=True)
class Number(Form):
    """A number."""

    @property
    def example(self) -> str:
        """What could be typed."""
        return "0.5"

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        return "a number, such as 0.5"

    def _read(self, value: Any) -> float | None:
        return float(value) if _is_number(value) else None


@dataclass(frozen=True)
class Numbers(Form):
    """A list of numbers."""

    length: int

    @property
    def example(self) -> str:
        """What could be typed."""
        return repr(list(range(1, self.length + 1)))

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        return f"a list of {self.length} numbers, such as {self.example}"

    def _read(self, value: Any) -> list[float] | None:
        if not isinstance(value, list) or len(value) != self.length:
            return None
        if not all(map(_is_number, value)):
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

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        return 'ranks, such as "0,2", "0-3" or "none"'

    def _read(self, value: Any) -> list[int] | None:
        if isinstance(value, str):
            value = _RANKS.sub("", value.strip().lower())
            for written, meant in _WRITTEN_OUT:
                value = written.sub(meant, value)
        if value in ("", [], "none", "no rank", "nobody"):
            return []
        try:
            return sorted(parse(value, self.world_size))
        except (RankbookError, TypeError):
            return None

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether these are the same ranks."""
        del tolerance
        return isinstance(truth, list) and set(predicted) == set(truth)


@dataclass(frozen=True)
class Choice(Form):
    """One of some words."""

    options: tuple[str, ...]

    @property
    def example(self) -> str:
        """What could be typed."""
        return " or ".join(f'"{option}"' for option in self.options)

    @property
    def asked(self) -> str:
        """What is asked for, with an example."""
        return self.example

    def _read(self, value: Any) -> str | None:
        if isinstance(value, bool):
            value = "yes" if value else "no"
        found = _same(re.sub(r"^\s*the\s+", "", str(value), flags=re.IGNORECASE), self.options)
        return found[0] if len(found) == 1 else None

    def agree(self, predicted: Any, truth: Any, tolerance: float) -> bool:
        """Whether it is that word."""
        del tolerance
        return bool(predicted == truth)


def _same(value: str, options: Iterable[str]) -> Sequence[str]:
    return [option for option in options if option.lower() == value.strip().lower()]
