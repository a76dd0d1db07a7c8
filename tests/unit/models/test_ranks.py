from __future__ import annotations

import random

import pytest

from rankbook.errors import InputError
from rankbook.ranks import label, parse


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("all", (0, 1, 2, 3)),
        ("ALL", (0, 1, 2, 3)),
        (" all ", (0, 1, 2, 3)),
        ("[all]", (0, 1, 2, 3)),
        ("0", (0,)),
        ("0,2", (0, 2)),
        ("2, 0", (0, 2)),
        ("0-3", (0, 1, 2, 3)),
        ("1-1", (1,)),
        ("1:", (1, 2, 3)),
        (":2", (0, 1)),
        (":", (0, 1, 2, 3)),
        ("::2", (0, 2)),
        ("1::2", (1, 3)),
        ("::-1", (0, 1, 2, 3)),
        ("-2:", (2, 3)),
        ("2:99", (2, 3)),
        ("[0,2]", (0, 2)),
        ("[ 0, 2 ]", (0, 2)),
        ("-1", (3,)),
        ("-4", (0,)),
        ("0,-1", (0, 3)),
        ("0,2:,2", (0, 2, 3)),
        ("0-1,3", (0, 1, 3)),
        ("1,1,1", (1,)),
        (2, (2,)),
        (-1, (3,)),
        ([0, 2], (0, 2)),
        ((3, 1), (1, 3)),
        (range(2), (0, 1)),
        ({1}, (1,)),
    ],
)
def test_a_selection_of_ranks_is_parsed(text, ranks):
    assert parse(text, 4) == ranks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No ranks given"),
        ("   ", "No ranks given"),
        ("[]", "No ranks given"),
        ([], "No ranks given"),
        ("4", "There is no rank 4"),
        ("-5", "There is no rank -5"),
        (7, "There is no rank 7"),
        ("0-4", "There is no rank 4"),
        ("9-12", "There is no rank 9"),
        ("3-1", "use 1-3"),
        ("4:", "selects none of the 4 ranks"),
        ("2:1", "selects none of the 4 ranks"),
        ("::0", "step of '::0' is 0"),
        ("two", "is not a selection of ranks"),
        ("0,", "is not a selection of ranks"),
        (",", "is not a selection of ranks"),
        ("0;1", "is not a selection of ranks"),
        ("1.5", "is not a selection of ranks"),
        ("0 1", "is not a selection of ranks"),
    ],
)
def test_a_bad_selection_is_refused_in_one_line_that_says_what_to_type(text, said):
    with pytest.raises(InputError) as caught:
        parse(text, 4)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert any(help_text in message for help_text in ("use ", "this group has 4, 0 to 3"))


def test_a_huge_range_is_refused_without_being_enumerated():
    with pytest.raises(InputError, match="There is no rank 999999999999"):
        parse("0-999999999999", 4)


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([0, 1, 2, 3], "0-3"),
        ([0, 2], "0,2"),
        ([0, 1, 5], "0-1,5"),
        ([3], "3"),
        ([2, 0, 1], "0-2"),
        ([1, 1], "1"),
        ([], ""),
        ({9, 10}, "9-10"),
    ],
)
def test_a_label_of_ranks_uses_ranges(ranks, text):
    assert label(ranks) == text


def test_a_label_of_ranks_parses_back_to_the_same_ranks():
    generator = random.Random(0)
    for _ in range(200):
        chosen = tuple(sorted(generator.sample(range(40), generator.randint(1, 40))))
        assert parse(label(chosen), 40) == chosen
