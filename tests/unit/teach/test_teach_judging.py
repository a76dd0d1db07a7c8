"""How a wrong value is shown beside the right one."""

from __future__ import annotations

import pytest
import torch

from rankbook.teach.judging import agree, as_part, in_words
from rankbook.teach.lessons import load

FOUR = torch.full((4,), 277.75)
STEPS = [("F", k) for k in range(20)]


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (3.0, 4.0, ("3", "4")),
        (None, FOUR, ("None", "[277.75, 277.75, 277.75, 277.75]")),
        (FOUR, -FOUR[:2], ("[277.75, 277.75, 277.75, 277.75] of shape (4,)", "[-277.75, -277.75]")),
        (FOUR.mean(), FOUR[:2], ("277.75 of shape ()", "[277.75, 277.75]")),
        ([277.75], FOUR[:2], ("a list [277.75], which is no tensor", "[277.75, 277.75]")),
        (277.75, FOUR[:1], ("a float 277.75, which is no tensor", "[277.75]")),
        ([FOUR, FOUR[:1]], [FOUR, FOUR[:1] + 1], ("[277.75]", "[278.75]")),
        ([FOUR[:1]], [FOUR[:1], FOUR[:1]], ("[277.75]", "[277.75] and [277.75]")),
        ([("F", 0)], [("B", 0)], ("[('F', 0)]", "[('B', 0)]")),
        ([*STEPS[:9], "x", *STEPS[10:]], STEPS, ("'x' in place 9", "('F', 9) there")),
        (STEPS[:1], STEPS, ("[('F', 0)]", str(STEPS)[:59] + "…")),
        ([*STEPS, "x"], STEPS, ("a list of 21", "a list of 20")),
        (torch.arange(9.0), torch.tensor([*range(8), 9.0]), ("8 in place 8", "9 there")),
        ([], [1], ("[]", "[1]")),
        ([FOUR[:2]], [1], ("[277.75, 277.75]", "[1]")),
        ([FOUR[:2].numpy()], [1], ("[array([277.75, 277.75], dtype=float32)]", "[1]")),
        ((x for x in ()), 1, ("<generator object <genexpr>>", "1")),
        ("a", "b", ("'a'", "'b'")),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), ("[1, 2] of torch.int64", "[1, 2]")),
        (
            torch.ones(9, dtype=torch.int32),
            torch.ones(9),
            (
                "a tensor of shape (9,) that begins [1, 1, 1, 1] of torch.int32",
                "a tensor of shape (9,) that begins [1, 1, 1, 1]",
            ),
        ),
        (torch.ones(9), torch.zeros(1), ("a tensor of shape (9,) that begins [1, 1, 1, 1]", "[0]")),
    ],
)
def test_a_wrong_value_is_shown_beside_the_right_one_in_a_line(got, want, words):
    assert in_words(got, want, 1e-5) == words


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.bool])
def test_whole_numbers_are_not_right_where_others_are_wanted(dtype):
    assert not agree(torch.ones(2, dtype=dtype), torch.ones(2), 1e-5)
    assert not agree(torch.ones(2), torch.ones(2, dtype=dtype), 1e-5)


def test_a_type_that_is_more_exact_is_right():
    assert agree(torch.ones(2, dtype=torch.float64), torch.ones(2), 1e-5)


@pytest.mark.parametrize(
    ("got", "part"),
    [
        ([FOUR + 1, FOUR], " as the mean"),
        ([FOUR + 1, FOUR + 1], " as the mean"),
        ([FOUR, FOUR + 1], " as x afterwards"),
        ([FOUR, None], " as x afterwards"),
        ([None, FOUR], " as the mean"),
        ([FOUR], ""),
        (FOUR, ""),
        (None, ""),
    ],
)
def test_of_several_things_it_is_said_which_is_wrong(got, part):
    mean = load("03_collectives_in_pictures").find("mean")
    assert as_part(mean, got, [FOUR, FOUR]) == part


def test_an_exercise_with_one_value_names_no_part():
    softmax = load("03_collectives_in_pictures").find("softmax")
    assert as_part(softmax, FOUR, FOUR + 1) == ""
