"""The rendezvous of ranks before they join a generation: a file, or a store on rank 0's host."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["remove_former"]


def remove_former(former: str, url: str) -> None:
    """Remove the file in which the ranks met for an earlier session; all have left it.

    A session removes its own files, unless it ended and left its group as it was.

    Args:
        former: Where the ranks met before, empty if they have not.
        url: Where they meet now.
    """
    folder = Path(former.removeprefix("file://")).parent
    if former.startswith("file://") and folder != Path(url.removeprefix("file://")).parent:
        with suppress(OSError):  # the other ranks do the same
            for path in folder.glob("store-*"):
                path.unlink(missing_ok=True)
            folder.rmdir()
