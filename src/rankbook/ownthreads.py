"""Which threads of a process are rankbook's own: their names say so."""

from __future__ import annotations

import threading

__all__ = ["is_ours"]

_OURS = "rankbook-"


def is_ours(thread: threading.Thread) -> bool:
    """Whether rankbook has started a thread, and no code of a person's."""
    return thread.name.startswith(_OURS)
