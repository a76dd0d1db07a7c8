"""What can be predicted, and what is refused in a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankbook.errors import LessonError
from rankbook.teach import Choice, Number, Numbers, Ranks, Whole, showing

GOOD = [
    (Whole(), 6, 6),
    (Whole(), 6.0, 6),
    (Whole(), torch.tensor(6), 6),
    (Whole(), np.int64(6), 6),
    (Number(), 1, 1.0),
    (Number(), torch.tensor(0.5), 0.5),
    (Numbers(2), (1, 2.5), [1, 2.5]),
    (Numbers(2), torch.tensor([1, 2]), [1, 2]),
    (Numbers(2), range(2), [0, 1]),
    (Ranks(4), "0,2", [0, 2]),
    (Ranks(4), [2, 0], [0, 2]),
    (Ranks(4), 3, [3]),
    (Ranks(4), {1, 2}, [1, 2]),
    (Ranks(4), "none", []),
    (Ranks(4), "nobody", []),
    (Ranks(4), "1 and 3", [1, 3]),
    (Ranks(4), "ranks 0, 1, and 3", [0, 1, 3]),
    (Ranks(4), "0 to 2", [0, 1, 2]),
    (Ranks(4), "0 1  3", [0, 1, 3]),
    (Ranks(4), [], []),
    (Choice(("tree", "ring")), "Tree ", "tree"),
    (Choice(("tree", "ring")), "The tree", "tree"),
    (Choice(("yes", "no")), True, "yes"),
]


@pytest.mark.parametrize(("form", "value", "read"), GOOD)
def test_a_prediction_is_read(form, value, read):
    assert form.read(value) == read


BAD = [
    (Whole(), "6"),
    (Whole(), 6.5),
    (Whole(), True),
    (Whole(), None),
    (Whole(), [6]),
    (Whole(), torch.ones(2)),
    (Whole(), float("nan")),
    (Whole(), float("inf")),
    (Number(), "a lot"),
    (Number(), float("nan")),
    (Number(), [1.0]),
    (Numbers(2), 1),
    (Numbers(2), [1, 2, 3]),
    (Numbers(2), ["1", "2"]),
    (Numbers(2), [[1], [2]]),
    (Numbers(2), {0: 1, 1: 2}),
    (Ranks(4), "7"),
    (Ranks(4), "me"),
    (Ranks(4), 1.5),
    (Number(), 10**400),
    (Whole(), float("inf")),
    (Numbers(2), [1, float("nan")]),
    (Ranks(4), None),
    (Choice(("tree", "ring")), "star"),
    (Choice(("tree", "ring")), 1),
]


@pytest.mark.parametrize(("form", "value"), BAD)
def test_a_prediction_of_another_type_or_shape_is_refused_in_a_line(form, value):
    with pytest.raises(LessonError) as caught:
        form.read(value)
    assert str(caught.value).startswith(f"Predict {form.asked}; not ")
    assert form.example in form.asked
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [Whole(), Number(), Numbers(4), Ranks(), Choice(("a", "b"))])
def test_dots_are_a_prediction_that_is_still_to_be_made(form):
    with pytest.raises(LessonError, match="in place of the dots"):
        form.read(...)


def test_what_a_form_gives_as_an_example_can_be_predicted():
    for form in (Whole(), Number(), Numbers(4), Ranks()):
        form.read(eval(form.example))  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("predicted", "truth", "tolerance", "same"),
    [
        (100, 104, 0.05, True),
        (100, 104, 0.01, False),
        ([1, 2], [1, 2.0], 0.0, True),
        ([1, 2], [1, 3], 0.0, False),
        (0, 0.0, 0.0, True),
    ],
)
def test_numbers_are_compared_with_a_tolerance(predicted, truth, tolerance, same):
    assert Number().agree(predicted, truth, tolerance) is same


def test_an_empty_selection_of_ranks_is_shown_as_none():
    assert showing._written([]) == "none"
    assert showing._over([], [], ok=True).count(">none<") == 2
