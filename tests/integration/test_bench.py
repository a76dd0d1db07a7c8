"""Measuring collectives on real ranks."""

from __future__ import annotations

import pytest

import rankbook
from rankbook.bench.collectives import BUS


def test_a_collective_is_measured_by_size_and_says_what_it_went_over(four):
    found = four.bench("all_reduce", "4K,64K", rounds=3)
    assert [row.nbytes for row in found.rows] == [4096, 65536]
    assert all(0 < row.seconds < 1 for row in found.rows)
    assert (found.ranks, found.groups, found.factor) == (4, 1, 1.5)
    small = found.rows[0]
    assert small.algorithm == 4096 / small.seconds
    assert small.bus == pytest.approx(1.5 * small.algorithm)
    assert "loopback on one host" in found.link
    assert "no network" in repr(found)


@pytest.mark.parametrize("collective", sorted(set(BUS) - {"all_reduce"}))
def test_every_collective_can_be_measured(four, collective):
    assert len(four.bench(collective, "4K", rounds=1).rows) == 1


def test_the_groups_of_a_dimension_measure_at_once(four):
    four.mesh("mesh", dp=2, tp=2)
    found = four.bench("all_gather", "4K", "dp", rounds=1)
    assert (found.ranks, found.groups, found.factor) == (2, 2, 0.5)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("allreduce",), "'allreduce' cannot be measured"),
        (("all_reduce", "64M:1K"), "'64M:1K' is no size"),
        (("all_reduce", "4K", "pp"), "'pp' is neither a dimension of the mesh nor a group"),
    ],
)
def test_what_cannot_be_measured_is_a_line(four, given, why):
    with pytest.raises(rankbook.InputError, match=why) as raised:
        four.bench(*given)
    assert "\n" not in str(raised.value)


def test_a_group_of_one_moves_nothing(four):
    assert four.run("alone = dist.new_subgroups(1)[0]").ok
    with pytest.raises(rankbook.InputError, match="moves nothing in a group of one rank"):
        four.bench("all_reduce", "4K", "alone", rounds=1)
