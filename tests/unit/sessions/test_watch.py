"""Watching a cell, on engines that live in this process and a clock that stands still."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from fakes import Clock, FakePool
from looks import HANDLE, call, done, waits

from rankbook.cluster.placement import place
from rankbook.cluster.transport.channel import everyone
from rankbook.errors import ClusterError
from rankbook.models import Failure
from rankbook.models.requests import Run
from rankbook.sessions.cells import watch as watching
from rankbook.sessions.cells.watch import Hang, Watch
from rankbook.sessions.members import Members
from rankbook.sessions.members.outcomes import PENDING
from rankbook.timing import Timing

ONE_IS_MISSING = "if rank: wait_in('all_reduce', seq=1)"
ALL_RUN = "stick()"


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watching, "time", clock)
    return clock


@pytest.fixture
def members(pool, clock):
    """Four ranks, under the patience that users have."""
    members = Members(pool, Timing())
    members.seat(place(members.facts()))
    return members


@pytest.fixture
def run(pool, monkeypatch):
    """Has the engines run a cell; waiting for answers fails the test."""

    def run_cell(code):
        for number in pool.engines:
            pool[number].names["rank"] = number
        pool.channel.request(everyone(pool.engines, Run(code, 1)))

    monkeypatch.setattr(pool.channel, "wait", lambda *_, **__: pytest.fail("it was waited for"))
    return run_cell


@pytest.fixture
def watch(members):
    return Watch(members)


def looked(pool):
    return len(pool.requested("look"))


def later(clock, watch, seconds):
    """Let time pass, then let the watch go on."""
    clock.sleep(seconds)
    return watch.pause(dict)


def answer(watch, pool, number):
    """Have an engine answer the look that is under way."""
    watch._call._call.settle(number, {"status": "ok", "value": pool[number].look()})


# -- when it looks ---------------------------------------------------------------------------


def test_a_short_cell_is_never_looked_at(watch, pool, clock):
    assert watch.pause(dict) == pytest.approx(0.7)
    assert later(clock, watch, 0.6) == pytest.approx(0.1)
    assert later(clock, watch, 0.09) == pytest.approx(0.01)
    assert looked(pool) == 0
    assert watch.diagnosis is None
    assert not watch.is_hopeless()


def test_a_watch_looks_at_every_rank_after_the_first_pause(watch, pool, clock):
    later(clock, watch, 0.7)
    assert looked(pool) == 1
    assert pool.asked("look") == [0, 1, 2, 3]
    assert watch.diagnosis.kind == "idle"


@pytest.mark.parametrize(("code", "period"), [(ONE_IS_MISSING, 0.5), (ALL_RUN, 1.0)])
def test_ranks_that_wait_are_looked_at_more_often_than_those_that_run(
    watch, pool, clock, run, code, period
):
    run(code)
    later(clock, watch, 0.7)
    assert later(clock, watch, period - 0.01) == pytest.approx(0.01)
    assert looked(pool) == 1
    later(clock, watch, 0.01)
    assert looked(pool) == 2
    later(clock, watch, period)
    assert looked(pool) == 3


def test_a_watch_looks_at_once_after_a_change(watch, pool):
    watch.soon()
    watch.pause(dict)
    assert looked(pool) == 1


def test_a_change_does_not_put_off_a_look_that_is_due(watch, pool, clock):
    clock.sleep(2.0)
    watch.soon()
    watch.pause(dict)
    assert looked(pool) == 1


# -- what it does with the answers -----------------------------------------------------------


def test_a_watch_looks_by_rank_and_knows_dead_ranks(clock):
    """On two hosts rank 1 is engine 2, and rank 2 engine 1."""
    pool = FakePool(4, hosts="ab")
    members = Members(pool, Timing())
    members.seat(place(members.facts()))
    watch = Watch(members)
    pool.kill(1)
    later(clock, watch, 0.7)
    assert pool.asked("look") == [0, 2, 3]  # engine 1 has ended
    assert (watch.diagnosis.kind, watch.diagnosis.ranks) == ("dead", (2,))
    assert set(watch.diagnosis.per_rank) == {0, 1, 2, 3}


def test_a_watch_does_not_wait_for_answers(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    pool[3].answers = False
    assert 0 < later(clock, watch, 0.7) < 0.1
    assert 0 < later(clock, watch, 0.5) < 0.1
    assert looked(pool) == 1
    assert watch.diagnosis is None
    answer(watch, pool, 3)
    watch.pause(dict)
    assert watch.diagnosis.kind == "missing_rank"
    assert watch.diagnosis.stuck == (1, 2, 3)


def test_a_silent_rank_is_left_out_of_a_look_after_a_second(watch, pool, clock):
    pool[3].answers = False
    later(clock, watch, 0.7)
    later(clock, watch, 1.0)
    assert watch.diagnosis is None
    later(clock, watch, 0.01)
    assert watch.diagnosis.per_rank[3] == "does not answer"
    assert pool.awaited == set()


def test_a_change_during_a_look_does_not_end_it_with_half_of_the_answers(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    pool[3].answers = False
    later(clock, watch, 0.7)
    watch.soon()
    later(clock, watch, 0.02)
    assert watch.diagnosis is None or set(watch.diagnosis.per_rank) == {0, 1, 2, 3}


def test_a_watch_raises_when_the_controller_is_gone(watch, pool, clock):
    pool.channel.lost.set()
    with pytest.raises(ClusterError, match="controller is gone"):
        later(clock, watch, 0.7)


# -- what it makes of them -------------------------------------------------------------------


def test_a_verdict_is_proven_only_by_ranks_that_stand_still(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    pool[2].still = 0.1
    later(clock, watch, 0.7)
    assert watch.diagnosis.kind == "missing_rank"
    assert not watch.is_hopeless()
    assert watch.likely is watch.diagnosis
    pool[2].still = 0.6
    later(clock, watch, 0.5)
    assert watch.is_hopeless()
    assert watch.verdict is watch.diagnosis
    assert watch.verdict.proven
    assert watch.likely is None


ONE_IS_MISSING_AND_ONE_RUNS = "if rank == 3: stick()\nelif rank: wait_in('all_reduce', seq=1)"


def test_an_awaited_rank_that_still_runs_may_join_the_verdict_for_a_second(watch, pool, clock, run):
    run(ONE_IS_MISSING_AND_ONE_RUNS)
    later(clock, watch, 0.7)
    assert (watch.diagnosis.ranks, watch.diagnosis.proven) == ((0,), True)
    assert not watch.is_hopeless()
    pool[3].stuck = None  # has ended without the call, too
    later(clock, watch, 0.15)
    assert watch.diagnosis.ranks == (0, 3)
    assert watch.is_hopeless()


def test_ranks_that_wait_in_vain_are_freed_beside_one_that_runs_on(watch, pool, clock, run):
    run(ONE_IS_MISSING_AND_ONE_RUNS)
    later(clock, watch, 0.7)
    for _ in range(6):
        later(clock, watch, 0.15)
    assert not watch.is_hopeless()
    later(clock, watch, 0.15)
    assert watch.is_hopeless()
    assert watch.diagnosis.ranks == (0,)
    watch.begin_again()
    later(clock, watch, 0.5)
    assert not watch.is_hopeless()


def test_a_rank_outside_of_the_group_cannot_join_the_verdict(watch, pool, clock, run):
    run("if rank == 3: stick()\nelif rank: wait_in('all_reduce', seq=1, ranks=(0, 1, 2))")
    later(clock, watch, 0.7)
    assert watch.is_hopeless()


def test_a_hang_is_not_called_likely_where_a_thread_may_do_what_is_awaited(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    pool[2].still = 0.1
    look = pool[0].look
    pool[0].look = lambda **asked: look(**asked) | {"threads": 1}
    later(clock, watch, 0.7)
    assert watch.diagnosis.stuck
    assert watch.likely is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rank", "idle"),
        ("stick()", "running"),
        ("stick() if rank == 0 else wait_in('barrier', seq=1)", "slow"),
    ],
)
def test_a_healthy_cell_has_no_verdict(watch, clock, run, code, kind):
    run(code)
    later(clock, watch, 0.7)
    assert watch.diagnosis.kind == kind
    assert watch.verdict is None
    assert watch.likely is None


def test_ranks_that_are_all_silent_give_no_verdict(watch, pool, clock):
    for number in pool.engines:
        pool[number].answers = False
    later(clock, watch, 0.7)
    later(clock, watch, 1.01)
    assert watch.diagnosis.kind == "unknown"
    assert watch.verdict is None


def test_the_verdict_is_that_of_the_last_look(watch, pool, clock, run):
    """What was seen earlier may have come right since."""
    pool[1].still = 0.1
    run("if rank == 1: wait_in('recv', peer=0)")
    later(clock, watch, 0.7)
    assert watch.verdict.kind == "missing_rank"
    pool[1].waiting = None  # it has got its message, and computes
    later(clock, watch, 1.0)
    assert watch.diagnosis.kind == "running"
    assert watch.verdict is None


@pytest.mark.parametrize("still", [0.0, 1.0])
def test_a_dead_rank_gives_a_verdict_whether_proven_or_not(watch, pool, clock, run, still):
    run(ONE_IS_MISSING)
    for number in pool.engines:
        pool[number].still = still
    pool.kill(0)
    later(clock, watch, 0.7)
    assert (watch.verdict.kind, watch.verdict.proven) == ("dead", still == 1.0)


def test_ranks_that_go_on_beside_a_dead_one_are_asked_for_their_calls(watch, pool, clock, run):
    """One of them may have caused its end, by a call that did not match."""
    asked = []
    look = pool[1].look
    pool[1].look = lambda **options: asked.append(options["calls"]) or look(**options)
    run(ALL_RUN)
    later(clock, watch, 0.7)
    pool.kill(0)
    later(clock, watch, 1.0)
    assert asked == [False, True]


def test_ranks_that_wait_beside_a_dead_rank_are_looked_at_most_often(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    pool.kill(0)
    later(clock, watch, 0.7)
    later(clock, watch, 0.14)
    assert looked(pool) == 1
    later(clock, watch, 0.01)
    assert looked(pool) == 2


# -- after ranks were freed ------------------------------------------------------------------


def test_a_watch_forgets_its_verdict_after_ranks_were_freed(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    later(clock, watch, 0.7)
    assert watch.is_hopeless()
    watch.begin_again()
    assert watch.diagnosis is watch.verdict is None
    assert not watch.is_hopeless()
    assert watch.pause(dict) == pytest.approx(0.5)
    later(clock, watch, 0.5)
    assert looked(pool) == 2


def test_a_watch_drops_a_pending_look_after_ranks_were_freed(watch, pool, clock):
    pool[3].answers = False
    later(clock, watch, 0.7)
    watch.begin_again()
    assert pool.awaited == set()
    pool[3].answers = True
    later(clock, watch, 0.5)
    assert looked(pool) == 2
    assert watch.diagnosis.kind == "idle"


@pytest.fixture
def completed(watch, pool, monkeypatch):
    """The diagnosis of what was seen, after the cell has ended: then answers may be awaited."""

    def complete(progress):
        monkeypatch.setattr(pool.channel, "wait", partial(type(pool.channel).wait, pool.channel))
        return watch.completed(watch.hang, progress).diagnosis

    return complete


FAILED = Failure("ValueError", "bad batch", line="In [4] line 2: fit()")


@pytest.mark.parametrize(
    ("ended", "called", "named"),
    [
        (FAILED, [], (0, 3)),
        (FAILED, [done(call(seq=1, op="all_reduce"))], (0,)),  # it came after the others were freed
        (replace(FAILED, freed=True), [], (0,)),
        (PENDING, [], (0,)),
        (None, [], (0,)),  # it is missing, but has not raised
    ],
    ids=["raised", "raised later", "was freed", "still runs", "ended well"],
)
def test_ranks_that_end_like_the_cause_after_others_were_freed_are_named_too(
    watch, pool, clock, run, completed, ended, called, named
):
    run(ONE_IS_MISSING_AND_ONE_RUNS)
    progress = {0: FAILED, 3: PENDING}
    for seconds in (0.7, *[0.15] * 7):
        clock.sleep(seconds)
        watch.pause(lambda: progress)
    assert watch.is_hopeless()
    assert (watch.hang.diagnosis.kind, watch.hang.diagnosis.ranks) == ("raised", (0,))
    if ended != PENDING:
        pool[3].stuck = None
    pool[3].recent = called
    found = completed({**progress, 3: ended})
    assert (found.kind, found.ranks, found.stuck) == ("raised", named, (1, 2))


def test_a_rank_that_ends_without_the_call_after_others_were_freed_is_missing_too(
    watch, pool, clock, run, completed
):
    run(ONE_IS_MISSING_AND_ONE_RUNS)
    for seconds in (0.7, *[0.15] * 7):
        later(clock, watch, seconds)
    assert watch.hang.diagnosis.ranks == (0,)
    pool[3].stuck = None
    found = completed(dict.fromkeys(range(4)))
    assert (found.kind, found.ranks) == ("missing_rank", (0, 3))
    assert "Ranks 0,3 never called all_reduce #1" in found.summary


def test_a_rank_that_has_answered_is_looked_at_when_it_is_idle(watch, pool, clock, run, completed):
    run(ONE_IS_MISSING_AND_ONE_RUNS)
    for seconds in (0.7, *[0.15] * 7):
        later(clock, watch, seconds)
    look, ending = pool[3].look, iter((True, True))

    def ends_at_the_third(**asked):
        pool[3].stuck = pool[3].stuck if next(ending, False) else None
        return look(**asked)

    pool[3].look = ends_at_the_third
    found = completed(dict.fromkeys(range(4)))
    assert (found.kind, found.ranks) == ("missing_rank", (0, 3))


def test_ranks_are_not_looked_at_again_where_all_had_ended(watch, pool, clock, run):
    run(ONE_IS_MISSING)
    later(clock, watch, 0.7)
    looks = looked(pool)
    assert watch.completed(watch.hang, dict.fromkeys(range(4))) is watch.hang
    assert looked(pool) == looks


def test_what_is_proven_is_told_also_where_too_little_is_known_of_it():
    found = Hang({0: waits(HANDLE), 1: waits(HANDLE)}).diagnosis
    assert (found.kind, found.proven) == ("unknown", True)
    assert found.summary.startswith("Ranks 0-1 could not go on, but too little is known")


def test_what_is_neither_proven_nor_wrong_is_not_told():
    assert Hang({0: waits(HANDLE, quiet=0.5), 1: waits(HANDLE)}).diagnosis is None
