"""Of what a value consists, and its hashes: every bit counts, but one NaN is like another."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from rankbook.engine.diffing import digest_of
from rankbook.engine.leaves import Opaque, leaves


def paths(value):
    return [path for path, _ in leaves(value)]


@dataclasses.dataclass
class Config:
    lr: float
    sizes: list


class Plain:
    def __init__(self):
        self.b, self.a = 2, 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.ones(2), [""]),
        (3, [""]),
        ({"a": [1, {"b": 2}]}, ["['a'][0]", "['a'][1]['b']"]),
        ((1, "x", None), ["[0]", "[1]", "[2]"]),
        ({3, 1}, ["{0}", "{1}"]),
        (torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)), None),
        (Config(0.1, [2]), ["lr", "sizes[0]"]),
        (Plain(), ["a", "b"]),
        ([], [""]),
        (np.ones(3), [""]),
        (torch.Generator(), [""]),
    ],
)
def test_a_value_is_taken_apart_into_paths(value, expected):
    if expected is None:
        expected = [name for name, _ in (*value.named_parameters(), *value.named_buffers())]
    assert paths(value) == expected


def test_an_optimizer_is_taken_apart_as_its_state_dict():
    model = torch.nn.Linear(2, 2)
    found = paths(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    assert "['param_groups'][0]['lr']" in found


def test_a_cycle_is_cut_where_it_closes():
    cycle = [1]
    cycle.append(cycle)
    assert dict(leaves(cycle)) == {"[0]": 1, "[1]": "(the same as the whole)"}


@pytest.mark.parametrize("value", [(i for i in range(3)), lambda: 1, object(), int])
def test_what_cannot_be_compared_says_so(value):
    [(_, leaf)] = leaves(value)
    assert isinstance(leaf, Opaque)
    assert "cannot be compared" in leaf.why


def test_the_state_of_a_random_generator_is_compared():
    assert dict(leaves(random.Random(3))) == dict(leaves(random.Random(3)))
    assert dict(leaves(random.Random(3))) != dict(leaves(random.Random(4)))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), False),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([float("nan")]), -torch.tensor([float("nan")]), True),
        (torch.tensor([float("inf")]), torch.tensor([float("-inf")]), False),
        (
            torch.arange(6.0).reshape(2, 3).t(),
            torch.arange(6.0).reshape(2, 3).t().contiguous(),
            True,
        ),
        (torch.tensor([1 + 2j]).conj(), torch.tensor([1 - 2j]), True),
        (torch.tensor([True]), torch.tensor([False]), False),
        (torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16), True),
        (torch.ones(3).to(torch.float8_e4m3fn), torch.zeros(3).to(torch.float8_e4m3fn), False),
        (torch.ones(0), torch.ones(0), True),
    ],
)
def test_hashes_of_tensors(a, b, same):
    assert (digest_of(a) == digest_of(b)) is same
