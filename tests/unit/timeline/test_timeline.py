"""The timeline's pure parts: bars side by side, clocks, and what is kept of many."""

from __future__ import annotations

import itertools
import math
import random
import time
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pytest

from rankbook.models import Recorded
from rankbook.timeline import Alignment, Bar, Clock, Kept, measure

LONG_AGO = 1000.0


def one(seq, created, rank=0, **facts):
    """A collective of a group of three, and the rank that it was recorded on."""
    facts = {"ranks": (0, 1, 2), "ended": created + 1, "done": True, "generation": 1} | facts
    return rank, Recorded(
        seq, "all_reduce", facts.pop("group", "0"), seq=seq, created=created, **facts
    )


def align(*calls, until=math.inf, silent=(), gone=(), alignment=None, heard=(0, 1, 2), now=1):
    alignment = alignment or Alignment()
    for rank in heard:
        alignment.take(rank, [call for its, call in calls if its == rank], until, now)
    return {(bar.seq, bar.rank): bar for bar in alignment.settle(silent, gone)}


# -- side by side ----------------------------------------------------------------------------


def test_lateness_is_counted_from_the_first_that_called():
    bars = align(one(1, 10.0), one(1, 10.5, 1), one(1, 10.2, 2))
    late = {rank: round(bar.lateness, 6) for (_, rank), bar in bars.items()}
    assert late == {0: 0.0, 1: 0.5, 2: 0.2}
    assert {bar.duration for bar in bars.values()} == {1.0}


def test_a_bar_has_all_facts():
    alignment = Alignment()
    call = Recorded(9, "broadcast", "1", (4,), 3, 2, 10.0, 10.5, done=True, nbytes=12)
    alignment.take(4, [call], 11.0, 2)
    assert alignment.settle() == [Bar(10.0, 0.5, 0.0, 4, "broadcast", "1", 12, 3, 2)]


def test_a_bar_without_an_end_has_no_duration():
    [bar] = align(one(1, 10.0, ranks=(0,), ended=None)).values()
    assert math.isnan(bar.duration)


def test_a_collective_that_raised_has_not_completed():
    bars = align(one(1, 10.0, failed=True), one(1, 10.0, 1), one(1, 10.0, 2))
    assert {rank: bar.failed for (_, rank), bar in bars.items()} == {0: True, 1: False, 2: False}
    assert {bar.duration for bar in bars.values()} == {1.0}


def test_a_collective_in_flight_has_not_failed():
    alignment = Alignment()
    align(one(1, 10.0, done=False, ended=None), until=15.0, alignment=alignment)
    assert [bar.failed for bar in alignment.open()] == [False]


def test_every_bar_is_settled_once():
    alignment = Alignment()
    calls = [one(1, 10.0), one(1, 10.5, 1), one(1, 10.2, 2)]
    assert len(align(*calls, alignment=alignment)) == 3
    assert align(*calls, alignment=alignment, heard=()) == {}


def test_a_bar_waits_for_a_rank_that_may_have_been_the_first():
    alignment = Alignment()
    assert align(one(1, 10.0), one(1, 10.5, 1), heard=(0, 1), alignment=alignment) == {}
    bars = align(one(1, 9.0, 2), heard=(2,), alignment=alignment)
    assert {rank: bar.lateness for (_, rank), bar in bars.items()} == {0: 1.0, 1: 1.5, 2: 0.0}


def test_a_rank_that_answers_later_was_not_the_first():
    """A broadcast returns on its root before the others have called it."""
    alignment = Alignment()
    [bar] = align(one(1, 10.0), until=12.0, alignment=alignment).values()
    assert (bar.rank, bar.lateness) == (0, 0.0)
    late = align(one(1, 30.0, 1), one(1, 31.0, 2), alignment=alignment)
    assert {rank: bar.lateness for (_, rank), bar in late.items()} == {1: 20.0, 2: 21.0}


def test_a_bar_does_not_wait_for_a_silent_rank():
    bars = align(one(1, 10.0), one(1, 10.5, 1), heard=(0, 1), silent={2})
    assert set(bars) == {(1, 0), (1, 1)}
    assert all(math.isnan(bar.lateness) for bar in bars.values())


def test_a_bar_does_not_wait_for_an_entry_that_the_recorder_dropped():
    bars = align(one(1, 10.0), one(1, 10.5, 1), one(2, 20.0, 2, done=False))
    assert set(bars) == {(1, 0), (1, 1)}
    assert all(math.isnan(bar.lateness) for bar in bars.values())


