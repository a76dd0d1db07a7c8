"""Bars of a track nest or are apart, so that every viewer draws all of them."""

from __future__ import annotations

import pytest

from rankbook.trace.lanes import lanes


@pytest.mark.parametrize(
    ("bars", "found"),
    [
        ([(0, 9), (1, 4), (5, 9), (9, 10)], [0, 0, 0, 0]),
        ([(0, 5), (3, 8), (6, 9)], [0, 1, 0]),
        ([(3, 8), (0, 5), (4, 9)], [1, 0, 2]),
        ([(0, 5), (1, 5.0001)], [0, 0]),
        ([], []),
    ],
)
def test_a_bar_that_overlaps_another_without_nesting_is_in_another_lane(bars, found):
    assert lanes(bars) == found
