"""What a session asks of a rank about its group: to open a store, to join, to leave."""

from __future__ import annotations

import socket

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.boards import FileBoard, StoreBoard
from rankbook.calls.checks import Board, Check
from rankbook.distributed import rendezvous
from rankbook.engine.group.tidying import tidy
from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.models import GroupInfo
from rankbook.models.requests import Destroy, EndScript, HostStore, Initialize, Reach

__all__ = ["destroy", "end_script", "host_store", "initialize", "reach"]

_TIDY = 0.2
"""Seconds after a group was replaced until what the former one has left is released."""


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


@operation(Initialize, on=MAIN)
def initialize(job: Job, request: Initialize) -> GroupInfo:
    """Join a generation."""
    ledger, group = job.engine.ledger, job.engine.group
    ledger.generation = request.generation
    if ledger.check is not None:
        ledger.check.close()
        ledger.check = None
    info = group.initialize(request)
    if request.check:
        ledger.check = Check(_board(request), request.rank, request.timeout_minutes * 60)
    # A rank that is new has counted what made the group, those whose groups have healed have not.
    ledger.count_again()
    if len(group.epochs) > 1:
        job.later.append((_TIDY, tidy))
    return info


def _board(wanted: Initialize) -> Board:
    """Where the ranks of a generation post what they are about to call."""
    if wanted.url.startswith("file://"):  # they share a host
        return FileBoard(f"{wanted.url.removeprefix('file://')}-check-{{}}", wanted.rank)
    return StoreBoard(c10d._get_default_store(), wanted.rank)


@operation(Destroy, on=MAIN)
def destroy(job: Job, _request: Destroy) -> None:
    """Leave the group."""
    job.engine.group.destroy()


@operation(EndScript, on=MAIN)
def end_script(job: Job, _request: EndScript) -> None:
    """Have the session's group again after a script; so does whatever begins on this thread."""
    job.later.append((_TIDY, tidy))
