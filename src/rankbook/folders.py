"""The folder in which a process stands, which may be gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["here"]


def here() -> str:
    """The present folder; empty if it is gone."""
    with suppress(OSError):
        return str(Path.cwd())
    return ""
