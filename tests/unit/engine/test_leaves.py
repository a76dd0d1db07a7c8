"""Of what a value consists, and its hashes: every bit counts, but one NaN is like another."""

from __future__ import annotations

import dataclasses
import enum
import io
import random
import threading
from collections import deque
from datetime import date, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.two_tensor import TwoTensor

from rankbook.engine.values.diffing import _shard, digest_of
from rankbook.engine.values.leaves import Opaque, leaves, written


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
        ({3, 1}, ["{1}", "{3}"]),
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


class Slotted:
    __slots__ = ("_a", "unset")

    def __init__(self, a):
        self._a = a


class Mute(int):
    """A user's class that writes all its values alike."""

    def __repr__(self):
        return "a number"


class Scale:
    """Can be called, and has values all the same."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x


class Kind(enum.Enum):
    A = 1
    B = 2


def seeded(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (deque([1, 2]), deque([1, 2]), deque([1, 3])),
        (range(3), range(3), range(4)),
        (slice(1, 2), slice(1, 2), slice(1, 3)),
        (bytearray(b"a"), bytearray(b"a"), bytearray(b"b")),
        (Path("/a"), Path("/a"), Path("/b")),
        (Decimal("1.10"), Decimal("1.10"), Decimal("1.11")),
        (date(2026, 1, 1), date(2026, 1, 1), date(2026, 1, 2)),
        (Kind.A, Kind.A, Kind.B),
        (Mute(3), Mute(3), Mute(4)),
        (Slotted(1), Slotted(1), Slotted(2)),
        (Scale(1), Scale(1), Scale(2)),
        (seeded(1), seeded(1), seeded(2)),
        (np.random.RandomState(1), np.random.RandomState(1), np.random.RandomState(2)),
        (np.arange(3)[::-1], np.array([2, 1, 0]), np.arange(3)),
        (np.ones(2, ">f4"), np.ones(2, "<f4"), np.zeros(2, ">f4")),
        (np.array([1, "a"], object), np.array([1, "a"], object), np.array([1, "b"], object)),
        (np.dtype("f4"), np.dtype("f4"), np.dtype("f8")),
    ],
)
def test_common_configuration_objects_are_compared_by_value(one, same, other):
    def prints(value):
        return [
            (path, digest_of(leaf) if isinstance(leaf, torch.Tensor) else written(leaf))
            for path, leaf in leaves(value)
            if not isinstance(leaf, Opaque)
        ]

    assert prints(one)
    assert prints(one) == prints(same)
    assert prints(one) != prints(other)


def test_a_tensor_that_holds_its_data_in_others_is_taken_apart():
    assert paths([TwoTensor(torch.ones(2), torch.zeros(2))]) == ["[0].a", "[0].b"]


def test_a_tensor_whose_data_are_elsewhere_is_not_read():
    with pytest.raises(ValueError, match="a TwoTensor has its data elsewhere"):
        digest_of(TwoTensor(torch.ones(2), torch.zeros(2)))


def test_a_tensor_of_one_element_has_the_same_hash_with_any_stride():
    assert digest_of(torch.ones(1).expand(1)) == digest_of(torch.ones(1))


@pytest.mark.parametrize("value", [(i for i in range(3)), lambda: 1, object(), int])
def test_a_value_that_cannot_be_compared_is_reported_with_the_reason(value):
    [(_, leaf)] = leaves(value)
    assert isinstance(leaf, Opaque)
    assert "cannot be compared" in leaf.why


def test_a_module_that_cannot_say_what_it_is_made_of_says_so():
    class Broken(torch.nn.Linear):
        def named_modules(self, *_args, **_options):
            raise OSError("gone")

    [(_, leaf)] = leaves(Broken(1, 1))
    assert leaf.why == "reading it raises OSError: gone"


def test_the_state_of_a_random_generator_is_compared():
    [numbers, *_], [same, *_], [others, *_] = (
        [part for path, part in leaves(random.Random(seed)) if path == "state[1]"]
        for seed in (3, 3, 4)
    )
    assert torch.equal(numbers, same)
    assert not torch.equal(numbers, others)


ONE = torch.ones(1)
EVERY_NAN = torch.tensor([0x7FC00001, 0x7FC00002], dtype=torch.int32).view(torch.float32)
NANS_OF_8_BITS = torch.tensor([0x7D, 0x7E], dtype=torch.uint8).view(torch.float8_e5m2)
FOUR_BITS = torch.zeros(2, dtype=torch.uint8).view(
    getattr(torch, "float4_e2m1fn_x2", torch.float8_e5m2)
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]), True),
        (torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), False),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([float("nan")]), -torch.tensor([float("nan")]), True),
        (EVERY_NAN[0:1], EVERY_NAN[1:2], True),
        (torch.cat([EVERY_NAN[:1], ONE]), torch.cat([EVERY_NAN[1:2], ONE * 2]), False),
        (NANS_OF_8_BITS[0:1], NANS_OF_8_BITS[1:2], True),
        (FOUR_BITS, FOUR_BITS, True),
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
def test_equal_tensors_have_equal_hashes_and_others_do_not(a, b, same):
    assert (digest_of(a) == digest_of(b)) is same


class Empty:
    """Keeps nothing, as a callback or a marker does."""


class RaisesInMeta(type):
    def __getattribute__(cls, name):
        raise ValueError("no")


class OfRaisingMeta(metaclass=RaisesInMeta):
    pass


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Empty(), {"": "(empty Empty)"}),
        (ValueError("x", 3), {"args[0]": "x", "args[1]": 3}),
        (io.BytesIO(b"ab"), {"getvalue()": b"ab"}),
        (list[int], {"": list[int]}),
        (int | None, {"": int | None}),
        (timezone.utc, {"": timezone.utc}),
        (..., {"": ...}),
        (np.poly1d([1.0]), {"_variable": "x", "coeffs": torch.tensor([1.0], dtype=torch.float64)}),
        (torch.ones(1).untyped_storage(), {"": torch.tensor([0, 0, 128, 63], dtype=torch.uint8)}),
        (
            np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
            {
                "['a']": torch.tensor([1], dtype=torch.int32),
                "['b']": torch.tensor([2.0], dtype=torch.float64),
            },
        ),
    ],
)
def test_more_kinds_of_objects_are_compared_by_their_parts(value, expected):
    found = dict(leaves(value))
    assert found.keys() == expected.keys()
    for path, leaf in found.items():
        other = expected[path]
        is_same = torch.equal(leaf, other) if isinstance(leaf, torch.Tensor) else leaf == other
        assert is_same, path


def test_an_object_that_keeps_its_state_in_c_is_not_taken_for_an_empty_one():
    value = threading.local()
    assert value.__dict__ == {}
    [(_, leaf)] = leaves(value)
    assert leaf.why == "a _local cannot be compared"


def test_a_partial_is_compared_by_its_arguments():
    found = dict(leaves(partial(max, 1, key=None)))
    assert {path: found[path] for path in ("args[0]", "keywords['key']")} == {
        "args[0]": 1,
        "keywords['key']": None,
    }


def test_a_class_whose_metaclass_raises_is_reported_by_its_name():
    [(_, leaf)] = leaves(OfRaisingMeta())
    assert (leaf.kind, leaf.why) == ("OfRaisingMeta", "reading it raises ValueError: no")


@pytest.mark.parametrize(
    ("placements", "part"),
    [
        ((Replicate(), Replicate()), ""),
        ((Replicate(), Shard(0)), "tp=0"),
        ((Shard(0), Shard(1)), "dp=1, tp=0"),
        ((_StridedShard(0, split_factor=2), Shard(0)), "dp=1, tp=0"),
    ],
)
def test_every_dimension_that_divides_a_dtensor_names_its_shard(placements, part):
    mesh = SimpleNamespace(
        mesh_dim_names=("dp", "tp"), ndim=2, shape=(2, 2), get_coordinate=lambda: [1, 0]
    )
    dtensor = SimpleNamespace(
        to_local=None, device_mesh=mesh, placements=placements, shape=torch.Size([4, 2])
    )
    assert _shard(dtensor)[0] == part
