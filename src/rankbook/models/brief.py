"""Dataclasses of many fields that show those which say something."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

__all__ = ["Brief"]


class Brief:
    """A dataclass without a ``repr`` of its own; shows fields that differ from their defaults."""

    def __repr__(self) -> str:
        of_class: Any = self  # only dataclasses derive from it
        shown = [
            f"{field.name}={value!r}"
            for field in fields(of_class)
            if (value := getattr(self, field.name)) != _default(field)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
