"""What a session does for ranks that cannot go on, on engines that live in this process."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import SOON, end_of, infos, result_of, run_stuck

from rankbook.errors import EngineError, HangError, RankError, StuckError
from rankbook.sessions.group.repair import Event
from rankbook.sessions.members import freeing
from rankbook.sessions.members.freeing import Freed

AGAIN = (
    "The ranks are free, their variables in place, and the process group was re-created "
    "(generation {})."
)


# -- looking ---------------------------------------------------------------------------------


def test_a_diagnosis_looks_at_every_living_rank(repair, pool, calls, formed):
    calls("wait_in('all_reduce', seq=1)", 0, 1)
    pool.kill(2)
    verdict = formed.diagnose()
    assert set(pool.asked("look")) == {0, 1, 3}
    assert (verdict.kind, verdict.ranks) == ("dead", (2,))
    assert set(verdict.per_rank) == {0, 1, 2, 3}


def test_a_diagnosis_looks_twice_when_a_rank_is_in_a_collective(repair, pool, calls, clock, formed):
    """It may have been on its way through it."""
    calls("wait_in('all_reduce', seq=1)", 0, 1, 2)
    pool[1].still = 0.1
    begin = clock.now
    verdict = formed.diagnose()
    assert clock.now - begin == 0.25
    assert pool.asked("look") == [0, 1, 2, 3] * 2
    assert verdict.per_rank[0].startswith("waits in all_reduce #1")
    assert verdict.per_rank[1].startswith("runs")


def test_a_diagnosis_looks_once_when_no_rank_waits(repair, pool, calls, clock, formed):
    calls("stick()", 0)
    begin = clock.now
    assert formed.diagnose().kind == "running"
    assert clock.now == begin
    assert pool.asked("look") == [0, 1, 2, 3]


# -- freeing ---------------------------------------------------------------------------------


def test_ctrl_c_during_freeing_does_not_lose_that_connections_were_cut(repair, monkeypatch):
    def free(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return Freed(was_busy=True, cut=True)

    monkeypatch.setattr(freeing, "free", free)
    assert repair.free([0, 1, 2, 3]).cut
    assert repair.is_cut
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_freeing_cuts_idle_ranks_of_the_group_and_no_spares(formed, pool, calls, repair):
    formed.initialize(nproc=3)
    calls("wait_in('all_reduce', seq=1)", 1)
    repair.free([1])
    assert [pool[n].freed for n in range(4)] == [["cut"], ["cut"], ["cut"], []]


def test_freeing_some_ranks_does_not_cut_running_ones(repair, pool, calls):
    calls("stick()", 2)
    calls("wait_in('all_reduce', seq=1)", 1)
    repair.free([1])
    assert pool[2].freed == []
    assert pool[2].stuck is not None


def test_freeing_asks_no_dead_rank(repair, pool, calls):
    calls("stick()")
    pool.kill(3)
    freed = repair.free([0, 3])
    assert freed.busy == frozenset()
    assert pool.asked("free") == [0]


# -- making the group again ------------------------------------------------------------------


def test_a_destroyed_group_is_not_re_created(repair, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    formed.destroy()
    assert repair.after(Event.CELL_ENDS) == ""
    assert formed.world_size == 0


def test_a_cut_group_with_a_dead_rank_is_not_re_created(repair, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    pool.kill(1)
    assert repair.after(Event.CELL_ENDS) == ""
    assert formed.generation == 1


def test_an_interrupt_while_the_group_is_re_created_frees_no_rank(
    formed, pool, calls, monkeypatch, group, repair
):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    asked, initialize = len(pool.asked("free")), group.initialize

    def interrupted():
        assert repair.free([0, 1]) == Freed(was_busy=False, cut=False)
        initialize()

    monkeypatch.setattr(group, "initialize", interrupted)
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)
    assert len(pool.asked("free")) == asked


def test_an_interrupt_ends_a_re_creation_that_takes_too_long(
    repair, formed, pool, calls, monkeypatch, clock
):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    pool[3].answers = False
    thread = threading.Thread(target=repair.after, args=[Event.CELL_ENDS])
    thread.start()
    wait_until(lambda: pool[0].stuck, SOON)
    clock.sleep(2 * formed.timing.repair_timeout(4))
    assert repair.free([0, 1, 2]).was_busy
    end_of(thread)


# -- while another group is about to be made -------------------------------------------------

FREE = "The ranks are free, their variables in place."


def test_a_cut_group_is_not_re_created_while_a_renewal_is_under_way(
    settle, formed, pool, calls, repair
):
    calls("wait_in('all_reduce', seq=1)", 0)
    with repair.renewing():
        freed = repair.free([0])
        result = settle(result_of(), freed, [0, 1, 2, 3])
        assert result.note == FREE
        assert formed.generation == 1
    assert len(pool.requested("initialize")) == 1


def test_a_cut_group_is_re_created_after_a_renewal_that_made_none(repair, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    with repair.renewing():
        repair.free([0])
        assert repair.after(Event.CELL_ENDS) == FREE
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)
    assert repair.after(Event.CELL_ENDS) == ""


def test_a_second_renewal_keeps_the_cut_group_waiting_when_the_first_has_ended(
    repair, formed, calls
):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    with repair.renewing():
        with repair.renewing():
            pass
        assert repair.after(Event.CELL_ENDS) == FREE
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_a_renewal_that_raised_no_longer_keeps_a_cut_group_waiting(repair, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    with pytest.raises(EngineError), repair.renewing():
        raise EngineError("no")
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_a_group_that_works_is_not_re_created(repair, formed):
    with repair.renewing():
        assert repair.after(Event.CELL_ENDS) == ""


# -- the session as a whole ------------------------------------------------------------------


def test_an_interrupt_from_another_thread_re_creates_the_group(formed, pool):
    thread, ended = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    assert formed.interrupt() is True
    end_of(thread)
    result = ended["result"]
    assert {result[rank].error.ename for rank in range(4)} == {"KeyboardInterrupt"}
    assert formed.generation == 2
    assert [info.rank for info in infos(pool)] == [0, 1, 2, 3]
    assert result.note == AGAIN.format(2)
    with pytest.raises(RankError, match=r"Interrupted after .* s: ranks 0-3 .*re-created"):
        result.raise_for_error()


def test_an_interrupt_that_a_rank_ignores_says_at_which_line_it_is(formed, pool):
    pool[2].ignores = FOR_GOOD
    thread, ended = run_stuck(formed, "2")
    with pytest.raises(
        StuckError, match=r"rank 2 is at cell 1 line 1: stick\(\)\. Interrupt again"
    ):
        formed.interrupt()
    assert thread.is_alive()
    pool[2].ignores = 0
    assert formed.interrupt() is True
    end_of(thread)
    assert ended["result"][2].error.ename == "KeyboardInterrupt"


def test_a_rank_that_died_in_a_hang_is_replaced_and_the_others_keep_their_variables(
    formed, pool, watchful
):
    formed.run("x = rank")
    pool[1].words = ["terminate called"]
    result = formed.run("if rank == 1: die(-6)\nwait_in('all_reduce', seq=1)")
    assert result.diagnosis.kind == "dead"
    assert "Rank 1 was killed by SIGABRT" in result.diagnosis.summary
    assert "terminate called" in result.diagnosis.summary
    assert {result[rank].error.ename for rank in (0, 2, 3)} == {"KeyboardInterrupt"}
    with pytest.raises(HangError, match="restart_ranks"):
        result.raise_for_error()
    formed.restart_ranks()
    assert formed.generation == 2
    assert formed.pull("x", "0,2,3") == {0: 0, 2: 2, 3: 3}
    assert formed.run("'x' in globals()", "1")[1].result_repr == "False"


@pytest.mark.parametrize("renew", [lambda s: s.restart_ranks(), lambda s: s.reset(hard=True)])
def test_a_group_renewed_after_a_death_is_not_re_created(formed, watchful, renew):
    formed.run("if rank == 1: die()\nwait_in('all_reduce', seq=1)")
    renew(formed)
    generation = formed.generation
    assert formed.run("rank").note == ""
    assert formed.generation == generation
