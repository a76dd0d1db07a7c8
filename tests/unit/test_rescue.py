"""What a session does for ranks that cannot go on, on engines that live in this process."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import SOON, end_of, infos, run_stuck

from rankbook.cluster.channel import everyone
from rankbook.display.text import plain
from rankbook.errors import EngineError, HangError, RankError, StuckError
from rankbook.models import Collective, Failure
from rankbook.sessions import rescue as rescue_module
from rankbook.sessions.freeing import Freed
from rankbook.sessions.results import CellResult, RankResult

REDUCE = Collective("all_reduce", "0", seq=3)
GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538]"
LOST = Failure("RuntimeError", f"{GLOO} Connection closed by peer [127.0.0.1]:31250")
AGAIN = "The ranks are free, their variables in place, and the group is made again (generation {})."


@pytest.fixture
def rescue(formed):
    return formed._rescue


@pytest.fixture
def calls(pool):
    """Has engines call something, in a cell of which nobody waits for the end."""

    def run_cell(code, *engines):
        pool.channel.request("run", everyone(engines or pool.engines, code=code, number=1))

    return run_cell


def result_of(ranks=(0, 1, 2, 3), **failures):
    """A result; ``r1=Failure(...)`` fails rank 1."""
    return CellResult({rank: RankResult(rank, error=failures.get(f"r{rank}")) for rank in ranks})


# -- looking ---------------------------------------------------------------------------------


def test_all_ranks_that_live_are_looked_at_for_a_diagnosis(rescue, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0, 1)
    pool.kill(2)
    verdict = rescue.diagnose({})
    assert set(pool.asked("look")) == {0, 1, 3}
    assert (verdict.kind, verdict.ranks) == ("dead", (2,))
    assert set(verdict.per_rank) == {0, 1, 2, 3}


def test_who_is_seen_in_a_collective_is_looked_at_twice(rescue, pool, calls, impatient):
    """It may have been on its way through it."""
    calls("wait_in('all_reduce', seq=1)", 0, 1, 2)
    pool[1].still = 0.1
    begin = impatient.now
    verdict = rescue.diagnose({})
    assert impatient.now - begin == 0.25
    assert pool.asked("look") == [0, 1, 2, 3] * 2
    assert verdict.per_rank[0].startswith("waits in all_reduce #1")
    assert verdict.per_rank[1].startswith("runs")


def test_where_nobody_waits_one_look_is_enough(rescue, pool, calls, impatient):
    calls("stick()", 0)
    begin = impatient.now
    assert rescue.diagnose({}).kind == "running"
    assert impatient.now == begin
    assert pool.asked("look") == [0, 1, 2, 3]


# -- freeing ---------------------------------------------------------------------------------


def test_ctrl_c_while_ranks_are_freed_does_not_hide_that_they_were_cut(rescue, monkeypatch):
    def free(*_):
        os.kill(os.getpid(), signal.SIGINT)
        return Freed(was_busy=True, cut=True)

    monkeypatch.setattr(rescue_module, "free", free)
    assert rescue.free([0, 1, 2, 3]).cut
    assert rescue.is_cut
    assert rescue.mend() == AGAIN.format(2)


def test_idle_ranks_of_the_same_group_are_cut_as_well_and_spares_are_not(formed, pool, calls):
    formed.initialize(nproc=3)
    calls("wait_in('all_reduce', seq=1)", 1)
    formed._rescue.free([1])
    assert [pool[n].freed for n in range(4)] == [["cut"], ["cut"], ["cut"], []]


def test_ranks_that_run_are_not_cut_when_others_are_freed(rescue, pool, calls):
    calls("stick()", 2)
    calls("wait_in('all_reduce', seq=1)", 1)
    rescue.free([1])
    assert pool[2].freed == []
    assert pool[2].stuck is not None


def test_who_has_ended_is_not_asked(rescue, pool, calls):
    calls("stick()")
    pool.kill(3)
    freed = rescue.free([0, 3])
    assert freed.busy == frozenset()
    assert pool.asked("free") == [0]


# -- leaving a group behind that works -------------------------------------------------------


def test_behind_a_cell_that_went_well_nothing_is_done(rescue, formed, pool):
    before = len(pool.channel.requests)
    result = result_of()
    assert rescue.settle(result, None, [0, 1, 2, 3]) is result
    assert result.note == ""
    assert len(pool.channel.requests) == before
    assert formed.generation == 1


def test_a_group_that_was_cut_is_made_again(rescue, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    freed = rescue.free([0])
    result = rescue.settle(result_of(), freed, [0, 1, 2, 3])
    assert result.note == AGAIN.format(2)
    assert {info.generation for info in infos(pool)} == {2}
    assert rescue.mend() == ""


def test_a_group_in_which_only_python_was_interrupted_is_kept(rescue, formed, calls):
    calls("stick()", 0)
    freed = rescue.free([0])
    result = rescue.settle(result_of(), freed, [0, 1, 2, 3])
    assert result.note == ""
    assert formed.generation == 1


def test_a_group_that_cannot_be_made_again_is_told(rescue, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    freed = rescue.free([0])
    pool[2].refuses = EngineError("no memory.")
    result = rescue.settle(result_of(), freed, [0, 1, 2, 3])
    assert result.note == "The group could not be made again: no memory."
    assert formed.world_size == 0
    pool[2].refuses = None
    formed.initialize()
    assert formed.run("rank").note == ""


def test_no_group_is_made_where_there_is_none(rescue, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    formed.destroy()
    assert rescue.mend() == ""
    assert formed.world_size == 0


def test_no_group_is_made_with_a_dead_rank(rescue, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    pool.kill(1)
    assert rescue.mend() == ""
    assert formed.generation == 1


# -- ranks that stand at different collectives -----------------------------------------------

FAILED = Failure("ValueError", "no")


@pytest.mark.parametrize(
    "code",
    [
        "called('all_reduce', 3 + (rank == 1))",
        "called('all_reduce', 3) if rank else None",
        "called('all_reduce', 3)\nif rank < 2: called('barrier', 1 + rank, '01', ranks=(0, 1))",
        "called('all_reduce', 3)\nif rank == 2: called('barrier', 1, '23', ranks=(2, 3))",
    ],
    ids=["further", "not-at-all", "of-a-subgroup", "of-a-subgroup-not-at-all"],
)
def test_after_a_failure_ranks_out_of_step_get_a_new_group(rescue, formed, calls, code):
    """The next collective would hang, or mix up the data of two."""
    calls(code)
    result = rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == AGAIN.format(2)
    assert formed.generation == 2
    assert rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3]).note == ""


def test_a_call_that_was_begun_and_never_ended_is_out_of_step(rescue, formed, pool):
    for number in pool.engines:
        pool[number].recent = [REDUCE]
    rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


def test_a_call_of_which_the_recorder_learns_the_end_a_moment_later_is_in_step(
    rescue, formed, pool, impatient, monkeypatch
):
    for number in pool.engines:
        pool[number].recent = [REDUCE]
    sleep = impatient.sleep

    def learn(seconds):
        sleep(seconds)
        if seconds:
            for number in pool.engines:
                pool[number].recent = [replace(REDUCE, done=True)]

    monkeypatch.setattr(impatient, "sleep", learn)
    begin = impatient.now
    rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert 0 < impatient.now - begin < 0.1
    assert formed.generation == 1


@pytest.mark.parametrize(
    "code",
    [
        "rank",
        "called('all_reduce', 3)",
        "called('all_reduce', 3)\nif rank < 2: called('barrier', 1, '01', ranks=(0, 1))",
    ],
)
def test_after_a_failure_ranks_in_step_keep_their_group(rescue, formed, calls, code):
    calls(code)
    result = rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == ""
    assert formed.generation == 1


@pytest.mark.parametrize("unknown", ["busy", "silent"])
def test_a_rank_of_which_it_is_not_known_where_it_stands_proves_nothing(
    rescue, formed, pool, calls, unknown
):
    """Its main thread does what the cell has left to be done later, say."""
    calls("called('all_reduce', 3)")
    if unknown == "busy":
        calls("stick()", 2)
    else:
        pool[2].answers = False
    assert rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3]).note == ""
    assert formed.generation == 1
    assert pool.asked("look").count(2) > 1


def test_ranks_that_are_known_to_be_out_of_step_get_a_new_group_whatever_another_does(
    rescue, formed, pool, calls
):
    calls("called('all_reduce', 3 + (rank == 1))")
    look = pool[2].look
    pool[2].look = lambda: look() | {"state": "running", "recent": []}
    rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


def test_a_rank_that_is_busy_for_a_moment_is_looked_at_again(
    rescue, formed, pool, calls, impatient, monkeypatch
):
    calls("called('all_reduce', 3 + (rank == 2))")
    look = pool[2].look
    pool[2].look = lambda: look() | {"state": "running", "recent": []}
    sleep = impatient.sleep

    def come_to_rest(seconds):
        sleep(seconds)
        if seconds:
            pool[2].look = look

    monkeypatch.setattr(impatient, "sleep", come_to_rest)
    rescue.settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


@pytest.mark.parametrize(
    ("result", "ran"), [(result_of(), [0, 1, 2, 3]), (result_of([1], r1=FAILED), [1])]
)
def test_it_is_not_looked_where_all_is_well_or_only_some_ranks_ran(
    rescue, formed, pool, calls, result, ran
):
    calls("called('all_reduce', 3 + rank)")
    rescue.settle(result, None, ran)
    assert pool.asked("look") == []
    assert formed.generation == 1


def test_one_rank_is_never_out_of_step(make):
    session = make(1)
    session.initialize("gloo")
    session.run("called('all_reduce', 3)\n1/0")
    assert session.pool.asked("look") == []
    assert session.generation == 1


# -- what checked collectives say ------------------------------------------------------------


def checked(seq, op, shape):
    """What torch raises on a rank where it compares collectives itself."""
    return Failure(
        "RuntimeError",
        "Detected mismatch between collectives on ranks. Rank 0 is running collective: "
        f"CollectiveFingerPrint(SequenceNumber={seq}, OpType={op}, TensorShape=[{shape}], "
        "TensorDtypes=Float, TensorDeviceTypes=TensorOptions(dtype=float (default))), but Rank 1 "
        "is running collective: CollectiveFingerPrint(SequenceNumber=9, OpType=BARRIER).",
        line="line 2: f(x)",
    )


def test_what_torch_says_of_a_mismatch_on_each_rank_is_one_verdict(rescue, formed):
    odd, other = checked(2, "ALLREDUCE", "5"), checked(2, "ALLREDUCE", "4")
    result = result_of(r0=other, r1=other, r2=odd, r3=other)
    rescue.settle(result, None, [0, 1, 2, 3])
    verdict = result.diagnosis
    assert (verdict.kind, verdict.ranks) == ("mismatch", (2,))
    assert verdict.summary.startswith("Rank 2 calls all_reduce #2 with 5 elements")
    assert verdict.per_rank[2].startswith("called all_reduce #2 of 5 float32")
    assert (verdict.stuck, verdict.proven) == ((), False)
    assert result.traceback_lines() == []
    with pytest.raises(HangError):
        result.raise_for_error()
    assert formed.generation == 1


def test_who_raised_something_else_beside_a_mismatch_is_still_shown(rescue):
    odd, other = checked(2, "ALLREDUCE", "5"), checked(2, "ALLREDUCE", "4")
    result = result_of(r0=other, r1=FAILED, r2=odd)
    rescue.settle(result, None, [0, 1, 2, 3])
    assert [plain(line) for line in result.traceback_lines()] == ["[1] ValueError: no"]


def test_calls_that_match_are_no_mismatch(rescue):
    same = checked(2, "ALLREDUCE", "4")
    result = rescue.settle(result_of(r0=same, r1=same), None, [0, 1, 2, 3])
    assert result.diagnosis is None
    assert not result[0].error.freed


# -- ranks that have died --------------------------------------------------------------------


def test_of_a_dead_rank_it_is_said_how_it_died_and_how_it_comes_back(rescue, pool):
    pool.kill(1, -11)
    gone = Failure("EngineError", "Engine 1 has ended.")
    result = rescue.settle(result_of(r1=gone), None, [0, 1, 2, 3])
    assert result.diagnosis.kind == "dead"
    assert result.diagnosis.ranks == (1,)
    assert (result[1].error.ename, result[1].error.evalue) == (
        "EngineError",
        "rank 1 was killed by SIGSEGV",
    )
    assert result.note == (
        "%dist_restart 1 (or restart_ranks([1])) brings it back; the other ranks keep their "
        "variables."
    )


def test_that_others_lost_their_connection_is_no_news(rescue, pool):
    """The verdict says so; their tracebacks are left out, those of other errors are not."""
    pool.kill(1)
    gone, other = Failure("EngineError", "Engine 1 has ended."), Failure("ValueError", "no")
    result = rescue.settle(result_of(r0=LOST, r1=gone, r3=other), None, [0, 1, 2, 3])
    assert [result[rank].error.freed for rank in (0, 1, 3)] == [True, True, False]
    shown = "\n".join(result.traceback_lines())
    assert "ValueError: no" in shown
    assert "Connection closed" not in shown
    assert "EngineError" not in shown
    with pytest.raises(HangError, match=r"Rank 1 was killed by SIGKILL.*restart_ranks\(\[1\]\)"):
        result.raise_for_error()


@pytest.mark.parametrize(
    "text",
    [
        "Connection closed by peer [::1]:5",
        "Connection reset by peer",
        "writev: Broken pipe",
        "connect: Connection refused",
    ],
)
def test_a_connection_is_lost_in_several_ways(rescue, pool, text):
    pool.kill(1)
    result = rescue.settle(
        result_of(r0=Failure("RuntimeError", f"{GLOO} {text}")), None, [0, 1, 2, 3]
    )
    assert result[0].error.freed


def test_several_dead_ranks_come_back_together(rescue, pool):
    pool.kill(1)
    pool.kill(3, 1)
    result = rescue.settle(result_of(), None, [0, 1, 2, 3])
    assert result.note.startswith("%dist_restart 1,3 (or restart_ranks([1, 3])) brings them back;")


def test_with_a_dead_rank_the_group_is_not_made_again(rescue, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    pool.kill(1)
    freed = rescue.free([0])
    rescue.settle(result_of(), freed, [0, 1, 2, 3])
    assert len(pool.requested("initialize")) == 1


def test_whom_a_dead_rank_kept_waiting_is_told_though_they_are_free_by_now(formed, watchful):
    result = formed.run("if rank == 1: die(-6)\nwait_in('all_reduce', seq=1)")
    assert result.diagnosis.summary.startswith(
        "Rank 1 was killed by SIGABRT while ranks 0,2-3 waited for it in all_reduce #1"
    )


def test_a_connection_that_is_lost_and_nobody_has_died_is_of_an_earlier_group(rescue):
    result = rescue.settle(result_of(r0=LOST), None, [0, 1, 2, 3])
    assert result.diagnosis is None
    assert result.note == (
        "What was made for an earlier process group (a DDP or FSDP module, a subgroup) must be "
        "made again. " + AGAIN.format(2)
    )


def test_who_does_not_let_go_beside_a_dead_rank_is_told(formed, pool):
    pool[2].ignores = FOR_GOOD
    with pytest.raises(StuckError, match=r"rank 2 is at line 2: if rank == 2: stick\(\)"):
        formed.run("if rank == 1: die()\nif rank == 2: stick()", timeout=0.02)


def test_who_interrupts_again_leaves_the_group_that_is_made_again(
    rescue, formed, pool, calls, monkeypatch
):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    asked, initialize = len(pool.asked("free")), formed._generations.initialize

    def interrupted():
        assert rescue.free([0, 1]) == Freed(was_busy=False, cut=False)
        initialize()

    monkeypatch.setattr(formed._generations, "initialize", interrupted)
    assert rescue.mend() == AGAIN.format(2)
    assert len(pool.asked("free")) == asked


def test_unless_making_it_takes_too_long(rescue, formed, pool, calls, monkeypatch):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    pool[3].answers = False
    thread = threading.Thread(target=rescue.mend)
    thread.start()
    wait_until(lambda: pool[0].stuck, SOON)
    monkeypatch.setattr("rankbook.sessions.rescue._MENDING", 0.0)
    assert rescue.free([0, 1, 2]).was_busy
    end_of(thread)


# -- while another group is about to be made -------------------------------------------------

FREE = "The ranks are free, their variables in place."


def test_for_whoever_makes_another_group_the_old_one_is_not_made_again(rescue, formed, pool, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    with rescue.successor():
        freed = rescue.free([0])
        result = rescue.settle(result_of(), freed, [0, 1, 2, 3])
        assert result.note == FREE
        assert formed.generation == 1
    assert len(pool.requested("initialize")) == 1


def test_if_nobody_makes_it_in_the_end_it_is_made_again_later(rescue, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    with rescue.successor():
        rescue.free([0])
        assert rescue.mend() == FREE
    assert rescue.mend() == AGAIN.format(2)
    assert rescue.mend() == ""


def test_several_may_be_about_to_make_it(rescue, formed, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    with rescue.successor():
        with rescue.successor():
            pass
        assert rescue.mend() == FREE
    assert rescue.mend() == AGAIN.format(2)


def test_who_fails_is_about_to_make_it_no_more(rescue, calls):
    calls("wait_in('all_reduce', seq=1)", 0)
    rescue.free([0])
    with pytest.raises(EngineError), rescue.successor():
        raise EngineError("no")
    assert rescue.mend() == AGAIN.format(2)


def test_a_group_that_works_needs_no_successor(rescue, formed):
    with rescue.successor():
        assert rescue.mend() == ""


# -- ranks that do not let go ----------------------------------------------------------------


def stuck_in(pool, calls, code, *engines):
    """Have engines do something that nothing ends; return what freeing them comes to."""
    for number in engines:
        pool[number].ignores = FOR_GOOD
    calls(code, *engines)


def test_who_stays_in_torch_is_replaced(rescue, formed, pool, calls):
    pool[0].names["x"] = "kept"
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1)
    freed = rescue.free([1])
    result = rescue.settle(result_of([0, 2, 3]), freed, [0, 1, 2, 3])
    assert result.note == (
        "Rank 1 did not let go and was replaced: its variables are lost, the others' are in "
        "place. The group is made again (generation 2)."
    )
    assert pool.engines == [0, 2, 3, 4]
    assert formed.pull("rank") == {rank: rank for rank in range(4)}
    assert formed.pull("x", "0") == {0: "kept"}
    assert rescue.mend() == ""
    assert formed.generation == 2


def test_several_that_stay_in_torch_are_replaced_together(rescue, formed, pool, calls):
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1, 3)
    result = rescue.settle(result_of([0, 2]), rescue.free([1, 3]), [0, 1, 2, 3])
    assert result.note.startswith("Ranks 1,3 did not let go and were replaced: their variables")
    assert pool.engines == [0, 2, 4, 5]
    assert formed.generation == 2


def test_who_stays_in_torch_on_an_engine_that_was_joined_is_told(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError, match=r"rank 1 is at line 1: wait_in\('recv'\)"):
        session.run("wait_in('recv')", timeout=0.02)
    assert session.pool.engines == [0, 1]


def test_who_stays_in_python_is_told_with_the_result_of_the_others(rescue, pool, calls):
    stuck_in(pool, calls, "stick()", 1)
    result = result_of([0, 2, 3], r2=Failure("ValueError", "no", ("ValueError: no",)))
    with pytest.raises(StuckError) as caught:
        rescue.settle(result, rescue.free([1]), [0, 1, 2, 3])
    assert str(caught.value) == (
        "The interrupt did not end the cell: rank 1 is at line 1: stick(). Interrupt again, or "
        "%dist_restart 1 (or restart_ranks([1])) replaces rank 1 and keeps the others."
    )
    assert caught.value.result is result
    assert "ValueError: no" in "\n".join(caught.value.traceback_lines)
    assert pool.engines == [0, 1, 2, 3]


def test_who_may_be_in_python_is_not_replaced(rescue, pool, calls):
    stuck_in(pool, calls, "wait_in('recv')", 0)
    stuck_in(pool, calls, "stick()", 1)
    pool[2].answers = False
    with pytest.raises(StuckError) as caught:
        rescue.settle(result_of([3]), rescue.free([0, 1, 2]), [0, 1, 2, 3])
    assert (
        "rank 0 is at line 1: wait_in('recv') (it lets go after the group's timeout, 1 min); "
        "rank 1 is at line 1: stick(); rank 2 does not answer. Interrupt again, or"
    ) in str(caught.value)
    assert "restart_ranks([0, 1, 2])) replaces ranks 0-2 and keeps the others." in str(caught.value)
    assert pool.engines == [0, 1, 2, 3]


def test_who_waits_for_data_that_comes_is_not_replaced(rescue, pool, calls):
    stuck_in(pool, calls, "wait_in('recv')", 0)
    pool[0].silent = 0.01
    with pytest.raises(StuckError) as caught:
        rescue.settle(result_of([1, 2, 3]), rescue.free([0]), [0, 1, 2, 3])
    assert (
        "rank 0 is at line 1: wait_in('recv') (data is on its way: it ends when that has come). "
    ) in str(caught.value)
    assert pool.engines == [0, 1, 2, 3]


def test_a_cell_whose_only_rank_was_replaced_did_not_go_well(formed, pool):
    pool[1].ignores = FOR_GOOD
    result = formed.run("wait_in('recv', peer=0)", "1", timeout=0.02)
    with pytest.raises(RankError, match="Rank 1 did not let go and was replaced"):
        result.raise_for_error()


def test_who_lets_go_at_the_last_moment_is_not_replaced(formed, pool, monkeypatch):
    pool[1].ignores = FOR_GOOD
    free = formed._rescue.free

    def free_at_last(engines):
        freed = free(engines)
        pool[1].ignores = 0
        pool[1].free(interrupt=False, cut=True)
        return freed

    monkeypatch.setattr(formed._rescue, "free", free_at_last)
    result = formed.run("wait_in('recv', peer=0)", "1", timeout=0.02)
    assert result[1].error.ename == "KeyboardInterrupt"
    assert pool.engines == [0, 1, 2, 3]


def test_a_rank_that_could_not_be_replaced_is_told(rescue, formed, pool, calls):
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1)
    freed = rescue.free([1])
    pool[0].refuses = EngineError("no memory.")
    result = rescue.settle(result_of([0, 2, 3]), freed, [0, 1, 2, 3])
    assert "no memory." in result.note


def test_a_rank_that_lets_go_later_has_its_group_made_again_then(formed, pool):
    pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError):
        formed.run("stick() if rank == 1 else wait_in('barrier', seq=1)", timeout=0.02)
    assert formed.generation == 1
    pool[1].ignores = 0
    assert formed.interrupt() is True
    assert formed.generation == 2
    assert formed.run("rank").ok


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
    with pytest.raises(RankError, match=r"KeyboardInterrupt on ranks 0-3.*made again"):
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
