"""The place where ranks meet before they join a generation: a file, or a store on rank 0's host."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from rankbook.distributed import rendezvous
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models.requests import HostStore, Reach

__all__ = ["host_store", "reach", "remove_former"]


@operation(HostStore, on=MAIN)
def host_store(_job: Job, request: HostStore) -> str:
    """Open the store in which the ranks meet; return the URL that other ranks reach it by."""
    return rendezvous.host(request.address)


@operation(Reach, on=MAIN)
def reach(_job: Job, request: Reach) -> bool:
    """Whether a store that another host has opened can be connected to from here."""
    address, _, port = request.url.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((address, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


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
