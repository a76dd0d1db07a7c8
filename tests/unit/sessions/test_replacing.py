"""Ranks and engines that are replaced."""

from __future__ import annotations

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import SOON, end_of, run_stuck

from rankbook.cluster.launchers.base import Ended
from rankbook.errors import ClusterError, InputError, RankbookError, SessionError, StuckError

# -- engines that end or do not answer ---------------------------------------------------------


def test_a_hard_reset_replaces_the_engines(formed, pool):
    formed.run("x = 1")
    pool.kill(2)
    formed.reset(hard=True)
    assert formed.ended == {}
    assert formed.world_size == 4
    assert formed.generation == 2
    assert formed.run("'x' in globals()")[0].result_repr == "False"


def test_a_hard_reset_keeps_the_number_of_ranks(formed):
    formed.initialize(nproc=3)
    formed.reset(hard=True)
    assert formed.world_size == 3


@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
def test_a_hard_reset_ends_the_running_cell(formed, code):
    thread, ended = run_stuck(formed, code=code)
    formed.reset(hard=True)
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"EngineError"}
    assert formed.run("rank").ok


def test_a_hard_reset_ends_the_running_cell_when_engines_end_one_by_one(formed, pool, monkeypatch):
    thread, ended = run_stuck(formed)
    replace = pool.replace

    def one_by_one():
        pool.kill(0)
        wait_until(lambda: pool.asked("look") or not thread.is_alive(), SOON)
        replace()

    monkeypatch.setattr(pool, "replace", one_by_one)
    formed.reset(hard=True)
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"EngineError"}


def test_a_hard_reset_of_joined_engines_is_refused_and_changes_nothing(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    with pytest.raises(RankbookError):
        session.reset(hard=True)
    assert session.world_size == 2
    assert session.run("rank").ok


@pytest.mark.parametrize(
    "act", [lambda session: session.reset(hard=True), lambda session: session.restart_ranks([1])]
)
def test_new_engines_that_could_not_start_end_and_change_nothing(formed, pool, monkeypatch, act):
    asked = []

    def refuse(n, instead_of):
        asked.append((n, sorted(instead_of)))
        raise ClusterError("beta cannot be reached.")

    monkeypatch.setattr(pool.launcher, "refuse_start", refuse)
    formed.run("x = 7")
    with pytest.raises(ClusterError, match="beta cannot be reached"):
        act(formed)
    assert asked in ([(4, [0, 1, 2, 3])], [(1, [1])])
    assert (formed.world_size, formed.generation, formed.ended) == (4, 1, {})
    assert formed.run("x")[1].result_repr == "7"


def test_an_engine_that_ends_while_it_starts_is_not_waited_for(pool, monkeypatch):
    def add(n):
        pool.ended[9] = -9
        return {9}

    monkeypatch.setattr(pool.launcher, "add", add)
    with pytest.raises(ClusterError, match=r"^Engine 9 was killed by SIGKILL while it started\.$"):
        pool.grow(1)
    with pytest.raises(ClusterError, match="Engine 9"):
        pool.wait_for(5, 60)
    pool.wait_for(4, 60, new={0, 1, 2, 3})


def test_all_engines_are_replaced_while_others_had_not_come_up_yet(session, pool, monkeypatch):
    """As after a start that failed or was interrupted: these are ended, and say so late."""
    start = pool.launcher.start_engines

    def start_engines(n):
        new = start(n)
        pool._take(Ended(1000, -9))
        return new

    monkeypatch.setattr(pool.launcher, "start_engines", start_engines)
    session.reset(hard=True)
    assert [session.run("rank")[rank].result_repr for rank in range(4)] == ["0", "1", "2", "3"]


def test_a_cluster_without_engines_says_how_to_get_others(session, pool):
    for engine in range(4):
        pool.kill(engine)
    with pytest.raises(ClusterError, match="no engines left: %dist_reset --hard"):
        session.initialize("gloo", 2)


# -- replacing ranks ---------------------------------------------------------------------------


def test_restart_ranks_replaces_dead_ranks_and_keeps_the_others(formed, pool):
    formed.run("x = rank")
    pool.kill(2)
    pool.kill(0, 1)
    formed.restart_ranks()
    assert (formed.world_size, formed.generation) == (4, 2)
    assert dict(formed.ended) == {2: -9, 0: 1}
    assert formed.pull("x", "1,3") == {1: 1, 3: 3}
    assert formed.run("rank")[2].result_repr == "2"
    assert [state.info.rank for state in formed.states()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("ranks", "replaced"), [("1", {1}), ([0, 3], {0, 3}), (-1, {3}), ("all", {0, 1, 2, 3})]
)
def test_restart_ranks_replaces_living_ranks(formed, pool, ranks, replaced):
    formed.run("x = rank")
    formed.restart_ranks(ranks)
    assert [n for n in range(4) if n in pool.engines] == sorted({0, 1, 2, 3} - replaced)
    assert formed.world_size == 4


def test_restart_ranks_replaces_dead_ranks_beside_the_given_ones(formed, pool):
    pool.kill(3)
    formed.restart_ranks("1")
    assert pool.engines == [0, 2, 4, 5]
    assert formed.run("rank").ok


def test_restart_ranks_without_a_dead_rank_asks_which(formed):
    with pytest.raises(SessionError) as caught:
        formed.restart_ranks()
    assert str(caught.value) == "No rank has ended: name the ranks to replace."
    assert formed.generation == 1


def test_restart_ranks_refuses_a_rank_outside_the_world(formed, pool):
    with pytest.raises(InputError, match="There is no rank 4"):
        formed.restart_ranks("4")
    assert pool.engines == [0, 1, 2, 3]


def test_a_rank_that_ignores_interrupts_can_be_replaced(formed, pool):
    pool[1].ignores = FOR_GOOD
    formed.run("x = rank")
    with pytest.raises(StuckError, match=r"restart_ranks\(\[1\]\)"):
        formed.run("if rank == 1: stick()", timeout=0.02)
    formed.restart_ranks([1])
    assert formed.run("rank").ok
    assert formed.pull("x", "0") == {0: 0}
