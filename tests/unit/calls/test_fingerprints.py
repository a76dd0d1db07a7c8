"""Comparing what ranks called in a group, by their running hashes."""

from __future__ import annotations

import random

import pytest

from rankbook.calls.fingerprints import Running, key_of
from rankbook.fingerprints import Comparison
from rankbook.models.calls import Fingerprint

BOTH = (0, 1)


class Rank:
    """A member of one group, and what it says of it."""

    def __init__(self, ranks=BOTH, group="0", generation=1):
        self.running = Running()
        self.terms = (group, ranks, generation)

    def calls(self, *ops):
        for op in ops:
            self.running.add(key_of((op,)))
        return self

    def says(self):
        count, hashes = self.running.news()
        return [Fingerprint(*self.terms, count, hashes)] if hashes else []


def compare(comparison, *ranks):
    found = comparison.compare(dict(enumerate(r.says() for r in ranks)))
    return [slot.number for slot in found.differing]


def left_out(comparison, *ranks):
    found = comparison.compare(dict(enumerate(r.says() for r in ranks)))
    return [slot.number for slot in found.left_out]


@pytest.fixture
def comparison():
    return Comparison()


def test_ranks_that_called_alike_do_not_differ(comparison):
    ranks = [Rank(), Rank()]
    for _ in range(3):
        for rank in ranks:
            rank.calls("a", "b", "c")
        assert compare(comparison, *ranks) == []


@pytest.mark.parametrize("at", [1, 2, 17, 100])
def test_the_first_call_that_differs_is_found(comparison, at):
    same = ["a"] * (at - 1)
    one, other = Rank().calls(*same, "b", "c"), Rank().calls(*same, "x", "c", "a")
    assert compare(comparison, one, other) == [at]


def test_calls_in_another_order_differ(comparison):
    assert compare(comparison, Rank().calls("a", "b"), Rank().calls("b", "a")) == [1]


def test_a_mismatch_is_reported_once(comparison):
    one, other = Rank().calls("a"), Rank().calls("x")
    assert compare(comparison, one, other) == [1]
    assert compare(comparison, one.calls("b"), other.calls("b")) == []
    assert compare(comparison, one.calls("c"), other.calls("y")) == [3]


def test_calls_in_flight_are_compared_when_the_others_have_followed(comparison):
    one, other = Rank().calls("a", "b"), Rank().calls("a")
    assert compare(comparison, one, other) == []
    assert compare(comparison, one, other.calls("x")) == [2]


def test_a_call_that_a_member_leaves_out_is_found_once(comparison):
    one, other = Rank().calls("a", "b", "c"), Rank().calls("a")
    assert left_out(comparison, one, other) == [2]
    assert left_out(comparison, one, other) == []
    assert left_out(comparison, one.calls("d"), other.calls("b")) == []
    assert left_out(comparison, one.calls("e"), other) == [3]
    assert left_out(comparison, one, other.calls("c", "d", "e")) == []


def test_members_that_did_not_run_the_cell_leave_nothing_out(comparison):
    assert left_out(comparison, Rank().calls("a")) == []


def test_a_rank_that_runs_no_cell_is_compared_with_what_it_said_before(comparison):
    one, other = Rank().calls("a"), Rank().calls("a")
    assert compare(comparison, one, other) == []
    assert compare(comparison, one.calls("b", "c")) == []
    assert compare(comparison, one, other.calls("b")) == []
    assert compare(comparison, one, other.calls("x")) == [3]


def test_a_rank_too_far_ahead_gives_no_alarm_and_is_compared_later(comparison):
    one, other = Rank().calls(*["a"] * 3000), Rank().calls("a")
    assert compare(comparison, one, other) == []
    assert compare(comparison, one, other.calls(*["a"] * 2999)) == []
    assert compare(comparison, one.calls("b"), other.calls("x")) == [3001]


def test_members_of_which_nothing_was_heard_give_no_alarm(comparison):
    trio = (0, 1, 2)
    assert compare(comparison, Rank(trio).calls("a"), Rank(trio).calls("x")) == []


def test_groups_of_the_same_name_and_other_members_are_distinguished(comparison):
    one, other = Rank((0,), "1").calls("a"), Rank((1,), "1").calls("x")
    assert compare(comparison, one, other) == []


def test_a_new_generation_begins_again(comparison):
    assert compare(comparison, Rank().calls("a", "b"), Rank().calls("a")) == []
    ranks = Rank(generation=2).calls("c"), Rank(generation=2).calls("c")
    assert compare(comparison, *ranks) == []
    late = Rank().calls("a", "x", "y")
    assert compare(comparison, late, late) == []


@pytest.mark.parametrize("seed", range(100))
def test_random_calls_in_random_pieces_differ_where_they_were_made_to(comparison, seed):
    draw = random.Random(seed)
    length = draw.randrange(1, 60)
    ops = [draw.choice("abc") for _ in range(length)]
    at = draw.randrange(2 * length)
    odd = [*ops[:at], "x", *ops[at + 1 :]][:length] if at < length else ops
    ranks, found = [Rank((0, 1, 2)) for _ in range(3)], []
    while any(rank.running.count < length for rank in ranks):
        for rank, own in zip(ranks, (ops, ops, odd), strict=True):
            begin = rank.running.count
            rank.calls(*own[begin : begin + draw.randrange(8)])
        found += compare(comparison, *ranks)
    assert found == ([at + 1] if at < length else [])


def test_of_many_calls_the_latest_thousand_are_reported():
    running = Running()
    for number in range(2500):
        running.add(key_of((number % 7,)))
    count, hashes = running.news()
    assert count == 2500
    assert len(hashes) == 4 * -(-1000 * 8 // 3)
    assert running.news() == (2500, "")