def test_groups_and_generations_are_not_mixed():
    calls = [
        one(1, 10.0),
        one(1, 10.5, 1),
        one(1, 10.2, 2),
        one(1, 20.0, 1, group="1", ranks=(1, 2)),
        one(1, 20.5, 2, group="1", ranks=(1, 2)),
        one(1, 30.0, 0, generation=2),
        one(1, 30.25, 1, generation=2),
        one(1, 30.25, 2, generation=2),
    ]
    alignment = Alignment()
    for rank in (0, 1, 2):
        alignment.take(rank, [call for its, call in calls if its == rank], 100.0, 2)
    late = {(b.generation, b.group, b.rank): b.lateness for b in alignment.settle()}
    assert late[1, "1", 1] == 0.0
    assert late[1, "1", 2] == 0.5
    assert late[2, "0", 1] == 0.25


def test_a_group_of_unknown_members_waits_for_every_known_rank():
    bars = align(one(1, 10.0, ranks=()), one(1, 10.5, 1, ranks=()), until=20.0)
    assert {rank: bar.lateness for (_, rank), bar in bars.items()} == {0: 0.0, 1: 0.5}


def test_a_collective_that_has_not_completed_is_open():
    alignment = Alignment()
    calls = [one(1, 10.0), one(1, 10.5, 1), one(2, 20.0, done=False, ended=None)]
    assert set(align(*calls, until=15.0, alignment=alignment)) == {(1, 0), (1, 1)}
    [bar] = alignment.open()
    assert (bar.seq, bar.rank, bar.lateness) == (2, 0, 0.0)
    assert math.isnan(bar.duration)


def test_an_open_bar_of_a_rank_that_has_moved_on_has_a_duration():
    alignment = Alignment()
    calls = [one(1, 10.0, rank, done=False, ended=None) for rank in (0, 1)]
    align(*calls, until=15.0, alignment=alignment)
    bars = {bar.rank: bar.duration for bar in alignment.open({1, 7})}
    assert bars == {0: pytest.approx(math.nan, nan_ok=True), 1: 5.0}


def test_an_open_bar_is_settled_when_it_has_completed():
    alignment = Alignment()
    align(one(1, 10.0, done=False, ended=None), until=15.0, alignment=alignment)
    [bar] = align(one(1, 10.0), until=15.0, alignment=alignment).values()
    assert bar.duration == 1.0
    assert alignment.open() == []


def test_a_collective_that_never_completed_is_settled_with_the_next_generation():
    alignment = Alignment()
    hangs = [one(1, 10.0, done=False, ended=None), one(1, 10.5, 1, done=False, ended=None)]
    align(*hangs, until=15.0, alignment=alignment)
    assert len(alignment.open()) == 2
    bars = align(alignment=alignment, now=2)
    assert {(bar.lateness, bar.failed) for bar in bars.values()} == {(0.0, True), (0.5, True)}
    assert alignment.open() == []


@pytest.mark.parametrize(("called", "lasted"), [(10.0, 2.0), (13.0, 7.0)])
def test_a_collective_that_was_cut_lasts_to_the_last_answer_from_its_group(called, lasted):
    """One that was called after that answer lasts to the next one."""
    alignment = Alignment()
    open_call = one(1, called, 0, ended=None, done=False)
    align(open_call, until=12.0, alignment=alignment, heard=(0,))
    bars = align(until=20.0, alignment=alignment, heard=(0,), now=2)
    assert bars[1, 0].failed
    assert bars[1, 0].duration == lasted


def test_the_collective_of_a_dead_rank_is_settled():
    alignment = Alignment()
    hang = one(1, 10.0, done=False, ended=None)
    assert list(align(hang, until=15.0, alignment=alignment, gone={0})) == [(1, 0)]


def test_every_bar_is_settled_at_the_end():
    alignment = Alignment()
    align(one(1, 10.0, done=False, ended=None), one(2, 11.0), heard=(0,), alignment=alignment)
    assert {bar.seq for bar in alignment.end()} == {1, 2}
    assert alignment.open() == alignment.end() == []


def test_collectives_that_a_rank_never_calls_do_not_accumulate():
    alignment = Alignment()
    for seq in range(1, 4000):
        align(one(seq, seq, generation=1), until=1e9, alignment=alignment)
    assert alignment.size < 1500


def test_collectives_that_cannot_be_settled_do_not_accumulate():
    alignment = Alignment(unsettled=50)
    told = {}
    for seq in range(1, 200):
        told |= align(one(seq, seq), heard=(0,), alignment=alignment)
    assert sorted(told) == [(seq, 0) for seq in range(1, 150)]
    assert all(math.isnan(bar.lateness) for bar in told.values())
    # Who comes too late for it is told of all the same, and nothing twice.
    late = align(one(7, 7.5, 1), heard=(1, 2), alignment=alignment)
    assert (7, 0) not in late
    assert late[7, 1].lateness == 0.5


