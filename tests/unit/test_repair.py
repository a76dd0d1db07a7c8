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


def test_all_ranks_that_live_are_looked_at_for_a_diagnosis(repair, pool, calls, formed):
    calls("wait_in('all_reduce', seq=1)", 0, 1)
    pool.kill(2)
    verdict = formed.diagnose()
    assert set(pool.asked("look")) == {0, 1, 3}
    assert (verdict.kind, verdict.ranks) == ("dead", (2,))
    assert set(verdict.per_rank) == {0, 1, 2, 3}


def test_who_is_seen_in_a_collective_is_looked_at_twice(repair, pool, calls, clock, formed):
    """It may have been on its way through it."""
    calls("wait_in('all_reduce', seq=1)", 0, 1, 2)
    pool[1].still = 0.1
    begin = clock.now
    verdict = formed.diagnose()
    assert clock.now - begin == 0.25
    assert pool.asked("look") == [0, 1, 2, 3] * 2
    assert verdict.per_rank[0].startswith("waits in all_reduce #1")
    assert verdict.per_rank[1].startswith("runs")


def test_where_nobody_waits_one_look_is_enough(repair, pool, calls, clock, formed):
    calls("stick()", 0)
    begin = clock.now
    assert formed.diagnose().kind == "running"
    assert clock.now == begin
    assert pool.asked("look") == [0, 1, 2, 3]


# -- freeing ---------------------------------------------------------------------------------


def test_ctrl_c_while_ranks_are_freed_does_not_hide_that_they_were_cut(repair, monkeypatch):
    def free(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return Freed(was_busy=True, cut=True)

    monkeypatch.setattr(freeing, "free", free)
    assert repair.free([0, 1, 2, 3]).cut
    assert repair.is_cut
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_idle_ranks_of_the_same_group_are_cut_as_well_and_spares_are_not(
    formed, pool, calls, repair
):
    formed.initialize(nproc=3)
    calls("wait_in('all_reduce', seq=1)", 1)
    repair.free([1])
    assert [pool[n].freed for n in range(4)] == [["cut"], ["cut"], ["cut"], []]


def test_ranks_that_run_are_not_cut_when_others_are_freed(repair, pool, calls):
    calls("stick()", 2)
    calls("wait_in('all_reduce', seq=1)", 1)
    repair.free([1])
    assert pool[2].freed == []
    assert pool[2].stuck is not None


def test_who_has_ended_is_not_asked(repair, pool, calls):
    calls("stick()")
    pool.kill(3)
    freed = repair.free([0, 3])
    assert freed.busy == frozenset()
    assert pool.asked("free") == [0]


# -- making the group again ------------------------------------------------------------------


def test_no_group_is_made_where_there_is_none(repair, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    formed.destroy()
    assert repair.after(Event.CELL_ENDS) == ""
    assert formed.world_size == 0


def test_no_group_is_made_with_a_dead_rank(repair, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    pool.kill(1)
    assert repair.after(Event.CELL_ENDS) == ""
    assert formed.generation == 1


def test_who_interrupts_again_leaves_the_group_that_is_made_again(
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


def test_unless_making_it_takes_too_long(repair, formed, pool, calls, monkeypatch, clock):
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


def test_for_whoever_makes_another_group_the_old_one_is_not_made_again(
    settle, formed, pool, calls, repair
):
    calls("wait_in('all_reduce', seq=1)", 0)
    with repair.renewing():
        freed = repair.free([0])
        result = settle(result_of(), freed, [0, 1, 2, 3])
        assert result.note == FREE
        assert formed.generation == 1
    assert len(pool.requested("initialize")) == 1


def test_if_nobody_makes_it_in_the_end_it_is_made_again_later(repair, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    with repair.renewing():
        repair.free([0])
        assert repair.after(Event.CELL_ENDS) == FREE
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)
    assert repair.after(Event.CELL_ENDS) == ""


def test_several_may_be_about_to_make_it(repair, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    with repair.renewing():
        with repair.renewing():
            pass
        assert repair.after(Event.CELL_ENDS) == FREE
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_who_fails_is_about_to_make_it_no_more(repair, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    repair.free([0])
    with pytest.raises(EngineError), repair.renewing():
        raise EngineError("no")
    assert repair.after(Event.CELL_ENDS) == AGAIN.format(2)


def test_a_group_that_works_needs_no_successor(repair, formed):
    with repair.renewing():
        assert repair.after(Event.CELL_ENDS) == ""


# -- the session as a whole ------------------------------------------------------------------


def test_an_interrupt_from_elsewhere_leaves_a_group_that_works(formed, pool):
    thread, ended = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    assert formed.interrupt() is True
    end_of(thread)
    result = ended["result"]
    assert {result[rank].error.ename for rank in range(4)} == {"KeyboardInterrupt"}
    assert formed.generation == 2
    assert [info.rank for info in infos(pool)] == [0, 1, 2, 3]
    assert result.note == AGAIN.format(2)
    with pytest.raises(RankError, match=r"KeyboardInterrupt on ranks 0-3.*re-created"):
        result.raise_for_error()


def test_an_interrupt_that_does_not_end_it_says_where_it_is(formed, pool):
    pool[2].ignores = FOR_GOOD
    thread, ended = run_stuck(formed, "2")
    with pytest.raises(StuckError, match=r"rank 2 is at line 1: stick\(\)\. Interrupt again"):
        formed.interrupt()
    assert thread.is_alive()
    pool[2].ignores = 0
    assert formed.interrupt() is True
    end_of(thread)
    assert ended["result"][2].error.ename == "KeyboardInterrupt"


def test_a_rank_that_dies_while_others_wait_comes_back_and_the_others_keep_theirs(
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
def test_a_group_that_was_made_since_is_not_made_once_more(formed, watchful, renew):
    formed.run("if rank == 1: die()\nwait_in('all_reduce', seq=1)")
    renew(formed)
    generation = formed.generation
    assert formed.run("rank").note == ""
    assert formed.generation == generation
