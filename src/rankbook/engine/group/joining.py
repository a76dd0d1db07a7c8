"""What a session asks of a rank about its group: to open a store, to join, to leave."""

from __future__ import annotations

import socket

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.boards import FileBoard, StoreBoard
from rankbook.calls.checks import Board, Check
from rankbook.distributed import rendezvous
from rankbook.engine import masks
from rankbook.engine.group.tidying import tidy
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models import GroupInfo
from rankbook.models.requests import Destroy, EndScript, HostStore, Initialize, Reach

__all__ = ["destroy", "end_script", "host_store", "initialize", "reach"]

_TIDY = 0.2
"""Seconds after a group was replaced until the remains of the former one are released."""


@operation(HostStore, on=MAIN)
def host_store(_job: Job, request: HostStore) -> str:
    """Open the store in which the ranks meet; return its URL for other ranks."""
    with masks.kept_from_new_threads(but=masks.ENDS):
        return rendezvous.host(request.address)


@operation(Reach, on=MAIN)
def reach(_job: Job, request: Reach) -> bool:
    """Whether this process can connect to a store on another host."""
    address, _, port = request.url.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((address, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


@operation(Initialize, on=MAIN)
def initialize(job: Job, request: Initialize) -> GroupInfo:
    """Join a generation."""
    ledger, group = job.engine.ledger, job.engine.group
    ledger.generation = request.generation
    if ledger.check is not None:
        ledger.check.close()
        ledger.check = None
    with masks.kept_from_new_threads(but=masks.ENDS):
        info = group.initialize(request)
    if request.check:
        ledger.check = Check(_board(request), request.rank, request.timeout_minutes * 60)
    # A new rank has counted the calls that made the group; ranks with healed groups have not.
    ledger.count_again()
    if len(group.epochs) > 1:
        job.later.append((_TIDY, tidy))
    return info


def _board(wanted: Initialize) -> Board:
    """The board on which the ranks of a generation post their next calls."""
    if wanted.url.startswith("file://"):  # the ranks share a host
        return FileBoard(f"{wanted.url.removeprefix('file://')}-check-{{}}", wanted.rank)
    return StoreBoard(c10d._get_default_store(), wanted.rank)


@operation(Destroy, on=MAIN)
def destroy(job: Job, _request: Destroy) -> None:
    """Leave the group."""
    with masks.kept_from_new_threads(but=masks.ENDS):
        job.engine.group.destroy()


@operation(EndScript, on=MAIN)
def end_script(job: Job, _request: EndScript) -> None:
    """Restore the session's group after a script, as the next job on this thread does, too."""
    job.later.append((_TIDY, tidy))