def test_a_group_of_unknown_members_waits_only_for_ranks_of_its_generation():
    alignment = Alignment()
    for rank in range(4):
        alignment.take(rank, [], 5.0, 1)
    for rank in range(2):
        call = one(1, 10.0 + rank, rank, ranks=(), generation=2)[1]
        alignment.take(rank, [call], 12.0, 2)
    assert {bar.rank: bar.lateness for bar in alignment.settle()} == {0: 0.0, 1: 1.0}
    assert alignment.size == 0


def test_settled_groups_are_forgotten():
    alignment = Alignment()
    for group in range(50):
        align(*(one(1, 10.0, rank, group=str(group)) for rank in range(3)), alignment=alignment)
    assert alignment.size == 0


def test_a_bar_settled_at_the_end_is_not_settled_again_when_it_completes():
    alignment = Alignment()
    hang = one(1, 10.0, done=False, ended=None)
    align(hang, until=15.0, alignment=alignment)
    assert len(alignment.end()) == 1
    assert align(one(1, 10.0), one(1, 10.5, 1), one(1, 10.2, 2), alignment=alignment).keys() == {
        (1, 1),
        (1, 2),
    }


def test_a_bar_settled_with_the_next_generation_is_not_settled_again():
    alignment = Alignment()
    hangs = [one(1, 10.0, rank, done=False, ended=None) for rank in range(3)]
    align(*hangs, until=15.0, alignment=alignment)
    assert len(align(alignment=alignment, now=2)) == 3
    assert align(*(one(1, 10.0, rank) for rank in range(3)), alignment=alignment, now=2) == {}


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_answers_does_not_change_the_bars(seed):
    """In several pieces, some while they are open, in any order of the ranks."""
    rng = random.Random(seed)
    times = {(s, r): 10.0 * s + rng.random() for s in range(1, 20) for r in range(3)}
    calls = {r: [one(s, times[s, r], r)[1] for s in range(1, 20)] for r in range(3)}
    alignment = Alignment()
    told = {}
    sent = dict.fromkeys(range(3), 0)
    for _ in itertools.count():
        rank = rng.randrange(3)
        end = min(19, sent[rank] + rng.randrange(4))
        until = calls[rank][end].created - 0.5 if end < 19 else math.inf
        done, is_open = calls[rank][sent[rank] : end], calls[rank][end : end + rng.randrange(2)]
        if is_open:
            until = is_open[0].created
        alignment.take(rank, [*done, *(replace(its, done=False) for its in is_open)], until, 1)
        sent[rank] = end
        for bar in alignment.settle():
            assert (bar.seq, bar.rank) not in told
            told[bar.seq, bar.rank] = bar.lateness
        if len(told) == 57:
            break
    for seq in range(1, 20):
        first = min(times[seq, rank] for rank in range(3))
        assert [told[seq, r] for r in range(3)] == [times[seq, r] - first for r in range(3)]


# -- clocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-3.0, 0.0, 0.25])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_clocks_are_compared_within_half_of_the_shortest_round_trip(offset, share):
    now = [LONG_AGO]
    trips = iter([0.08, 0.01, 0.2, 0.05] * 2)

    def ask():
        trip = next(trips)
        now[0] += share * trip
        theirs = now[0] + offset
        now[0] += (1 - share) * trip
        return theirs

    clock = measure(ask, lambda: now[0])
    assert clock.error == pytest.approx(0.005)
    assert abs(clock.offset - offset) <= clock.error + 1e-9


def test_a_clock_that_does_not_answer_is_unknown():
    assert measure(lambda: None, lambda: LONG_AGO) is None
    answers = iter([LONG_AGO + 1, None])
    assert measure(lambda: next(answers), lambda: LONG_AGO) == Clock(1.0, 0.0)


# -- what is kept ----------------------------------------------------------------------------


def bars(seqs, ranks=2, late=None, slow=()):
    def bar(seq, rank):
        duration, lateness = 5.0 if seq in slow else 0.5, (late or {}).get(seq, 0.0) * rank
        return Bar(1000.0 + seq, duration, lateness, rank, "op", "0", 8, seq, 1)

    return [bar(seq, rank) for seq in seqs for rank in range(ranks)]


def rows(kept):
    return kept.since(0)[1]


