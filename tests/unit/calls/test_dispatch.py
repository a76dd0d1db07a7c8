"""The account in a torch that lacks private names: what it does without them, and what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRY = """
import os
import warnings
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from torch.nn.parallel import DistributedDataParallel
import torch.distributed.distributed_c10d as c10d

# Deleted while rankbook looks for them: this torch still needs them itself.
deleted = [(owner, name, vars(owner)[name]) for owner, name in {deleted}]
for owner, name, _ in deleted:
    delattr(owner, name)

from rankbook import calls
from rankbook.engine.looking.recorder import Recorder, lacking

for owner, name, its in deleted:
    setattr(owner, name, its)

ledger = calls.Ledger()
calls.install(ledger)
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
net = DistributedDataParallel(torch.nn.Linear(2, 2))
begun = ledger.last
dist.all_reduce(torch.ones(4))
functional.wait_tensor(functional.all_reduce(torch.ones(2), "sum", dist.group.WORLD))
net(torch.ones(1, 2)).sum().backward()
dist.all_reduce(torch.ones(3, requires_grad=True).double())
told = ledger.since(begun)[0]
print([(call.op, call.number - told[0].number, call.completed is not None) for call in told])
print([lack.split(":")[0] for lack in (*calls.lacking(), *lacking())])
Recorder().entries()
calls.remove()
dist.all_reduce(torch.ones(4))
print(ledger.last - told[-1].id, flush=True)
os._exit(0)  # as ranks end: threads of gloo's may abort the end of an interpreter
"""

EVERYTHING = [("all_reduce", number, True) for number in range(4)]
PYTHONS = [("all_reduce", 0, True), ("all_reduce", 1, True)]

QUIET = [
    ("torch._C", "_ExcludeDispatchKeyGuard"),
    ("torch._C", "_AutoDispatchBelowADInplaceOrView"),
    ("torch._C", "_TorchDispatchModeKey"),
    ("torch._C", "_get_dispatch_mode"),
    ("c10d", "_resolve_process_group"),
    ("torch.library.Library", "_destroy"),
]
"""Names without which the account sees all the same."""

RECORDER = ("torch._C._distributed_c10d", "_dump_fr_trace")


def tried(deleted):
    """What a process says that has lost some names."""
    listed = f"[{', '.join(f'({owner}, {name!r})' for owner, name in deleted)}]"
    program = TRY.replace("{deleted}", listed)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told, lacking, later = done.stdout.splitlines()[-3:]  # gloo may have said something
    return eval(told), eval(lacking), int(later)  # noqa: S307 - what was printed just now


def test_each_call_is_counted_once_without_the_dispatchers_private_names_and_the_recorder():
    """That torch's recorder is lacking is said, and nothing else."""
    told, lacking, later = tried([*QUIET, RECORDER])
    assert told == EVERYTHING
    assert lacking == ["torch's flight recorder cannot be read"]
    assert later == 0


def test_without_a_way_into_the_dispatcher_pythons_calls_are_reported_and_the_lack_is_said():
    told, lacking, _ = tried([("torch._ops.OpOverload", "_handle")])
    assert told == PYTHONS
    assert lacking == ["torch's dispatcher cannot be observed"]


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), QUIET)
def test_the_account_sees_everything_without(owner, name):
    assert tried([(owner, name)])[:2] == (EVERYTHING, [])
