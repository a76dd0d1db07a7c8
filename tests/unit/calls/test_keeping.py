"""Keeping what calls put in and what they get out."""

from __future__ import annotations

import inspect
import threading

import pytest
import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as functional
from processes import wait_until

from rankbook import calls
from rankbook.calls import Ledger, keeping
from rankbook.calls.keeping import Keeper


@pytest.fixture
def ledger():
    """The account of a group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    ledger = Ledger()
    calls.install(ledger)
    yield ledger
    calls.remove()
    dist.destroy_process_group()


@pytest.fixture
def keeper(ledger):
    ledger.keeper = Keeper()
    return ledger.keeper


def wait_unseen(work):
    """Wait until a call is done, by torch's own question, which tells the account nothing."""
    is_completed = inspect.unwrap(dist.Work.is_completed)
    wait_until(lambda: is_completed(work))


def sides(kept):
    return [
        None if side is None else [tensor.tolist() for tensor in side]
        for side in (kept.given, kept.got)
    ]


def test_what_goes_in_and_comes_out_is_kept_as_it_was(keeper):
    x = torch.tensor([1.0, 2.0])
    dist.all_reduce(x)
    x.zero_()
    [kept] = keeper.kept
    assert sides(kept) == [[[1.0, 2.0]], [[1.0, 2.0]]]
    assert not kept.is_late


@pytest.mark.parametrize(
    ("call", "given", "got"),
    [
        (lambda: dist.all_gather([torch.zeros(1)], torch.ones(1)), [[1.0]], [[1.0]]),
        (lambda: dist.reduce_scatter(torch.zeros(1), [torch.ones(1)]), [[1.0]], [[1.0]]),
        (lambda: dist.broadcast(torch.ones(1), src=0), [[1.0]], [[1.0]]),
        (lambda: dist.gather(torch.ones(1), [torch.zeros(1)]), [[1.0]], [[1.0]]),
        (lambda: dist.scatter(torch.zeros(1), [torch.ones(1)]), [[1.0]], [[1.0]]),
        (lambda: dist.all_to_all_single(torch.zeros(1), torch.ones(1)), [[1.0]], [[1.0]]),
        (dist.barrier, [], []),
    ],
)
def test_results_and_what_is_put_in_are_distinguished(keeper, call, given, got):
    call()
    [kept] = keeper.kept
    assert sides(kept) == [given, got]


def test_a_functional_collective_gives_what_it_has_given_after_the_wait(keeper):
    x = functional.all_reduce(torch.ones(2), "sum", dist.group.WORLD)
    assert (x + 1).tolist() == [2.0, 2.0]
    [kept] = keeper.kept
    assert sides(kept) == [[[1.0, 1.0]], [[1.0, 1.0]]]


def test_a_call_that_nobody_waits_for_is_copied_at_the_end_and_says_so(keeper):
    x = torch.ones(1)
    work = dist.all_reduce(x, async_op=True)
    wait_unseen(work)
    keeper.finish()
    [kept] = keeper.kept
    assert (sides(kept), kept.is_late) == ([[[1.0]], [[1.0]]], True)


def test_an_end_that_another_thread_sees_first_is_left_to_the_thread_that_waits(ledger, keeper):
    x = torch.ones(1)
    work = dist.all_reduce(x, async_op=True)
    wait_unseen(work)
    other = threading.Thread(target=ledger.settle)
    other.start()
    other.join()
    assert keeper.kept[0].got is None
    work.wait()
    assert sides(keeper.kept[0]) == [[[1.0]], [[1.0]]]
    assert not keeper.kept[0].is_late


def test_large_tensors_are_not_kept_and_the_call_works(keeper):
    x = torch.ones(300_000)
    dist.all_reduce(x)
    assert sides(keeper.kept[0]) == [None, None]
    assert float(x.sum()) == 300_000


def test_only_so_many_calls_are_kept_and_the_others_counted(keeper, monkeypatch):
    monkeypatch.setattr(keeping, "_MOST", 2)
    for _ in range(5):
        dist.all_reduce(torch.ones(1))
    assert (len(keeper.kept), keeper.more) == (2, 3)


def test_nothing_is_kept_unless_it_is_asked_for(ledger):
    dist.all_reduce(torch.ones(1))
    assert ledger.keeper is None
