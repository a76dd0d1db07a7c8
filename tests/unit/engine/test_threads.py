"""A rank's part of the cores."""

from __future__ import annotations

import os

import pytest

from rankbook.engine.host import threads
from rankbook.engine.host.threads import Threads, cores, part


@pytest.mark.parametrize(
    ("affinity", "limits", "found"),
    [
        (8, [], 8),
        (8, [4.0], 4),
        (8, [16.0, 3.9, 5.0], 3),
        (2, [0.5], 1),
        (1, [], 1),
        (64, [64.0], 64),
    ],
)
def test_the_tightest_limit_of_cores_counts(affinity, limits, found):
    assert cores(affinity, limits) == found


@pytest.mark.parametrize(
    ("count", "ranks", "each"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (8, 8, 1), (2, 64, 1)]
)
def test_ranks_on_a_host_share_its_cores(count, ranks, each):
    assert part(count, ranks) == each


class Torch:
    """Has threads, as torch does."""

    def __init__(self, threads):
        self.threads = threads

    def get_num_threads(self):
        return self.threads

    def set_num_threads(self, number):
        self.threads = number


@pytest.fixture
def torch(monkeypatch):
    """A torch in a process that may use 8 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "torch", its := Torch(8))
    return its


def test_another_number_of_ranks_changes_the_number_of_threads(torch, tmp_path):
    environ = {}
    its = Threads(environ, tmp_path)
    for ranks, number in ((2, 4), (4, 2), (16, 1), (1, 8)):
        its.share(ranks)
        assert (torch.threads, environ) == (number, {"OMP_NUM_THREADS": str(number)})


def test_a_control_group_limits_the_number_of_threads(torch, host):
    Threads({}, host("0::/\n", {"cpu.max": "400000 100000"})).share(2)
    assert torch.threads == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_threads_in_the_environment_stays(torch, tmp_path, name):
    environ = {name: "3"}
    Threads(environ, tmp_path).share(2)
    assert (torch.threads, environ) == (8, {name: "3"})


def test_an_empty_variable_sets_no_number_of_threads(torch, tmp_path):
    environ = {"OMP_NUM_THREADS": ""}
    Threads(environ, tmp_path).share(2)
    assert (torch.threads, environ["OMP_NUM_THREADS"]) == (4, "4")


def test_a_number_of_threads_that_a_cell_has_set_stays(torch, tmp_path):
    environ = {}
    its = Threads(environ, tmp_path)
    its.share(4)
    torch.set_num_threads(5)
    its.share(2)
    assert (torch.threads, environ["OMP_NUM_THREADS"]) == (5, "4")


def test_a_number_of_threads_that_a_cell_has_put_into_the_environment_stays(torch, tmp_path):
    environ = {}
    its = Threads(environ, tmp_path)
    its.share(4)
    environ["OMP_NUM_THREADS"] = "6"
    its.share(2)
    assert (torch.threads, environ["OMP_NUM_THREADS"]) == (2, "6")
