"""Counting the steps of communication hooks that change parameters, as torch's fused optimizers."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rankbook.distributed.healing import steps


@pytest.fixture(autouse=True)
def alone():
    steps.count()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    steps.begin()


class Fails(torch.autograd.Function):
    """Raises between the backwards of two layers, if it is to."""

    is_on = False

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if Fails.is_on:
            raise ValueError
        return gradient


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.last(Fails.apply(self.first(x)))


def update(_state, bucket):
    with torch.no_grad():
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            parameter.sub_(gradient)
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


def average(_state, bucket):
    done = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(Fails, "is_on", False)

    def make(hook):
        module = DistributedDataParallel(Two(), bucket_cap_mb=1e-6)
        module.register_comm_hook(None, hook)
        return module

    return make


def train(module):
    module(torch.ones(2)).sum().backward()


def taken(module):
    found = steps.taken_by_hooks([("its kind", module)])
    assert found.keys() <= {"DistributedDataParallel its kind"}
    return [each for counts in found.values() for each in counts]


def test_a_step_of_which_some_buckets_were_cut_counts_by_half(make, monkeypatch):
    module = make(update)
    assert taken(module) == [0]
    for count in (1, 2):
        train(module)
        assert taken(module) == [count]
    monkeypatch.setattr(Fails, "is_on", True)
    with pytest.raises(ValueError, match=r"^$"):
        train(module)
    assert taken(module) == [2.5]
    steps.begin()
    assert taken(module) == [0]


def test_steps_of_an_optimizer_are_counted_as_its_own(make):
    module = make(average)
    optimizer = torch.optim.SGD(module.parameters(), lr=1)
    train(module)
    assert taken(module) == [0]
    optimizer.step()
    assert taken(module) == []


def test_a_module_without_a_hook_has_none_that_takes_steps():
    assert taken(DistributedDataParallel(Two())) == []
