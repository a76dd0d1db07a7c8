"""Ranks whose torch lacks a private name: they start, hangs are explained, and a lack is said."""

from __future__ import annotations

import os
import warnings

import pytest
from world import World

SOON = 20.0

# Deleted while rankbook looks for it, in the process that the ranks are forked from.
SITE = """
import torch, torch.distributed.distributed_c10d
import torch._C._distributed_c10d
name = {name!r}
owner = torch._C if hasattr(torch._C, name) else torch._C._distributed_c10d
its = getattr(owner, name)
delattr(owner, name)
import rankbook.calls, rankbook.engine.looking.recorder
setattr(owner, name, its)
"""

HANGS = {
    "all_reduce": "if rank: dist.all_reduce(torch.ones(2))",
    "all_reduce, in C++": (
        "net = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))\n"
        "loss = net(torch.ones(1, 2)).sum()\nif rank: loss.backward()"
    ),
    "all_reduce, functional": (
        "import torch.distributed._functional_collectives as functional\n"
        "if rank: print(functional.all_reduce(torch.ones(2), 'sum', dist.group.WORLD))"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lack"),
    [
        ("_ExcludeDispatchKeyGuard", ""),
        ("_AutoDispatchBelowADInplaceOrView", ""),
        ("_TorchDispatchModeKey", ""),
        ("_dump_fr_trace", "flight recorder"),
    ],
)
def test_ranks_start_and_explain_hangs_in_a_torch_without(name, lack, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SITE.format(name=name))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        world = World(2, seed=1)
    try:
        said = [str(warning.message) for warning in caught if "With torch" in str(warning.message)]
        assert len(said) == bool(lack)
        assert all(lack in warning for warning in said)
        for operation, code in HANGS.items():
            running = world.in_background(lambda code=code: world.session.run(code))
            assert running.join(SOON), f"{operation} was not freed"
            verdict = running.value.diagnosis
            assert (verdict.kind, verdict.ranks) == ("missing_rank", (0,))
            assert "all_reduce" in verdict.summary
            assert world.works()
    finally:
        world.close()
