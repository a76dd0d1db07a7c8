"""How a cell's time divides on each rank, without any rank."""

from __future__ import annotations

import math

import pytest

from rankbook.models import CellSpan
from rankbook.models.calls import Traffic
from rankbook.timeline import Bar, Kept, Names, as_array
from rankbook.timeline.shares import Share, shares
from rankbook.widgets.spent import Spent

# In a cell of 10 s, rank 1 calls an all_reduce 6 s after rank 0; it takes 2 s from then on.
LATE = [
    Bar(1.0, 8.0, 0.0, 0, "all_reduce", "0", 4, 1, 1),
    Bar(7.0, 2.0, 6.0, 1, "all_reduce", "0", 4, 1, 1),
]
ACCOUNT = {0: Traffic(1, 4, 8.0, 2.0), 1: Traffic(1, 4, 2.0, 8.0)}


def divided(bars, traffic=ACCOUNT):
    return shares(as_array(bars, Names(), Names(), Names()), traffic, 0.0, 10.0)


def test_a_rank_waits_until_the_last_has_called_and_then_communicates():
    assert divided(LATE) == {
        0: pytest.approx(Share(0.2, 0.2, 0.6)),
        1: pytest.approx(Share(0.8, 0.2, 0.0)),
    }


def test_an_asynchronous_call_counts_only_as_far_as_its_rank_was_held_up():
    """Its bar is as long as before; the rank has computed meanwhile."""
    overlapped = {0: Traffic(1, 4, 4.0, 6.0), 1: Traffic(1, 4, 0.0, 10.0)}
    found = divided(LATE, overlapped)
    assert found[0] == pytest.approx(Share(0.6, 0.1, 0.3))
    assert found[1] == pytest.approx(Share(1.0, 0.0, 0.0))


def test_all_of_a_call_that_did_not_complete_is_waiting():
    hung = [Bar(1.0, 8.0, math.nan, 0, "all_reduce", "0", 4, 1, 1, failed=True)]
    assert divided(hung, {0: Traffic(1, 4, 8.0, 2.0)})[0] == pytest.approx(Share(0.2, 0.0, 0.8))


def test_a_rank_whose_cell_ended_long_before_the_others_was_not_computing_all_the_time():
    hung = [Bar(1.0, 8.0, math.nan, 0, "all_reduce", "0", 4, 1, 1, failed=True)]
    found = divided(hung, {0: Traffic(1, 4, 8.0, 2.0), 1: Traffic(0, 0, 0.0, 0.5)})
    assert found[1] == pytest.approx(Share(0.05, 0.0, 0.0, 0.95))


def test_bars_of_other_cells_do_not_count():
    before = [Bar(-5.0, 1.0, 0.0, 0, "all_reduce", "0", 4, 9, 1)]
    assert divided([*before, *LATE]) == divided(LATE)


def test_without_bars_or_seconds_nothing_is_made_up():
    assert divided([])[0] == pytest.approx(Share(0.2, 0.8, 0.0))
    assert divided([], {0: Traffic(1, 4, 0.0, 0.0)})[0] == Share(0.0, 0.0, 0.0, 1.0)
    assert divided(LATE, {0: Traffic(0, 0, 0.0, 10.0)}) == {}


def test_the_times_are_those_of_the_last_cell_that_has_ended_and_called_something():
    spent, kept = Spent(), Kept()
    cells = [
        CellSpan(4, "a", 0.0, 10.0, traffic=ACCOUNT, name="In [4]"),
        CellSpan(5, "b", 11.0, 12.0, traffic={0: Traffic(0, 0, 0.0, 1.0)}, name="In [5]"),
        CellSpan(6, "c", 13.0, None, name="In [6]"),
    ]
    assert spent.look(kept, cells)
    assert spent.times.cell == "In [4]"
    assert not spent.look(kept, cells)
    kept.add(LATE)  # they may be settled after the cell's end
    assert spent.look(kept, cells)
    assert spent.times.by_rank[0] == pytest.approx(Share(0.2, 0.2, 0.6))
    assert not spent.look(kept, cells)


def test_before_the_first_cell_there_are_no_times():
    spent = Spent()
    assert not spent.look(Kept(), [])
    assert not spent.times.by_rank
