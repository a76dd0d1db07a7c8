"""Freeing ranks, on engines that live in this process and a clock that moves when one sleeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FOR_GOOD

from rankbook.cluster.transport.channel import everyone
from rankbook.errors import ClusterError
from rankbook.models import Look, to_dict
from rankbook.models.requests import Free, Run
from rankbook.sessions.members import Members, freeing
from rankbook.sessions.members import looks as looking
from rankbook.sessions.members.freeing import Freed

IN_PYTHON = "stick()"
IN_TORCH = "wait_in('all_reduce', seq=1)"


@pytest.fixture
def free(pool, timing):
    """Frees ranks, whose ids are those of their engines; ``others`` are idle ones beside them."""

    def free_ranks(ranks, others=(), timeout=None):
        members = Members(pool, timing)
        party = members.party({number: number for number in (*ranks, *others)})
        return freeing.free(party, ranks, timeout)

    return free_ranks


@pytest.fixture
def run(pool):
    """Has engines run a cell; returns the call."""

    def run_cell(code, *engines):
        return pool.channel.request(everyone(engines, Run(code, 1)))

    return run_cell


class Rounds(list):
    """Pairs of the time and what is asked by engine; ``requests`` has those by engine."""

    def __init__(self):
        super().__init__()
        self.requests = {}


@pytest.fixture
def rounds(pool, clock, monkeypatch):
    """The requests that free engines: pairs of the time and the arguments by engine."""
    asked = Rounds()
    request = pool.channel.request

    def recorded(requests, buffers=()):
        frees = {n: its for n, its in requests.items() if isinstance(its, Free)}
        said = {n: _said(its) for n, its in frees.items()}
        if set(said.values()) == {"nothing"}:
            pool.announced = sorted(said)
        elif said:
            asked.append((clock.now, said))
            for engine, its in frees.items():
                asked.requests.setdefault(engine, []).append(its)
        return request(requests, buffers)

    monkeypatch.setattr(pool.channel, "request", recorded)
    return asked


def _said(request):
    return ", ".join(name for name in ("interrupt", "cut") if getattr(request, name)) or "nothing"


def asked_of(rounds, engine):
    return [args[engine] for _, args in rounds if engine in args]


# -- nothing to free -------------------------------------------------------------------------


def test_freeing_leaves_idle_ranks_alone(pool, rounds, free):
    freed = free([0, 1], [2, 3])
    assert not freed.was_busy
    assert not freed.cut
    assert freed.busy == frozenset()
    assert rounds == []


def test_freeing_no_ranks_asks_nothing(pool, rounds, free):
    assert free([]) == Freed(was_busy=False, cut=False)
    assert pool.wire.requests == []


def test_freeing_leaves_no_call_waiting(pool, run, free):
    run(IN_TORCH, 0, 1)
    run(IN_PYTHON, 2)
    pool[3].answers = False
    free([0, 1, 2, 3])
    assert pool.awaited == set()


# -- one round -------------------------------------------------------------------------------


def test_python_code_is_interrupted_and_no_connection_is_cut(pool, run, rounds, free):
    call = run(IN_PYTHON, 0, 1)
    freed = free([0, 1], [2, 3])
    assert (freed.was_busy, freed.cut, freed.busy) == (True, False, frozenset())
    assert [args for _, args in rounds] == [{0: "interrupt", 1: "interrupt"}]
    assert call.done


def test_a_rank_that_asks_again_and_again_is_interrupted_before_it_is_cut(
    pool, run, rounds, free, monkeypatch
):
    """To be told that the collective is done, after the cut, would send it on its way."""
    looks = looking.looks

    def asking(party):
        return {
            rank: replace(look, polls=rank == 0 and look.state == "waiting")
            for rank, look in looks(party).items()
        }

    monkeypatch.setattr(looking, "looks", asking)
    run(IN_TORCH, 0, 1)
    assert free([0, 1]).busy == frozenset()
    assert [args for _, args in rounds] == [{0: "interrupt"}, {0: "cut", 1: "cut"}]


def test_a_wait_in_torch_is_cut_first_and_not_interrupted(pool, run, rounds, free):
    """A signal that arrives while torch handles the cut would only confuse."""
    call = run(IN_TORCH, 0)
    freed = free([0])
    assert (freed.was_busy, freed.cut, freed.busy) == (True, True, frozenset())
    assert [args for _, args in rounds] == [{0: "cut"}]
    assert call.done


def test_a_collective_whose_data_still_arrives_is_interrupted_and_not_cut(pool, run, rounds, free):
    """Gloo never wakes a thread that waits for the rest of a message."""
    call = run(IN_TORCH, 0, 1)
    pool[0].silent = pool[1].silent = 0.01
    freed = free([0, 1], [2, 3])
    assert (freed.was_busy, freed.cut, freed.busy) == (True, False, frozenset())
    assert [args for _, args in rounds] == [{0: "interrupt", 1: "interrupt"}]
    assert call.done


def test_a_rank_that_waits_after_its_data_has_arrived_is_cut(pool, run, rounds, monkeypatch, free):
    run(IN_TORCH, 0)
    pool[0].silent, pool[0].ignores = 0.01, 1
    interrupt = pool[0].free

    def go_on_to_the_next(**asked):
        interrupt(**asked)
        pool[0].silent = 0.2

    monkeypatch.setattr(pool[0], "free", go_on_to_the_next)
    freed = free([0])
    assert (freed.cut, freed.busy) == (True, frozenset())
    assert [args for _, args in rounds] == [{0: "interrupt"}, {0: "interrupt, cut"}]


def test_a_wait_that_a_signal_has_not_ended_is_ended_whatever_handles_the_signal(
    pool, run, rounds, free
):
    """Code that handles it itself may stop by itself, but not while it waits for others."""
    run(IN_TORCH, 0)
    run(IN_PYTHON, 1)
    pool[0].ignores, pool[1].ignores = 2, 2
    assert free([0, 1]).busy == frozenset()
    assert [its.insists for its in rounds.requests[0]] == [False, True, True]
    assert not any(its.insists for its in rounds.requests[1])


def test_a_collective_whose_data_never_stops_arriving_is_not_cut(pool, run, rounds, free):
    run(IN_TORCH, 0)
    pool[0].ignores, pool[0].silent = FOR_GOOD, 0.01
    freed = free([0])
    assert (freed.cut, freed.busy) == (False, {0})
    assert set(asked_of(rounds, 0)) == {"interrupt"}


def test_a_cut_is_announced_to_all_ranks_and_then_made_on_all(pool, run, rounds, free):
    run(IN_TORCH, 1)
    free([1], [0, 2, 3])
    assert pool.announced == [0, 1, 2, 3]
    assert [args for _, args in rounds] == [{1: "cut", 0: "cut", 2: "cut", 3: "cut"}]


def test_python_beside_a_wait_in_torch_is_interrupted_in_the_same_round(pool, run, rounds, free):
    run(IN_TORCH, 0)
    run(IN_PYTHON, 1)
    freed = free([0, 1])
    assert freed.busy == frozenset()
    assert [args for _, args in rounds] == [{0: "cut", 1: "interrupt, cut"}]


def test_only_busy_ranks_are_asked_to_let_go(pool, run, rounds, free):
    run(IN_PYTHON, 2)
    free([0, 1, 2, 3])
    assert [args for _, args in rounds] == [{2: "interrupt"}]


def test_freeing_ends_when_all_ranks_are_idle(pool, run, clock, free):
    begin = clock.now
    run(IN_TORCH, 0)
    free([0])
    assert clock.now - begin < 0.1


# -- again and again -------------------------------------------------------------------------


def test_a_wait_that_survives_the_cut_is_cut_again_and_interrupted(pool, run, rounds, free):
    run(IN_TORCH, 0)
    pool[0].ignores = 1
    freed = free([0], [1])
    assert freed.busy == frozenset()
    assert asked_of(rounds, 0) == ["cut", "interrupt, cut"]
    assert asked_of(rounds, 1) == ["cut", "cut"]


def test_the_next_round_of_freeing_comes_after_free_round_seconds(pool, run, rounds, free, timing):
    run(IN_TORCH, 0)
    pool[0].ignores = 1
    free([0])
    (first, _), (second, _) = rounds
    assert second - first == pytest.approx(timing.free_round, abs=2 * timing.idle_poll)


def test_python_code_that_goes_on_is_interrupted_again_after_free_again_seconds(
    pool, run, rounds, free, timing
):
    """It may still do something useful."""
    run(IN_PYTHON, 0)
    pool[0].ignores = 1
    freed = free([0])
    assert freed.busy == frozenset()
    first, second = [time for time, args in rounds if args[0] == "interrupt"]
    assert (
        timing.free_again
        <= second - first
        <= timing.free_again + timing.free_round + timing.idle_poll
    )
    assert asked_of(rounds, 0) == ["interrupt", "interrupt"]


def test_python_code_that_runs_into_a_collective_is_cut(pool, run, rounds, monkeypatch, free):
    run(IN_PYTHON, 0)
    let_go = pool[0]._let_go

    def wait_instead():
        call, pool[0].stuck = pool[0].stuck, None
        monkeypatch.setattr(pool[0], "_let_go", let_go)
        pool[0].cell = None
        pool.channel.forget(run(IN_TORCH, 0))
        pool[0].stuck = call

    monkeypatch.setattr(pool[0], "_let_go", wait_instead)
    freed = free([0])
    assert freed.busy == frozenset()
    assert freed.cut
    assert asked_of(rounds, 0)[0] == "interrupt"
    assert asked_of(rounds, 0)[-1] == "interrupt, cut"


def test_a_thread_that_waits_in_torch_when_its_cell_has_ended_is_cut(
    pool, rounds, monkeypatch, free
):
    left = Look("running")  # no cell runs, and what runs is in no line of user code
    freed = pool[0].free

    def end_the_connections(**asked):
        monkeypatch.undo() if asked["cut"] else None
        return freed(**asked)

    monkeypatch.setattr(pool[0], "look", lambda **_asked: to_dict(left))
    monkeypatch.setattr(pool[0], "free", end_the_connections)
    its = free([0])
    assert (its.cut, its.busy) == (True, frozenset())


def test_a_thread_that_a_cut_does_not_wake_keeps_no_rank_from_being_free(
    pool, monkeypatch, free, clock, timing
):
    """Gloo leaves a thread whose message was cut in two until the timeout of its group."""
    monkeypatch.setattr(pool[0], "look", lambda **_asked: to_dict(Look("running")))
    begin = clock.now
    its = free([0])
    assert (its.was_busy, its.cut, its.busy) == (True, True, frozenset())
    assert timing.free_again <= clock.now - begin < timing.free


# -- ranks that do not let go ----------------------------------------------------------------


@pytest.mark.parametrize(("code", "state"), [(IN_PYTHON, "running"), (IN_TORCH, "waiting")])
def test_a_rank_that_never_lets_go_is_reported_with_its_look(
    pool, run, clock, code, state, free, timing
):
    begin = clock.now
    run(code, 1, 2)
    pool[1].ignores = FOR_GOOD
    freed = free([0, 1, 2])
    assert freed.busy == {1}
    look = dict(freed.looks)[1]
    assert (look.state, look.line) == (state, f"a cell line 1: {code}")
    assert timing.free < clock.now - begin < timing.free + 3 * timing.free_round


def test_freeing_gives_up_after_the_given_timeout(pool, run, clock, free):
    begin = clock.now
    run(IN_PYTHON, 0)
    pool[0].ignores = FOR_GOOD
    assert free([0], timeout=1.0).busy == {0}
    assert clock.now - begin < 2.0


def test_a_silent_rank_is_interrupted_and_reported_as_busy(pool, rounds, clock, free, timing):
    begin = clock.now
    pool[3].answers = False
    freed = free([0, 3])
    assert (freed.was_busy, freed.busy) == (True, {3})
    assert 3 not in dict(freed.looks)
    assert asked_of(rounds, 3)[0] == "interrupt"
    assert clock.now - begin < timing.free + 3 * timing.free_round


def test_a_rank_that_answers_again_and_is_idle_counts_as_free(pool, rounds, monkeypatch, free):
    """It held the GIL in C for a while."""
    pool[3].answers = False
    looks = looking.looks

    def looked(party):
        found = looks(party)
        pool[3].answers = True
        return found

    monkeypatch.setattr(looking, "looks", looked)
    assert free([3]).busy == frozenset()


def test_a_cell_that_begins_during_freeing_is_freed(pool, run, monkeypatch, free):
    """A silent rank hides that the others had yet to begin."""
    pool[3].answers = False
    wait_until_idle = looking.wait_until_idle

    def begin(*args):
        if pool[0].stuck is None and not pool[0].freed:
            run(IN_PYTHON, 0)
        return wait_until_idle(*args)

    monkeypatch.setattr(looking, "wait_until_idle", begin)
    assert free([0, 3]).busy == {3}
    assert pool[0].freed == ["interrupt"]


def test_a_rank_that_dies_during_freeing_counts_as_free(pool, run, monkeypatch, free):
    run(IN_TORCH, 0, 1)
    monkeypatch.setattr(pool[1], "_let_go", lambda: pool.kill(1))
    freed = free([0, 1])
    assert freed.busy == frozenset()


def test_freeing_raises_when_the_controller_is_gone(pool, run, free):
    run(IN_PYTHON, 0)
    pool.channel.lost.set()
    with pytest.raises(ClusterError, match="controller is gone"):
        free([0])
