"""What a cell did over the groups of its ranks, in one line."""

from __future__ import annotations

from rankbook.display.traffic import traffic_in_words
from rankbook.models.calls import Traffic


def test_ranks_that_called_the_same_share_a_number():
    traffic = {0: Traffic(3, 48, 0.01, 0.31), 1: Traffic(3, 48, 0.3, 0.02)}
    assert traffic_in_words(traffic) == (
        "3 calls and 48 B on each rank; waited 0.01-0.30 s (rank 1 most), "
        "computed 0.02-0.31 s (rank 0 most)"
    )


def test_ranks_that_called_differently_have_ranges():
    traffic = {0: Traffic(1, 4_000, 0.0, 1.0), 1: Traffic(12_000, 2_500_000_000, 0.0, 1.0)}
    assert traffic_in_words(traffic) == (
        "1-12,000 calls and 4 kB-2.5 GB on each rank; waited 0.00 s, computed 1.00 s"
    )


def test_of_a_cell_without_calls_nothing_is_said():
    assert traffic_in_words({0: Traffic(0, 0, 0.0, 1.0)}) == ""
    assert traffic_in_words({}) == ""
