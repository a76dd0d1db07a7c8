"""Of what a value is made on each rank: what is told where ranks differ."""

from __future__ import annotations

from rankbook.models.diffs import Departure
from rankbook.sessions.members.made import made_differently

MODEL = {"": "Sequential", "training": "True", "0": "Linear", "0.training": "True"}


def test_objects_made_alike_on_all_ranks_are_not_reported():
    assert made_differently({0: MODEL, 1: MODEL}) == []


def test_a_part_of_another_class_is_reported_with_the_ranks_that_have_it():
    [found] = made_differently({0: MODEL, 1: MODEL | {"0": "Conv1d"}, 2: MODEL})
    assert (found.path, found.agree) == ("0", (0, 2))
    assert found.departures == (Departure((1,), "class Conv1d, not Linear"),)


def test_of_a_module_that_does_not_train_its_parts_are_not_reported_again():
    still = MODEL | {"training": "False", "0.training": "False"}
    [found] = made_differently({0: still, 1: MODEL, 2: MODEL})
    assert found.path == "training"
    assert found.departures == (Departure((0,), "False, not True"),)


def test_a_part_alone_that_does_not_train_is_reported():
    [found] = made_differently({0: MODEL, 1: MODEL, 2: MODEL | {"0.training": "False"}})
    assert found.path == "0.training"


def test_a_path_that_one_rank_has_is_compared_with_nothing():
    assert made_differently({0: MODEL | {"1": "ReLU"}, 1: MODEL}) == []
