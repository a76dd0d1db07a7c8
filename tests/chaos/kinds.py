"""Kinds of hangs: the code that hangs, and what must be said about it.

Lines that end with ``# *`` must be named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from forms import FORMS
from reported import REPORTED, Reported

__all__ = ["ALL_KINDS", "KINDS", "Hang"]


@dataclass(frozen=True)
class Hang:
    """Code that cannot end by itself."""

    code: str
    verdict: str
    """``Diagnosis.kind`` that it must get."""
    culprits: frozenset[int]
    """``Diagnosis.ranks`` that it must name."""
    operation: str
    """What must stand in the sentence."""
    proven: bool = True
    """Whether it ends by itself, freed; otherwise it is interrupted."""


Kind = Callable[[Random, int], Hang]


def _some(random: Random, n: int, most: int | None = None) -> frozenset[int]:
    """Some ranks, at least one, at most all but one."""
    return frozenset(random.sample(range(n), random.randint(1, most or n - 1)))


def missing_rank(random: Random, n: int) -> Hang:
    """Some ranks skip a collective."""
    skip = _some(random, n)
    name, call = random.choice(
        [
            ("all_reduce", "dist.all_reduce(torch.ones(8))"),
            ("barrier", "dist.barrier()"),
            ("all_gather", "dist.all_gather([torch.ones(2)] * world_size, torch.ones(2))"),
        ]
    )
    return Hang(f"if rank not in {set(skip)}:\n    {call}  # *", "missing_rank", skip, name)


def asynchronous(random: Random, n: int) -> Hang:
    """Some ranks skip a collective that others wait for through a handle."""
    skip = _some(random, n)
    code = (
        f"if rank not in {set(skip)}:\n"
        "    work = dist.all_reduce(torch.ones(3), async_op=True)\n"
        "    total = sum(range(1000))\n"
        "    work.wait()  # *"
    )
    return Hang(code, "missing_rank", skip, "all_reduce")


def mismatch(random: Random, n: int) -> Hang:
    """One rank calls something else than the others."""
    odd = random.randrange(n)
    code = (
        f"if rank == {odd}:\n    dist.barrier()\nelse:\n    dist.all_reduce(torch.ones(4, 4))  # *"
    )
    culprits = frozenset([odd]) if n > 2 else frozenset(range(n))
    return Hang(code, "mismatch", culprits, "barrier")


def subgroup(random: Random, n: int) -> Hang:
    """A member of a subgroup skips its collective."""
    members = sorted(random.sample(range(n), random.randint(2, n)))
    skip = frozenset(random.sample(members, 1))
    code = (
        f"group = dist.new_group({members})\n"
        f"if rank in {members} and rank not in {set(skip)}:\n"
        "    dist.all_reduce(torch.ones(5), group=group)  # *"
    )
    return Hang(code, "missing_rank", skip, "all_reduce")


def new_group(random: Random, n: int) -> Hang:
    """Some ranks do not take part in making a group, for which the others wait in a store."""
    skip = _some(random, n)
    return Hang(
        f"if rank not in {set(skip)}:\n    dist.new_group()  # *", "missing_rank", skip, "new_group"
    )


def receive(random: Random, n: int) -> Hang:
    """A rank receives what no rank sends."""
    receiver, sender = random.sample(range(n), 2)
    code = f"if rank == {receiver}:\n    dist.recv(torch.ones(3), src={sender})  # *"
    return Hang(code, "missing_rank", frozenset([sender]), "recv")


def receive_from_each_other(random: Random, n: int) -> Hang:
    """Two ranks receive from each other."""
    one, other = random.sample(range(n), 2)
    code = (
        f"if rank in {{{one}, {other}}}:\n"
        f"    dist.recv(torch.ones(3), src={other} if rank == {one} else {one})  # *"
    )
    return Hang(code, "mismatch", frozenset([one, other]), "recv")


def raised(random: Random, n: int) -> Hang:
    """A rank raises while others wait for it."""
    bad = random.randrange(n)
    code = (
        f"if rank == {bad}:\n    raise ValueError('no data')  # *\ndist.all_reduce(torch.ones(2))"
    )
    return Hang(code, "raised", frozenset([bad]), "all_reduce")


def ddp(random: Random, n: int) -> Hang:
    """A rank skips the backward of a DDP model."""
    skip = random.randrange(n)
    code = (
        "net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))\n"
        f"loss = net(torch.ones(2, 4)).sum()\nif rank != {skip}:\n    loss.backward()  # *"
    )
    return Hang(code, "missing_rank", frozenset([skip]), "all_reduce")


def fsdp(random: Random, n: int) -> Hang:
    """A rank skips the forward of an FSDP2 model."""
    skip = random.randrange(n)
    code = (
        "from torch.distributed.fsdp import fully_shard\n"
        "from torch.distributed.device_mesh import init_device_mesh\n"
        "net = torch.nn.Linear(8, 8)\n"
        "fully_shard(net, mesh=init_device_mesh('cpu', (world_size,)))\n"
        f"if rank != {skip}:\n    net(torch.ones(2, 8))  # *"
    )
    return Hang(code, "missing_rank", frozenset([skip]), "all_gather")


def _slow(body: str) -> Kind:
    def kind(random: Random, n: int) -> Hang:
        slow = random.randrange(n)
        code = f"import time\nif rank == {slow}:\n    {body}\ndist.all_reduce(torch.ones(2))"
        return Hang(code, "slow", frozenset([slow]), "all_reduce", proven=False)

    return kind


def _as_reported(its: Reported, _random: Random, n: int) -> Hang:
    return Hang(its.code, its.verdict, its.culprits_of(n), its.operation)


KINDS: dict[str, Kind] = {
    "missing rank": missing_rank,
    "asynchronous": asynchronous,
    "mismatch": mismatch,
    "subgroup": subgroup,
    "new_group": new_group,
    "recv": receive,
    "recv, recv": receive_from_each_other,
    "raised": raised,
    "DDP backward": ddp,
    "FSDP2": fsdp,
    "busy loop": _slow("while True: pass"),
    "time.sleep": _slow("time.sleep(600)"),
    "subprocess": _slow("import subprocess; subprocess.run(['sleep', '600'])"),
}

ALL_KINDS: dict[str, tuple[Kind, int]] = {name: (kind, 2) for name, kind in KINDS.items()} | {
    its.name: (partial(_as_reported, its), its.ranks) for its in REPORTED + FORMS
}
"""Those and the reported ones by name, and how many ranks they take at least."""
