"""Context variables that cells set: they hold in the next cell, as in a plain kernel.

Each request runs in a context of its own. The precision of ``decimal`` and, from NumPy 2.2 on, how
arrays are printed are such variables.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Variables"]


class Variables:
    """Those that cells have set."""

    def __init__(self) -> None:
        self._set: dict[contextvars.ContextVar[Any], Any] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Set them in the present context; take note of those that change within the block."""
        for variable, value in self._set.items():
            variable.set(value)
        before = contextvars.copy_context()
        try:
            yield
        finally:
            for variable, value in contextvars.copy_context().items():
                if variable not in before or before[variable] is not value:
                    self._set[variable] = value
