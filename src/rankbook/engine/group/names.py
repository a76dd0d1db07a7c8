"""The names that a cell finds on its rank: ``torch``, ``dist``, ``rank`` and the others."""

from __future__ import annotations

import weakref
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["Names"]

_LENT = "__rankbook_lent__"
"""Key in the globals of a function that was sent here: the names that are this rank's."""


class Names:
    """Sets them in the cells' namespace, and in the globals of functions that were sent here.

    Attributes:
        values: The values by name.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self._namespace = namespace
        self._functions = weakref.WeakSet[FunctionType]()

    def update(self, **values: Any) -> None:
        """Set them, after an initialisation."""
        self.values.update(values)
        self._namespace.update(values)
        for function in self._functions:
            self._lend(function)

    def restore(self) -> None:
        """Restore names that a cell deleted, as ``%reset`` does."""
        for name, value in self.values.items():
            self._namespace.setdefault(name, value)

    def lend(self, function: FunctionType) -> None:
        """Give the names to a function that was sent here, now and after later initialisations."""
        self._functions.add(function)
        self._lend(function)

    def _lend(self, function: FunctionType) -> None:
        own_globals = function.__globals__
        lent = own_globals.setdefault(_LENT, {})
        for name, value in self.values.items():
            # The notebook's value of such a name wins, unless it is the same module.
            is_free = name not in own_globals or isinstance(own_globals[name], ModuleType)
            if is_free or (name in lent and lent[name] is own_globals[name]):
                own_globals[name] = lent[name] = value
