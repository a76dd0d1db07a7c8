"""Preparing an engine's IPython shell to be a rank's."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["prepare"]


def prepare(shell: Any) -> None:
    """Make a shell survive ``exit``."""

    class _Exit:
        """In a rank, ``exit`` is an error like any other: the engine must live on."""

        def __call__(self, code: Any = None) -> None:
            raise SystemExit(code)

        def __repr__(self) -> str:
            return "exit() raises SystemExit; %dist_shutdown stops the engines"

    shell.user_ns["exit"] = shell.user_ns["quit"] = _Exit()
    # IPython's advice after sys.exit() is for a terminal; the exception itself is shown.
    warnings.filterwarnings("ignore", message="To exit: use 'exit'")