def test_all_bars_are_kept_in_their_order():
    kept = Kept()
    kept.add(bars(range(3)))
    kept.add([])
    kept.add(bars(range(3, 5)))
    assert len(kept) == 10
    assert rows(kept)["seq"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    edition, rest, *_ = kept.since(7)
    assert (edition, rest["seq"].tolist(), rest["rank"].tolist()) == (0, [3, 4, 4], [1, 0, 1])
    assert kept.note == ""


def test_names_of_operations_and_groups_are_kept_once():
    kept = Kept()
    a, b = Bar(1, 1, 0, 0, "a", "0", 1, 1, 1), Bar(1, 1, 0, 0, "b", "1", 1, 1, 1)
    kept.add([a, b, a])
    assert (kept.ops, kept.groups) == (["a", "b"], ["0", "1"])
    assert rows(kept)["op"].tolist() == [0, 1, 0]


def test_every_second_older_collective_is_left_out_of_too_many():
    kept = Kept(collectives=16)
    kept.add(bars(range(16)))
    assert kept.edition == 0
    kept.add(bars([16]))
    assert kept.edition == 1
    assert len(np.unique(rows(kept)["seq"])) == 13
    assert rows(kept)["seq"].tolist()[-18:] == [s for s in range(8, 17) for _ in range(2)]
    assert len(kept) == len(rows(kept)) == 26
    begin = datetime.fromtimestamp(rows(kept)["start"][-18], timezone.utc)  # of what is not thinned
    assert kept.note.startswith(f"Before {begin:%Y-%m-%dT%H:%M:%SZ} ")
    assert "one collective in 2 is shown" in kept.note


def test_names_without_a_bar_are_left_out_of_too_many():
    kept = Kept(collectives=100)
    for number in range(5000):
        where = f"line {number}"
        kept.add([Bar(number, 1, 0, 0, f"op {number}", f"{number}", 1, 1, 1, where=where)])
    _, its, ops, groups, places = kept.since(0)
    assert len(ops) == len(groups) == len(places) == len(its) <= 100
    assert [places[i] for i in its["where"]] == [f"line {start:.0f}" for start in its["start"]]
    assert [groups[i] for i in its["group"]] == [f"{start:.0f}" for start in its["start"]]
    assert [ops[i] for i in its["op"]] == [f"op {start:.0f}" for start in its["start"]]
    assert kept.oldest == its["start"].min()


def test_late_collectives_stay_when_others_are_left_out():
    kept = Kept(collectives=64)
    late = {seq: 1.0 + seq for seq in range(0, 200, 10)}
    for seq in range(200):
        kept.add(bars([seq], late=late))
    there = set(rows(kept)["seq"].tolist())
    assert len(there) <= 64
    older = sorted(there)[: len(there) // 2]
    assert len(set(older) & set(late)) >= len(older) / 4  # of all it is one in ten
    assert "one collective in" in kept.note


def test_slow_collectives_stay_when_others_are_left_out():
    kept = Kept(collectives=16)
    kept.add(bars(range(17), slow={1, 2, 5}))
    assert {1, 2, 5} <= set(rows(kept)["seq"].tolist())


def test_bars_of_many_ranks_are_kept_up_to_their_limit():
    kept = Kept(bars=100)
    kept.add(bars(range(50), ranks=8))
    assert len(kept) <= 100


def test_a_single_collective_is_kept_whole_beyond_the_limit():
    kept = Kept(bars=10)
    kept.add(bars([1], ranks=64))
    assert len(kept) == 64


def test_a_hundred_thousand_bars_are_thinned_quickly():
    """Threads that add or read wait for it."""
    kept = Kept(bars=200_000)
    kept.add(bars(range(25_000), ranks=4))

    def seconds(act):
        begin = time.perf_counter()
        act()
        return time.perf_counter() - begin

    naive = seconds(lambda: np.unique(rows(kept)[["generation", "group", "seq"]]))
    assert min(seconds(kept._thin) for _ in range(2)) < naive


@pytest.mark.parametrize("seed", range(5))
def test_kept_collectives_are_whole_and_stand_for_those_left_out(seed):
    rng = random.Random(seed)
    kept = Kept(collectives=100)
    total = 0
    while total < 3000:
        more = rng.randrange(1, 150)
        kept.add(bars(range(total, total + more), ranks=3))
        total += more
    seqs, ranks = np.unique(rows(kept)["seq"], return_counts=True)
    assert set(ranks.tolist()) == {3}
    assert len(seqs) <= 100
    assert kept._stands_for.sum() == 3 * total
    # What is new is there without a gap.
    assert seqs.tolist()[-20:] == list(range(total - 20, total))
