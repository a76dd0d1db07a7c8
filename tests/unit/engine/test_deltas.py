"""How far two tensors are apart, in words, whatever their numbers are."""

from __future__ import annotations

import pytest
import torch

from rankbook.engine.values.diffing import _bytes, memory_of
from rankbook.models.diffs import Leaf, Prints
from rankbook.sessions.members.diffs import _Comparison, _largest

NAN = float("nan")


def told(a, b):
    """What is said of two tensors of one chunk."""
    leaf = Leaf("x", "tensor", shape=tuple(a.shape), dtype=str(a.dtype).removeprefix("torch."))
    [x], [y] = ([bytes(memory_of(piece)) for piece in _bytes(tensor, 2**18)] for tensor in (a, b))
    return _largest(leaf, [0], [x], [y], more=False)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), "max |Δ| 0.5 at [1], 1 value"),
        (torch.tensor(1.0), torch.tensor(3.0), "max |Δ| 2, 1 value"),
        (torch.tensor([0.0]), torch.tensor([-0.0]), "the sign of zero at [0], 1 value"),
        (torch.tensor([1.0]), torch.tensor([NAN]), "max |Δ| inf at [0], 1 value"),
        (torch.tensor([2**62]), torch.tensor([2**62 + 1]), "max |Δ| 1 at [0], 1 value"),
        (torch.tensor([-(2**63)]), torch.tensor([2**63 - 1]), "max |Δ| 1.84e+19 at [0], 1 value"),
        (torch.tensor([True]), torch.tensor([False]), "max |Δ| 1 at [0], 1 value"),
        (torch.tensor([1 + 1j]), torch.tensor([1 - 1j]), "max |Δ| 2 at [0], 1 value"),
        (
            torch.ones(2).to(torch.float8_e4m3fn),
            torch.zeros(2).to(torch.float8_e4m3fn),
            "max |Δ| 1 at [0], 2 values",
        ),
        (
            torch.tensor([3], dtype=torch.uint64),
            torch.tensor([5], dtype=torch.uint64),
            "max |Δ| 2 at [0], 1 value",
        ),
        (
            torch.tensor([3], dtype=torch.uint8).view(torch.bits8),
            torch.tensor([5], dtype=torch.uint8).view(torch.bits8),
            "differs at [0], 1 value",
        ),
    ],
)
def test_the_difference_is_reported_for_every_kind_of_number(a, b, words):
    assert told(a, b) == words


@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_the_difference_of_short_complex_numbers_is_reported():
    a, b = (torch.full((1,), n, dtype=torch.complex32) for n in (1, 0))
    assert told(a, b) == "max |Δ| 1 at [0], 1 value"


def _summary(*by_rank):
    """Of ranks with these leaves: path, shard and digest of each."""
    prints = {
        rank: Prints(
            leaves=tuple(Leaf(path, "tensor", digest, part=part) for path, part, digest in own)
        )
        for rank, own in enumerate(by_rank)
    }
    return _Comparison(None, "model", prints, None).result().summary


@pytest.mark.parametrize(
    ("by_rank", "said"),
    [
        (
            ([("w", "dp=0", "x")], [("w", "dp=1", "y")]),
            "2 shards are on one rank each: there is nothing to compare.",
        ),
        (
            ([("b", "", "z"), ("w", "dp=0", "x")], [("b", "", "z"), ("w", "dp=1", "y")]),
            (
                "The tensor is the same on ranks 0-1. "
                "2 shards are on one rank each: there is nothing to compare."
            ),
        ),
        (([("w", "tp=0", "x")], [("w", "tp=0", "x")]), "The tensor is the same on ranks 0-1."),
    ],
)
def test_shards_that_one_rank_has_do_not_count_as_agreeing(by_rank, said):
    assert _summary(*by_rank) == said
