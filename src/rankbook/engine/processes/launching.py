"""Launchers for notebooks on a rank, where the processes that they would start already exist."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from rankbook.engine.imports import when_imported
from rankbook.errors import InputError

__all__ = ["install"]


@functools.cache
def install() -> None:
    """Have ``accelerate.notebook_launcher`` say what to write instead.

    On every rank it would start processes that meet at the same port.
    """
    when_imported("accelerate.launchers", _refuse)


def _refuse(module: ModuleType) -> None:
    launch: Any = vars(module)["notebook_launcher"]

    @functools.wraps(launch)
    def notebook_launcher(
        function: Any, args: Any = (), num_processes: int | None = None, *more: Any, **options: Any
    ) -> Any:
        if num_processes == 1:  # it calls the function here
            return launch(function, args, num_processes, *more, **options)
        given = ", ".join(map(repr, args))
        name = getattr(function, "__name__", "the function")
        call = f"{name}({given})" if len(given) <= _SHORT else f"{name}(...)"
        raise InputError(
            "notebook_launcher starts processes for a function, and ranks are such processes: "
            f"call {call} instead, which %%dist runs on all ranks."
        )

    vars(module)["notebook_launcher"] = notebook_launcher


_SHORT = 40
"""The most characters of arguments that are repeated."""
