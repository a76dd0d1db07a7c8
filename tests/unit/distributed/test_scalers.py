"""A gradient scaler whose step was cut: the next loss that it scales begins another."""

from __future__ import annotations

import copy

import pytest
import torch

from rankbook.distributed.healing import scalers, steps


class Trained:
    """One parameter, its optimizer and scaler."""

    def __init__(self, *, enabled=True):
        self.weight = torch.ones(3, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.weight], lr=0.5)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=enabled)

    def unscale(self):
        self.optimizer.zero_grad()
        self.scaler.scale(self.weight.sum()).backward()
        self.scaler.unscale_(self.optimizer)

    def step(self):
        self.scaler.step(self.optimizer)
        self.scaler.update()


@pytest.fixture
def trained():
    steps.begin()
    return Trained()


def test_the_step_that_was_cut_can_be_taken_again(trained):
    trained.unscale()
    with pytest.raises(RuntimeError, match="already been called"):
        trained.unscale()
    scalers.restart([trained.optimizer, trained.scaler], is_lost=False)
    trained.unscale()
    trained.step()
    assert trained.weight.tolist() == [0.5] * 3
    trained.unscale()
    trained.step()
    assert trained.weight.tolist() == [0.0] * 3


def test_gradients_that_are_unscaled_already_are_not_unscaled_again(trained):
    trained.unscale()
    scalers.restart([trained.scaler], is_lost=False)
    trained.step()
    assert trained.weight.tolist() == [0.5] * 3
    trained.unscale()
    trained.step()
    assert trained.weight.tolist() == [0.0] * 3


def test_a_step_that_another_rank_can_never_take_is_dropped_at_once(trained):
    trained.unscale()
    with pytest.raises(AssertionError):  # torch: only between steps
        copy.deepcopy(trained.scaler)
    scalers.restart([trained.scaler], is_lost=True)
    assert copy.deepcopy(trained.scaler).get_scale() == 8


def test_a_scaler_between_two_steps_is_left_alone(trained):
    trained.unscale()
    trained.step()
    scalers.restart([trained.scaler], is_lost=False)
    assert "scale" not in vars(trained.scaler)


def test_one_that_does_not_scale_is_no_scaler():
    assert not scalers.is_scaler(Trained(enabled=False).scaler)
    assert not scalers.is_scaler(torch.amp.GradScaler.__new__(torch.amp.GradScaler))


def taken(trained):
    [(kind, found)] = steps.taken([trained.scaler]).items()
    assert kind.split()[0] == "GradScaler"
    return found


def test_updates_are_counted_from_the_last_meeting_on(trained):
    for _ in range(2):
        trained.unscale()
        trained.step()
    assert taken(trained) == [2]
    steps.begin([trained.optimizer, trained.scaler])
    assert taken(trained) == [0]
    trained.optimizer.zero_grad()
    trained.weight.grad = torch.full((3,), torch.inf)
    trained.step()  # has found an infinite gradient: counts from 0 again
    trained.unscale()
    trained.step()
    assert taken(trained) == [1]
