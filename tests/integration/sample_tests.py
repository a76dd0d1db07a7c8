"""A library's tests on ranks; ``test_pytest_plugin.py`` runs them in a pytest of its own."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist

SIZE = 10


@dataclass
class Point:
    x: int


@pytest.fixture
def point():
    return Point(SIZE)


@pytest.fixture
def passes_on(rank):
    return {"rank": [rank]}


@pytest.fixture
def surroundings(monkeypatch):
    monkeypatch.setenv("OF_A_FIXTURE", "1")
    monkeypatch.delenv("OF_THE_SHELL")


@pytest.fixture
def computes(rank):
    return rank + 1


@pytest.mark.ranks(4)
def test_passes(rank, world_size, device):
    x = torch.ones(1, device=device) * rank
    dist.all_reduce(x)
    assert x.item() == 6
    assert world_size == dist.get_world_size() == 4
    assert rank == dist.get_rank()


@pytest.mark.ranks(4)
@pytest.mark.parametrize("factor", [2, 3])
def test_values_travel(factor, point, passes_on, rank, tmp_path):
    gathered = [None] * 4
    dist.all_gather_object(gathered, Point(rank * factor))  # found by the name of its module
    assert gathered == [Point(n * factor) for n in range(4)]
    assert isinstance(point, Point)
    assert passes_on == {"rank": [rank]}
    assert tmp_path.is_dir()


class TestInAClass:
    def setup_method(self):
        self.made = "here"

    @pytest.mark.ranks(4)
    def test_its_instance_travels(self):
        assert self.made == "here"


@pytest.mark.ranks(4)
class TestWithAClassOfItsOwn:
    @classmethod
    def setup_class(cls):
        cls.numbers = [1, 2]
        cls.stays_there = (number for number in cls.numbers)  # it cannot be pickled

    @pytest.fixture(scope="class", autouse=True)
    def weights(self, request):
        request.cls.weights = torch.ones(2)

    def test_its_class_travels(self):
        assert self.numbers == [1, 2]
        assert type(self).weights.sum() == 2
        self.numbers.append(3)

    def test_each_test_gets_its_class_anew(self):
        assert self.numbers == [1, 2]


@pytest.mark.ranks(4)
def test_finds_the_surroundings_of_a_fixture(surroundings):
    assert os.environ["OF_A_FIXTURE"] == "1"
    assert "OF_THE_SHELL" not in os.environ


@pytest.mark.ranks(4)
def test_finds_the_surroundings_as_before():
    assert "OF_A_FIXTURE" not in os.environ
    assert os.environ["OF_THE_SHELL"] == "1"
    assert os.environ["RANK"] == str(dist.get_rank())


@pytest.mark.ranks(4)
def test_finds_the_surroundings_of_a_fixture_again(surroundings):
    assert os.environ["OF_A_FIXTURE"] == "1"
    assert "OF_THE_SHELL" not in os.environ


@pytest.mark.ranks(4)
def test_sets_a_variable(monkeypatch):
    monkeypatch.setenv("SAMPLE", "1")
    assert os.environ["SAMPLE"] == "1"


@pytest.mark.ranks(4)
def test_finds_no_variable():
    assert "SAMPLE" not in os.environ


@pytest.mark.ranks(4)
def test_assert_fails(rank):
    print("I am", rank)
    print("all of us")
    assert [1, 2, 3 if rank else 4] == [1, 2, 3]


@pytest.mark.ranks(4)
def test_hangs(rank):
    if rank != 3:
        dist.barrier()


@pytest.mark.ranks(4)
def test_group_is_whole_after_a_hang():
    dist.barrier()


@pytest.mark.ranks(4)
def test_one_raises(rank):
    if rank == 1:
        raise KeyError("lost")
    dist.barrier()


@pytest.mark.ranks(4)
@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
def test_expected_to_fail():
    _ = 1 / 0


@pytest.mark.ranks(4)
def test_skips():
    pytest.skip("not today")


@pytest.mark.ranks(4)
def test_skips_on_some(rank):
    if rank:
        pytest.skip("not today")


@pytest.mark.ranks(4)
def test_warns():
    warnings.warn("mind the gap", stacklevel=1)


@pytest.mark.ranks(2)
def test_of_two_ranks(world_size):
    assert dist.get_world_size() == world_size == 2


@pytest.mark.ranks(2)
def test_destroys_the_group():
    dist.destroy_process_group()


@pytest.mark.ranks(2)
def test_group_is_there_after_it_was_destroyed():
    dist.barrier()


@pytest.mark.ranks(2)
def test_dies(rank):
    if rank == 1:
        os._exit(3)
    dist.barrier()


@pytest.mark.ranks(2)
def test_rank_is_there_after_it_died():
    dist.barrier()


@pytest.mark.ranks(2)
def test_leaves_a_call(rank):
    if rank == 0:
        dist.all_reduce(torch.ones(1), async_op=True)


@pytest.mark.ranks(2)
def test_meets_no_call_of_another_test():
    x = torch.full((1,), 5.0)
    dist.all_reduce(x)
    assert x.item() == 10


class Odd(Exception):  # noqa: N818 - it cannot be pickled
    def __init__(self, first, second):
        super().__init__("odd")
        self.kept = lambda: (first, second)


@pytest.mark.ranks(2)
@pytest.mark.xfail(raises=Odd, strict=True)
def test_raises_what_does_not_travel():
    raise Odd(1, 2)


class Wordless(Exception):  # noqa: N818
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.ranks(2)
def test_raises_without_words():
    raise Wordless


@pytest.mark.ranks(2, timeout=0)
def test_has_no_time():
    pass


@pytest.mark.ranks(2, backend=3)
def test_has_no_backend():
    pass


@pytest.mark.ranks(2, timeout=0.5)
def test_takes_too_long():
    time.sleep(60)


@pytest.mark.ranks(2)
def test_takes_what_stays_here(capsys):
    pass


@pytest.mark.ranks(2)
def test_computes_too_early(computes):
    pass


@pytest.mark.ranks(2)
def test_asks():
    input("your name?")
