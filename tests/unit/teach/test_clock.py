"""The clock by which lesson 10 measures an answer."""

from __future__ import annotations

import threading
import time
from time import perf_counter
from types import SimpleNamespace

import pytest
import torch

from rankbook.teach.here import Here
from rankbook.teach.lessons.measuring.clock import Clock


@pytest.fixture
def here(monkeypatch):
    """A rank; the latest of the others is at 1002 s."""

    def all_reduce(tensor, op=None):
        tensor.clamp_(min=1002.0)

    def barrier(*, async_op=False):
        return object() if async_op else None

    fake = SimpleNamespace(
        all_reduce=all_reduce,
        barrier=barrier,
        all_gather=None,
        all_gather_into_tensor=None,
        all_gather_object=None,
        ReduceOp=torch.distributed.ReduceOp,
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    its = Here({"mine": perf_counter, "other": 1})
    its.dist = fake
    return its


def test_only_what_is_said_to_take_time_does(here):
    clock = Clock(here)
    with clock.running(here.variables):
        began = time.perf_counter(), time.time_ns(), here.mine()
        clock.passes(45)
        took = time.perf_counter() - began[0], time.time_ns() - began[1], here.mine() - began[2]
    assert took == (pytest.approx(0.045), 45_000_000, pytest.approx(0.045))


def test_ranks_that_meet_go_on_by_the_clock_of_the_latest(here):
    clock = Clock(here)
    with clock.running(here.variables):
        here.dist.barrier(async_op=True)
        assert clock.now == 1000.0
        here.dist.barrier()
        assert clock.now == 1002.0
        clock.passes(5000)
        clock.meet()
        assert clock.now == 1007.0


def test_other_threads_and_what_comes_afterwards_have_the_real_clock(here):
    real = time.perf_counter
    seen = []
    clock = Clock(here)
    with clock.running(here.variables):
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join()
    assert seen[0] > 10**9
    assert time.perf_counter is real is here.mine is perf_counter
