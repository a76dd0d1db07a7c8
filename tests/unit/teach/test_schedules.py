"""The rules of every schedule of a pipeline, for answers that are no known mistake."""

from __future__ import annotations

import pytest

from rankbook.teach.lessons.pipeline.rules import broken_rule

RIGHT = [("F", 0), ("F", 1), ("B", 0), ("F", 2), ("B", 1), ("B", 2)]


@pytest.mark.parametrize(
    ("steps", "broken"),
    [
        (RIGHT, ""),
        ([list(step) for step in RIGHT], ""),
        (None, ""),
        ([], ""),
        (["F0", "F1"], "form"),
        ([*RIGHT, "F", 3], "form"),
        ([(what.lower(), k) for what, k in RIGHT], "form"),
        ([(k, what) for what, k in RIGHT], "form"),
        ([(what, k + 1) for what, k in RIGHT], "form"),
        (RIGHT[1:], "once"),
        ([*RIGHT, RIGHT[-1]], "once"),
        ([("F", 0), ("B", 0), ("F", 1), ("B", 1), ("F", 2), ("B", 2)], "ahead"),
        ([("F", 0), ("F", 1), ("F", 2), ("B", 0), ("B", 1), ("B", 2)], "ahead"),
    ],
)
def test_the_first_rule_that_a_schedule_breaks_is_found(steps, broken):
    assert broken_rule(steps, ahead=2, batches=3) == broken
