"""When the ranks are asked for the timeline, and what becomes of their answers; fake engines."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import fakes
import pytest

from rankbook.cluster.placement import place
from rankbook.models import CellSpan, GroupInfo, Look, Recorded, Recording, load, to_dict
from rankbook.sessions.live import clocks, collector
from rankbook.sessions.live.collector import Timeline
from rankbook.sessions.members import Members

HOST = "a"


class Time(fakes.Clock):
    """No time passes by itself; monotonic and wall clock are the same."""

    def time(self):
        return self.now


pytestmark = pytest.mark.timing(compare_clocks=0.005)


@pytest.fixture
def clock(monkeypatch):
    its = Time()
    monkeypatch.setattr(collector, "time", its)
    monkeypatch.setattr(clocks, "time", its)
    monkeypatch.setattr(fakes.engine, "time", its)
    return its


@pytest.fixture
def pool(clock):
    """Two ranks on this host."""
    pool = fakes.FakePool(2, hosts=HOST)
    join(pool, 1)
    return pool


@pytest.fixture
def members_of(timing, pool):
    """Makes ranks of the engines of a pool."""

    def seat(pool):
        members = Members(pool, timing)
        members.seat(place(members.facts()))
        return members

    return seat


@pytest.fixture
def members(pool, members_of):
    return members_of(pool)


@pytest.fixture
def timeline(members):
    return Timeline(members, HOST)


def join(pool, generation):
    for rank, number in enumerate(pool.engines):
        pool[number].info = GroupInfo(
            "gloo", rank, len(pool.engines), "cpu", rank == 0, 0, generation
        )


def states(pool, **facts):
    """What the engines do: nothing, unless ``facts`` say otherwise."""
    found = [load(Look, pool[number].look()) for number in pool.all]
    return [replace(state, **facts) for state in found]


def call(number, created, **facts):
    facts = {"ended": created + 0.5, "done": True} | facts
    return Recorded(number, "all_reduce", "0", (0, 1), number + 1, 1, created, **facts)


def ran(number, clock):
    """A cell that ended long ago."""
    return CellSpan(number, "f()", clock.now - 20, clock.now - 10)


def runs(clock):
    return CellSpan(1, "f()", clock.now)


def late(timeline):
    rows = timeline.kept.since(0)[1]
    return {(int(r["seq"]), int(r["rank"])): round(float(r["lateness"]), 3) for r in rows}


def asked(pool):
    return len(pool.requested("timeline"))


# -- when ------------------------------------------------------------------------------------


def test_ranks_are_asked_once_when_no_cell_has_run(pool, timeline, clock):
    assert timeline.collect(states(pool), [])
    clock.sleep(100)
    assert not timeline.collect(states(pool), [])
    assert asked(pool) == 1


def test_ranks_are_asked_once_soon_after_a_cell(pool, timeline, clock):
    cell = CellSpan(1, "f()", clock.now - 1, clock.now)
    assert not timeline.collect(states(pool), [cell])  # the next cell may be about to follow
    clock.sleep(0.5)
    assert timeline.collect(states(pool), [cell])
    clock.sleep(100)
    assert not timeline.collect(states(pool), [cell])
    assert timeline.collect(states(pool), [cell, ran(2, clock)])


def test_after_a_cell_it_says_when_it_wants_to_ask(pool, timeline, clock):
    cell = CellSpan(1, "f()", clock.now - 1, clock.now)
    clock.sleep(0.1)
    timeline.collect(states(pool), [cell])
    assert timeline.wanted == pytest.approx(0.2)
    clock.sleep(timeline.wanted + 0.001)
    assert timeline.collect(states(pool), [cell])
    assert timeline.wanted is None


def test_what_was_in_flight_when_a_cell_ended_is_asked_for_at_once(pool, timeline, clock):
    pool[0].recorded = [call(0, clock.now - 1, done=False, ended=None)]
    timeline.collect(states(pool), [runs(clock)])
    assert len(timeline.open) == 1
    pool[0].recorded = [call(0, clock.now - 1, done=True, failed=True)]
    assert timeline.collect(states(pool), [CellSpan(1, "f()", clock.now - 1, clock.now)])
    assert timeline.open == []
    assert timeline.wanted is None


def test_ranks_are_asked_at_the_end_of_the_session_whatever_was_asked_before(pool, timeline, clock):
    just_over = CellSpan(1, "f()", clock.now - 1, clock.now)
    assert timeline.collect(states(pool), [just_over], is_last=True)
    assert not timeline.collect(states(pool), [runs(clock)])
    assert timeline.collect(states(pool), [runs(clock)], is_last=True)


def test_a_rank_that_does_not_answer_is_asked_again(pool, timeline, clock):
    pool[1].answers = False
    assert timeline.collect(states(pool), [ran(1, clock)])
    assert timeline.collect(states(pool), [ran(1, clock)])
    pool[1].answers = True
    assert timeline.collect(states(pool), [ran(1, clock)])
    assert not timeline.collect(states(pool), [ran(1, clock)])
    assert pool.awaited == set()


def test_ranks_of_a_new_generation_are_asked_once_more(pool, timeline, clock):
    cells = [ran(1, clock)]
    timeline.collect(states(pool), cells)
    join(pool, 2)
    assert timeline.collect(states(pool), cells)
    assert not timeline.collect(states(pool), cells)


@pytest.mark.parametrize("took", [0.001, 0.02])
def test_answers_take_little_of_the_time_of_a_running_cell(
    pool, timeline, clock, monkeypatch, took
):
    def answer(engine, **_):
        return to_dict(Recording(clock.now, took if engine.number else 0.0))

    monkeypatch.setattr(fakes.FakeEngine, "timeline", answer)
    times = 0
    for _ in range(200):
        times += timeline.collect(states(pool, state="running"), [runs(clock)])
        clock.sleep(0.5)
    assert times > 1
    assert times * took <= 0.005 * 100 + took


def test_ranks_that_stand_still_are_asked_more_often(pool, timeline, clock, monkeypatch):
    monkeypatch.setattr(
        fakes.FakeEngine, "timeline", lambda *_, **__: to_dict(Recording(clock.now, 0.1))
    )
    first, second = states(pool)
    stands = replace(first, state="waiting", since=5.0)
    moves = replace(second, state="running", since=5.0)
    for _ in range(10):
        timeline.collect([stands, moves], [runs(clock)])
        clock.sleep(0.5)
    requests = [set(args) for args in pool.requested("timeline")]
    assert requests == [{0, 1}, {0}, {0}]


def test_a_spare_engine_is_not_asked_for_its_timeline(pool, timeline):
    pool[1].info = None
    timeline.collect(states(pool), [])
    assert set(pool.requested("timeline")[0]) == {0}


def test_nothing_is_asked_without_engines(timeline):
    assert not timeline.collect([], [])


# -- what ------------------------------------------------------------------------------------


def test_bars_of_all_ranks_are_put_side_by_side(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0), call(1, 901.0)]
    pool[1].recorded = [call(0, 900.25), call(1, 901.0)]
    timeline.collect(states(pool), [])
    assert late(timeline) == {(1, 0): 0.0, (1, 1): 0.25, (2, 0): 0.0, (2, 1): 0.0}
    assert (timeline.kept.ops, timeline.kept.groups) == (["all_reduce"], ["0"])
    assert (timeline.open, timeline.note, timeline.clocks) == ([], "", [])


def in_flight(timeline):
    """By rank that is in a collective as far as is known, for how long it was; or still is."""
    lengths = {bar.rank: bar.duration for bar in timeline.open}
    return {rank: "still" if math.isnan(its) else its for rank, its in lengths.items()}


def test_a_collective_stays_in_flight_only_for_a_rank_that_stands_still_in_it(
    pool, timeline, clock
):
    for number in pool.engines:
        pool[number].recorded = [call(0, clock.now - 1, done=False, ended=None)]
        pool[number].took = 0.4  # so that the others are not asked soon
    collective = states(pool, state="waiting")

    def look(stood_for, moved_for):
        first, second = collective
        facts = [replace(first, since=stood_for), replace(second, since=moved_for)]
        asked_before = asked(pool)
        timeline.collect(facts, [runs(clock)])
        return asked(pool) - asked_before

    assert look(1.0, 1.0) == 1
    assert in_flight(timeline) == {0: "still", 1: "still"}
    clock.sleep(1.5)
    assert look(2.0, 0.1) == 0
    assert in_flight(timeline) == {0: "still", 1: "still"}  # what is known is not old yet
    clock.sleep(1.0)
    look(3.5, 0.1)
    assert in_flight(timeline) == {0: "still", 1: pytest.approx(1.0, abs=0.1)}


@pytest.mark.parametrize("state", ["running", "no answer"])
def test_an_open_collective_ends_at_the_last_answer_when_its_rank_does_something_else(
    pool, timeline, clock, state
):
    pool[0].recorded = [call(0, clock.now - 1, done=False, ended=None)]
    pool[0].took = 0.4  # so that it is not asked soon
    timeline.collect(states(pool, state="running"), [runs(clock)])
    clock.sleep(2.5)
    timeline.collect(states(pool, state=state, since=50.0), [runs(clock)])
    assert in_flight(timeline) == {0: pytest.approx(1.0, abs=0.1)}


def test_an_async_collective_is_followed_while_no_cell_runs(pool, timeline, clock):
    cells = [ran(1, clock)]
    pool[0].recorded = [call(0, clock.now - 30, done=False, ended=None)]
    for _ in range(10):
        timeline.collect(states(pool), cells)
        assert in_flight(timeline) == {0: "still"}
        clock.sleep(1)
    pool[0].recorded = [call(0, clock.now - 40)]
    clock.sleep(2)
    timeline.collect(states(pool), cells)
    assert timeline.open == []
    times = asked(pool)
    clock.sleep(100)
    assert not timeline.collect(states(pool), cells)
    assert asked(pool) == times


def test_the_note_says_how_rarely_busy_ranks_are_asked(pool, timeline, clock, monkeypatch):
    monkeypatch.setattr(
        fakes.FakeEngine, "timeline", lambda *_, **__: to_dict(Recording(clock.now, 0.025))
    )
    timeline.collect(states(pool, state="running"), [runs(clock)])
    assert timeline.note == "While a cell runs this moves on every 6 s."
    timeline.collect(states(pool), [ran(1, clock)])
    assert timeline.note == ""


def test_each_bar_is_taken_once(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0), call(1, 901.0, done=False, ended=None), call(2, 902.0)]
    pool[1].recorded = [call(0, 900.0), call(1, 901.0), call(2, 902.0)]
    timeline.collect(states(pool), [ran(1, clock)])
    assert [(bar.seq, bar.rank) for bar in timeline.open] == [(2, 0)]
    pool[0].recorded[1] = call(1, 901.0)
    pool[0].recorded.append(call(3, 903.0))
    timeline.collect(states(pool), [ran(2, clock)])
    assert timeline.open == []
    assert sorted(late(timeline)) == [(seq, rank) for seq in (1, 2, 3) for rank in (0, 1)] + [
        (4, 0)
    ]
    assert len(timeline.kept) == 7
    # Those that are known are not asked for again.
    timeline.collect(states(pool), [ran(3, clock)])
    assert [args[0]["after"] for args in pool.requested("timeline")] == [-1, 0, 3]


def test_the_note_says_how_many_collectives_were_lost(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0)]
    pool[1].recorded = [call(0, 900.0)]
    timeline.collect(states(pool), [ran(1, clock)])
    pool[0].recorded = [call(8, 908.0)]
    pool[1].recorded = [call(2, 902.0)]
    timeline.collect(states(pool), [ran(2, clock)])
    assert timeline.note == ("7 collectives were called too fast to be kept.")
    timeline.collect(states(pool), [ran(3, clock)])
    assert timeline.note.startswith("7 ")


def test_collectives_before_the_first_answer_do_not_count_as_lost(pool, timeline, clock):
    """A notebook that has just begun joins ranks that have worked for long."""
    for number in pool.engines:
        pool[number].recorded = [call(50_000, 900.0)]
    timeline.collect(states(pool), [ran(1, clock)])
    assert timeline.note == ""
    for number in pool.engines:
        pool[number].recorded = [call(50_003, 901.0)]
    timeline.collect(states(pool), [ran(2, clock)])
    assert timeline.note.startswith("2 ")


def test_a_replaced_rank_is_read_from_its_first_collective(pool, timeline, clock, members):
    for number in pool.engines:
        pool[number].recorded = [call(n, 900.0 + n) for n in range(5)]
    timeline.collect(states(pool), [ran(1, clock)])
    pool.kill(1)
    pool.grow(1)
    join(pool, 2)
    members.seat(place(members.facts()))
    for number in pool.engines:
        new = replace(call(0, 950.0 + number), generation=2)
        pool[number].recorded = [*pool[number].recorded, replace(new, id=5 if number == 0 else 0)]
    now = [s for s in states(pool) if s.engine != 1]
    timeline.collect(now, [ran(2, clock)])
    rows = timeline.kept.since(0)[1]
    assert [(int(r["rank"]), r["start"]) for r in rows[rows["generation"] == 2]] == [
        (0, 950.0),
        (1, 952.0),
    ]
    assert timeline.note == ""


def test_a_bar_does_not_wait_for_a_rank_that_is_gone(pool, timeline, clock):
    pool[0].recorded = [call(0, clock.now - 0.01)]
    gone = replace(states(pool)[1], state="gone")
    timeline.collect([states(pool)[0], gone], [ran(1, clock)])
    [(key, lateness)] = late(timeline).items()
    assert key == (1, 0)
    assert math.isnan(lateness)


def test_a_bar_does_not_wait_for_a_rank_that_the_smaller_group_lacks(pool, timeline, clock):
    """A hang, and then a group of fewer ranks."""
    pool[1].recorded = [call(0, 900.0, done=False, ended=None)]
    timeline.collect(states(pool), [ran(1, clock)])
    assert in_flight(timeline) == {1: "still"}
    pool[1].info = None  # for a moment, while the next group is made
    timeline.collect(states(pool), [ran(1, clock)])
    assert [bar.rank for bar in timeline.open] == [1]
    pool[0].info = replace(pool[0].info, world_size=1, generation=2)
    timeline.collect(states(pool), [ran(1, clock)])
    assert timeline.open == []
    [bar] = timeline.kept.since(0)[1]
    assert (bar["rank"], bar["failed"]) == (1, 1)


def test_nothing_is_in_flight_without_a_group(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0, done=False, ended=None)]
    timeline.collect(states(pool), [])
    assert len(timeline.open) == 1
    for number in pool.engines:
        pool[number].info = None
    timeline.collect(states(pool), [])
    clock.sleep(2.1)
    timeline.collect(states(pool), [])
    assert (timeline.open, len(timeline.kept)) == ([], 1)
    # It is told of again, now that it has ended: of the same ranks in another group.
    join(pool, 2)
    pool[0].recorded = [call(0, 900.0)]
    timeline.collect(states(pool), [])
    assert [args[0]["after"] for args in pool.requested("timeline")] == [-1, -1]
    assert (timeline.open, len(timeline.kept)) == ([], 1)


def test_a_call_that_a_new_group_has_cut_keeps_its_length(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0, done=False, ended=None)]
    timeline.collect(states(pool), [])
    for number in pool.engines:
        pool[number].info = None  # for a moment
    timeline.collect(states(pool), [])
    join(pool, 2)
    pool[0].recorded = [call(0, 900.0, failed=True)]
    timeline.collect(states(pool), [])
    [bar] = timeline.kept.since(0)[1]
    assert (bar["failed"], bar["duration"]) == (1, 0.5)


def test_nothing_is_in_flight_in_a_closed_session(pool, timeline, clock):
    pool[0].recorded = [call(0, 900.0, done=False, ended=None)]
    timeline.collect(states(pool), [])
    assert (len(timeline.open), timeline.ended) == (1, None)
    timeline.end()
    assert (timeline.open, len(timeline.kept), timeline.ended) == ([], 1, clock.now)


# -- clocks ----------------------------------------------------------------------------------


@pytest.fixture
def far(clock):
    """Rank 1 is on another host, whose clock is 100 s ahead; it was 0.25 s late."""
    pool = fakes.FakePool(2, hosts="ab")
    join(pool, 1)
    pool[1].ahead = 100.0
    pool[0].recorded = [call(0, 900.0)]
    pool[1].recorded = [call(0, 1000.25)]
    return pool


def test_times_of_other_hosts_are_corrected(far, clock, members_of):
    timeline = Timeline(members_of(far), HOST)
    timeline.collect(states(far), [])
    assert late(timeline) == {(1, 0): 0.0, (1, 1): 0.25}
    assert timeline.clocks == [{"host": "b", "offset": 100.0, "error": 0.0}]


def test_clocks_are_compared_rarely(far, clock, members_of):
    timeline = Timeline(members_of(far), HOST)
    timeline.collect(states(far), [ran(1, clock)])
    once = asked(far)
    assert once > 4
    timeline.collect(states(far), [ran(2, clock)])
    assert asked(far) == once + 1
    far[1].ahead = 200.0
    clock.sleep(1000)
    timeline.collect(states(far), [ran(3, clock)])
    assert asked(far) == 2 * once + 1
    assert timeline.clocks[0]["offset"] == 200.0


def test_a_host_that_does_not_answer_has_no_clock_and_is_not_shown(far, clock, members_of):
    timeline = Timeline(members_of(far), HOST)
    far[1].answers = False
    begin = time.monotonic()
    timeline.collect(states(far), [])
    assert timeline.clocks == []
    assert time.monotonic() - begin < 5
    assert timeline.note == "What ran on b is not shown: its clock could not be compared yet."
    assert list(late(timeline)) == [(1, 0)]
    # Once it answers again, it has a clock, and is.
    far[1].answers = True
    timeline.collect(states(far), [])
    assert timeline.clocks == []  # it was asked a moment ago
    clock.sleep(5)
    timeline.collect(states(far), [])
    assert (timeline.note, late(timeline)[1, 1]) == ("", 0.25)


def test_the_note_leaves_out_hosts_that_are_gone(far, clock, members_of):
    timeline = Timeline(members_of(far), HOST)
    far[1].answers = False
    timeline.collect(states(far), [])
    assert timeline.note
    timeline.collect(states(far)[:1], [])
    assert timeline.note == ""


@pytest.mark.parametrize("state", ["idle", "running"])
def test_no_bar_is_shown_of_a_host_whose_clock_was_not_compared(
    clock, monkeypatch, state, members_of
):
    """There are more hosts than can be compared at a time."""
    tell = fakes.FakeEngine.timeline

    def slow(engine, **args):
        clock.sleep(0.002)
        return tell(engine, **args)

    monkeypatch.setattr(fakes.FakeEngine, "timeline", slow)
    pool = fakes.FakePool(4, hosts="abcd")
    join(pool, 1)
    for number in pool.engines:
        pool[number].ahead = 40.0 * number
        its = replace(call(0, 900.0), ranks=(0, 1, 2, 3))
        pool[number].recorded = [replace(its, created=its.created + pool[number].ahead)]
    timeline = Timeline(members_of(pool), HOST)
    cells = [ran(1, clock)] if state == "idle" else [runs(clock)]
    known = []
    for _ in range(3):
        assert late(timeline) == {}
        assert timeline.collect(states(pool, state=state), cells)
        known.append(len(timeline.clocks))
    assert known == [1, 2, 3]
    assert late(timeline) == pytest.approx({(1, rank): 0.0 for rank in range(4)}, abs=0.01)
    assert timeline.note == ""
    assert not timeline.collect(states(pool, state=state), cells)
