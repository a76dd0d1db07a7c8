"""A session that is busy, and one that is interrupted for something else."""

from __future__ import annotations

import threading

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import RENEWS, SOON, end_of, run_stuck

from rankbook.errors import ClusterError, InputError, RankbookError, SessionError, StuckError
from rankbook.sessions.cells.cells import Cells

# -- busy --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.run("rank"),
        lambda s: s.initialize("gloo"),
        lambda s: s.reset(),
        lambda s: s.destroy(),
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.restart_ranks([0]),
    ],
    ids=["run", "initialize", "reset", "destroy", "pull", "push", "restart_ranks"],
)
def test_a_busy_session_says_what_it_does_and_refuses(formed, pool, act):
    thread, _ = run_stuck(formed, "0-1")
    before = len(pool.wire.requests)
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == (
        "The session is running a cell on ranks 0-1: wait, or run %dist_interrupt."
    )
    assert len(pool.wire.requests) == before
    formed.interrupt()
    end_of(thread)
    assert formed.run("rank").ok


def test_a_busy_session_answers_states_stacks_and_snapshots(formed):
    thread, _ = run_stuck(formed, "1", "wait_in('all_reduce', seq=1)")
    assert formed.doing == "running a cell on rank 1"
    assert repr(formed).endswith("generation 1, running a cell on rank 1>")
    states = formed.states()
    assert [s.state for s in states] == ["idle", "waiting", "idle", "idle"]
    assert formed.snapshot().doing == "running a cell on rank 1"
    assert formed.stacks()[1] == ["stack of engine 1\n"]
    assert formed.select("0,1") == (0, 1)
    formed.interrupt()
    end_of(thread)


def test_a_session_is_ready_again_after_it_raised_an_error(formed):
    with pytest.raises(InputError):
        formed.pull("nothing")
    assert formed.doing == ""
    assert formed.run("rank").ok


# -- busy, and interrupted for something else --------------------------------------------------


NAMES = ["initialize", "reset", "restart_ranks"]


@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_with_interrupt_ends_the_running_cell_and_makes_one_new_group(
    formed, renew, code
):
    """There is one new group, not a second one that repairs the old."""
    formed.run("kept = rank")
    thread, ended = run_stuck(formed, code=code)
    renew(formed)
    end_of(thread)
    assert formed.generation == 2
    result = ended["result"]
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
    assert "the process group was re-created" not in result.note
    assert formed.run("rank").ok
    assert formed.pull("kept", "0-2") == {0: 0, 1: 1, 2: 2}
    assert formed.generation == 2


@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_with_interrupt_frees_no_rank_of_an_idle_session(formed, pool, renew):
    renew(formed)
    assert formed.generation == 2
    assert pool.asked("free") == []


def test_a_hang_is_freed_in_a_group_made_by_a_reset_with_interrupt(formed, watchful):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    formed.reset(interrupt=True)
    end_of(thread)
    formed.run("if rank: wait_in('all_reduce', seq=1)")
    assert formed.generation == 3
    assert formed.run("rank").ok


def test_initialize_with_interrupt_changes_the_world_size_while_a_cell_hangs(formed):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    formed.initialize(nproc=2, interrupt=True)
    end_of(thread)
    assert (formed.world_size, formed.generation) == (2, 2)


IMPOSSIBLE = [
    lambda s: s.initialize("nccl", interrupt=True),
    lambda s: s.initialize("nccl", nproc=9, interrupt=True),
    lambda s: s.initialize(nproc=0, interrupt=True),
    lambda s: s.initialize(timeout_minutes=-1, interrupt=True),
    lambda s: s.reset("nccl", interrupt=True),
]


@pytest.mark.parametrize("renew", IMPOSSIBLE)
def test_an_infeasible_group_is_refused_without_interrupting_the_running_cell(formed, pool, renew):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    with pytest.raises(RankbookError):
        renew(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    assert pool.grown == []
    assert formed.generation == 1
    formed.interrupt()
    end_of(thread)


NO_ROOM = [
    lambda s: s.reset(interrupt=True),
    lambda s: s.restart_ranks(interrupt=True),
    lambda s: s.initialize(nproc=9, interrupt=True),
]


@pytest.mark.parametrize("renew", NO_ROOM, ids=["reset", "restart_ranks", "initialize"])
def test_a_renewal_that_needs_a_dead_rank_replaced_leaves_the_running_cell_alone(
    formed, pool, renew
):
    pool.launcher.can_add = False
    thread, _ = run_stuck(formed, "0-2", on_hang="wait")
    pool.kill(3)
    with pytest.raises(RankbookError):
        renew(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)


def test_after_an_interrupt_the_next_cell_is_never_refused(formed):
    for _ in range(20):
        thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
        again = threading.Thread(target=formed.interrupt)
        again.start()
        end_of(thread)
        assert formed.run("rank").ok
        end_of(again)


def test_an_interrupt_ends_a_cell_that_has_not_reached_the_ranks_yet(formed, pool, monkeypatch):
    run = Cells.run

    def late(*args):
        wait_until(lambda: len(pool.requested("look")) >= 2, SOON)
        return run(*args)

    monkeypatch.setattr(Cells, "run", late)
    ended = {}
    thread = threading.Thread(target=lambda: ended.update(result=formed.run("stick()")))
    thread.start()
    wait_until(lambda: formed.doing, SOON)
    assert formed.interrupt()
    end_of(thread)
    assert {its.error.ename for its in ended["result"].values()} == {"KeyboardInterrupt"}


def test_a_snapshot_never_carries_the_number_of_a_later_turn(formed, monkeypatch):
    states, begun = formed.states, formed.turn

    def slowly():
        seen = states()
        formed.run("rank")
        return seen

    monkeypatch.setattr(formed, "states", slowly)
    assert formed.snapshot().turn in {0, begun}


def test_a_renewal_that_fails_re_creates_the_group_that_it_cut(formed, pool, monkeypatch):
    def grow(count):
        raise ClusterError("There is no room for more.")

    monkeypatch.setattr(pool, "grow", grow)
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    with pytest.raises(ClusterError, match="no room"):
        formed.initialize(nproc=9, interrupt=True)
    end_of(thread)
    assert formed.generation == 2
    assert formed.run("rank").ok


@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_keeps_the_group_when_a_rank_ignores_the_interrupt(formed, pool, renew):
    pool[1].ignores = FOR_GOOD
    thread, _ = run_stuck(formed, "1")
    with pytest.raises(StuckError, match=r"rank 1 is at cell 1 line 1: stick\(\)"):
        renew(formed)
    assert thread.is_alive()
    assert formed.generation == 1
    pool[1].ignores = 0
    formed.interrupt()
    end_of(thread)
    assert formed.run("rank").ok


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda s: s.restart_ranks(interrupt=True), SessionError),
        (lambda s: s.restart_ranks([9], interrupt=True), InputError),
    ],
)
def test_a_refused_restart_of_ranks_leaves_the_running_cell_alone(formed, pool, act, error):
    thread, _ = run_stuck(formed)
    with pytest.raises(error):
        act(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)
