"""The context in which cells run: what they set in it holds in the next cell, as in a plain kernel.

Each request has a context of its own. The precision of ``decimal`` and, from NumPy 2.2 on, how
arrays are printed are variables of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

__all__ = ["Variables"]

_Result = TypeVar("_Result")


class Variables:
    """The one context of all cells."""

    def __init__(self) -> None:
        self._context = self._outside = copy_context()

    def start(self, coroutine: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Start a coroutine in it."""
        context = self.now()
        if sys.version_info >= (3, 11):
            return asyncio.get_running_loop().create_task(coroutine, context=context)
        return context.run(asyncio.ensure_future, self._taking_back(coroutine))

    def now(self) -> Context:
        """That context, with what has been set outside of cells, such as ipykernel's variables."""
        now = copy_context()
        if self._context is self._outside:
            self._context = now.copy()
        for variable, value in now.items():
            if variable not in self._outside or self._outside[variable] is not value:
                self._context.run(variable.set, value)
        self._outside = now
        return self._context

    async def _taking_back(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Below Python 3.11 a task has a copy of the context: keep what changes in that."""
        try:
            return await coroutine
        finally:
            _keep(copy_context(), self._context)


def _keep(changed: Context, context: Context) -> None:
    variable: ContextVar[Any]
    for variable, value in changed.items():
        if variable not in context or context[variable] is not value:
            context.run(variable.set, value)
