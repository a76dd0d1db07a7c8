"""Counting the steps of optimizers and schedulers, to notice where ranks differ."""

from __future__ import annotations

import pytest
import torch

from rankbook import replicas
from rankbook.distributed.healing import steps
from rankbook.models import GroupInfo
from rankbook.sessions.group import carried


@pytest.fixture(autouse=True)
def counting():
    steps.count()
    steps.begin()
    steps.begin_cell()
    yield
    steps.begin()


def test_steps_are_counted_by_class_and_shapes():
    one, two = (torch.optim.SGD([torch.zeros(n, requires_grad=True)], lr=1) for n in (2, 3))
    for _ in range(2):
        one.step()
    two.step()
    assert sorted(steps.taken([one, two]).values()) == [[1], [2]]
    assert {kind.split()[0] for kind in steps.taken([one, two])} == {"SGD"}
    steps.begin()
    assert list(steps.taken([one, two]).values()) == [[0], [0]]


def test_steps_of_schedulers_are_counted_from_the_last_meeting_on():
    optimizer = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    assert sorted(steps.taken([optimizer, scheduler]).values()) == [[1], [1]]
    steps.begin([optimizer, scheduler])
    assert sorted(steps.taken([optimizer, scheduler]).values()) == [[0], [0]]
    scheduler.step()
    steps.begin()
    assert {kind.split()[0]: n for kind, n in steps.taken([optimizer, scheduler]).items()} == {
        "SGD": [0],
        "StepLR": [1],
    }


class ZeroRedundancyOptimizer(torch.optim.SGD):
    """Like torch's: steps the optimizer of this rank's part, then syncs that with others."""

    def __init__(self, params):
        super().__init__(params, lr=1)
        self.optim, self.fails = torch.optim.SGD(params, lr=1), False

    def step(self):
        self.optim.step()
        if self.fails:
            raise RuntimeError


def test_a_step_of_zero_counts_by_half_where_it_was_cut_before_its_end():
    zero = ZeroRedundancyOptimizer([torch.zeros(2, requires_grad=True)])
    zero.step()
    both = [zero, zero.optim]
    assert list(steps.taken(both).values()) == [[1]]
    zero.fails = True
    with pytest.raises(RuntimeError):
        zero.step()
    assert list(steps.taken(both).values()) == [[1.5]]


def test_steps_of_a_cell_are_counted_by_themselves():
    one = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1)
    one.step()
    steps.begin_cell()
    assert list(steps.taken_in_cell([one]).values()) == [[0]]
    one.step()
    assert list(steps.taken_in_cell([one]).values()) == [[1]]
    assert list(steps.taken([one]).values()) == [[2]]


class Cut(torch.optim.SGD):
    """Can be interrupted in a step."""

    is_cut = False

    def step(self):
        if self.is_cut:
            raise KeyboardInterrupt


def test_a_step_of_any_optimizer_counts_by_half_where_it_was_cut():
    one = Cut([torch.zeros(2, requires_grad=True)], lr=1)
    one.step()
    one.is_cut = True
    with pytest.raises(KeyboardInterrupt):
        one.step()
    assert list(steps.taken([one]).values()) == [[1.5]]
    assert list(steps.taken_in_cell([one]).values()) == [[1.5]]
    steps.begin()
    assert list(steps.taken([one]).values()) == [[0]]


def test_a_closure_that_fails_has_changed_nothing():
    one = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1)
    with pytest.raises(ZeroDivisionError):
        one.step(lambda: 1 / 0)
    assert list(steps.taken([one]).values()) == [[0]]


def test_a_step_whose_closure_fails_after_a_change_is_half_a_step():
    one = torch.optim.LBFGS([torch.ones(2, requires_grad=True)], max_iter=2)
    calls = iter([1, 0])

    def closure():
        1 / next(calls)
        one.zero_grad()
        loss = one.param_groups[0]["params"][0].pow(2).sum()
        loss.backward()
        return loss

    with pytest.raises(ZeroDivisionError):
        one.step(closure)
    assert list(steps.taken([one]).values()) == [[0.5]]
    steps.begin_cell()
    assert list(steps.taken([one]).values()) == [[0]]


def test_a_step_in_a_backward_is_half_a_step_until_that_has_ended():
    stepped, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    one = torch.optim.SGD([stepped], lr=1)
    stepped.register_post_accumulate_grad_hook(lambda _: one.step())

    def backward(divisor):
        product = other * 1
        product.register_hook(lambda gradient: gradient / (1 / divisor))
        (product * stepped).sum().backward()

    backward(1)
    assert list(steps.taken([one]).values()) == [[1]]
    with pytest.raises(ZeroDivisionError):
        backward(0)
    assert list(steps.taken([one]).values()) == [[1.5]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([{"Adam 1": [3]}, {"Adam 1": [3]}], ()),
        ([{"Adam 1": [3]}, {"Adam 1": [2]}], (("Adam", (3, 2)),)),
        ([{"Adam 1": [1]}, {"Adam 1": [0]}], (("Adam", (1, 0)),)),
        ([{"Adam 1": [1]}, {}], ()),  # the other rank has another part of the model
        ([{"Adam 1": [3]}, None, {"Adam 1": [2]}], (("Adam", (3, -1, 2)),)),
        ([{"Adam 1": [3]}, None], ()),
        ([{"Adam 1": [3, 4]}, {"Adam 1": [4]}], ()),
        ([{"SGD 1": [2.5, 3]}, {"SGD 1": [3, 3]}], (("SGD", (2.5, 3)),)),
        ([{"Zero 1": [2.5]}, {"Zero 1": [2.5]}], (("Zero", (2.5, 2.5)),)),
        ([{}, {}], ()),
    ],
)
def test_ranks_with_different_numbers_of_steps_have_diverged(said, expected):
    assert replicas.diverged(said) == expected


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((4, 4, -1, 3), "4 steps on ranks 0-1, 3 on rank 3"),
        ((1.5, 1.5, -1, 1), "2 steps (the last not to its end) on ranks 0-1, 1 on rank 3"),
        ((0.5, 0.5, 0.5, 0.5), "1 step (the last not to its end) on ranks 0-3"),
    ],
)
def test_different_step_counts_are_described_in_a_sentence(counts, said):
    info = GroupInfo("gloo", 0, 4, "cpu", is_main=True, diverged=(("Adam", counts),))
    assert carried.sentence_end(dict.fromkeys(range(4), info)) == (
        f". Replicas have diverged: Adam has taken {said}, since the group was made: load a "
        "checkpoint on all ranks."
    )
