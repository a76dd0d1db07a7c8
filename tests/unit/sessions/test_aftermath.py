"""What is done after a cell has ended, on engines that live in this process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import FOR_GOOD
from steps import infos, result_of

from rankbook.display.text import plain
from rankbook.errors import EngineError, HangError, RankError, SessionError, StuckError
from rankbook.models import Collective, Failure, to_dict
from rankbook.models.calls import Call, Making, Slot
from rankbook.sessions.cells.results import CellResult, RankResult
from rankbook.sessions.group.repair import Event

REDUCE = Collective("all_reduce", "0", seq=3)
GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538]"
LOST = Failure("RuntimeError", f"{GLOO} Connection closed by peer [127.0.0.1]:31250")
AGAIN = (
    "The ranks are free, their variables in place, and the process group was re-created "
    "(generation {})."
)


# -- leaving a group that works --------------------------------------------------------------


def test_a_cell_that_succeeded_needs_no_settling(settle, formed, pool):
    before = len(pool.wire.requests)
    result = result_of()
    assert settle(result, None, [0, 1, 2, 3]) is result
    assert result.note == ""
    assert len(pool.wire.requests) == before
    assert formed.generation == 1


def test_a_cut_group_is_re_created_after_the_cell(settle, formed, pool, calls, repair):
    calls("wait_in('all_reduce', seq=1)", 0)
    freed = repair.free([0])
    result = settle(result_of(), freed, [0, 1, 2, 3])
    assert result.note == AGAIN.format(2)
    assert {info.generation for info in infos(pool)} == {2}
    assert repair.after(Event.CELL_ENDS) == ""


def test_a_group_is_kept_when_only_python_was_interrupted(settle, formed, calls, repair):
    calls("stick()", 0)
    freed = repair.free([0])
    result = settle(result_of(), freed, [0, 1, 2, 3])
    assert result.note == ""
    assert formed.generation == 1


def test_the_note_says_why_the_group_could_not_be_re_created(settle, formed, pool, calls, repair):
    calls("wait_in('all_reduce', seq=1)", 0)
    freed = repair.free([0])
    pool[2].refuses = EngineError("no memory.")
    result = settle(result_of(), freed, [0, 1, 2, 3])
    said = "The process group could not be re-created, and the next cell tries again: no memory."
    assert result.note == said
    assert formed.world_size == 0
    with pytest.raises(SessionError, match=said):
        formed.run("rank")
    pool[2].refuses = None
    result = formed.run("rank")
    assert (result.ok, result.note) == (True, AGAIN.format(4))
    assert formed.run("rank").note == ""


def test_a_group_that_is_destroyed_on_request_is_not_made_by_the_next_cell(
    settle, formed, pool, calls, repair
):
    calls("wait_in('all_reduce', seq=1)", 0)
    freed = repair.free([0])
    pool[2].refuses = EngineError("no memory.")
    settle(result_of(), freed, [0, 1, 2, 3])
    pool[2].refuses = None
    formed.destroy()
    with pytest.raises(SessionError, match="There is no process group"):
        formed.run("rank")
    pool[2].refuses = EngineError("no memory.")
    with pytest.raises(EngineError, match="no memory"):
        formed.initialize()
    pool[2].refuses = None
    with pytest.raises(SessionError, match="There is no process group"):
        formed.run("rank")


@pytest.mark.parametrize("errors", [{}, {"r0": Failure("ValueError", "no")}])
def test_a_group_in_which_a_call_has_failed_is_made_again_though_that_was_caught(
    settle, formed, errors
):
    result = settle(replace(result_of(**errors), lost=(0, 2)), None, [0, 1, 2, 3])
    failed = "A call failed on ranks 0,2, and its group's connections ended with that."
    assert result.note == f"{failed} {AGAIN.format(2)}"
    assert formed.generation == 2


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
def test_ranks_out_of_step_get_a_new_group_after_a_failed_cell(settle, formed, calls, code):
    """The next collective would hang, or mix up the data of two."""
    calls(code)
    result = settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == AGAIN.format(2)
    assert formed.generation == 2
    assert settle(result_of(r1=FAILED), None, [0, 1, 2, 3]).note == ""


def test_ranks_that_failed_amid_a_step_get_a_new_group(settle, formed, pool):
    pool[1].amid = ["DDP modules"]
    pool[2].amid = ["FSDP modules", "DDP modules"]
    result = settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == f"A step of DDP modules and FSDP modules was cut. {AGAIN.format(2)}"


def test_ranks_that_do_not_find_out_whether_a_step_was_cut_get_a_new_group(
    settle, formed, pool, monkeypatch
):
    """As after a second interrupt, which has ended the search for such a step, too."""

    def search(**_):
        raise EngineError("interrupted")

    for number in (1, 2):
        monkeypatch.setattr(pool[number], "unfinished", search)
    result = settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == f"Ranks 1-2 did not find out whether a step was cut. {AGAIN.format(2)}"
    assert formed.generation == 2


def test_ranks_whose_optimizers_took_different_steps_get_a_new_group(settle, formed, pool):
    pool[3].steps = 0
    assert settle(result_of(r3=FAILED), None, [0, 1, 2, 3]).note == AGAIN.format(2)


@pytest.mark.parametrize(("was_interrupted", "generation"), [(False, 1), (True, 2)])
def test_half_a_step_on_all_ranks_matters_where_the_cell_was_interrupted(
    settle, formed, pool, was_interrupted, generation
):
    for number in pool.engines:
        pool[number].steps = 0.5
    settle(replace(result_of(r1=FAILED), was_interrupted=was_interrupted), None, [0, 1, 2, 3])
    assert formed.generation == generation


@pytest.mark.parametrize(("was_interrupted", "generation"), [(False, 1), (True, 2)])
def test_a_forward_counts_as_a_step_where_the_cell_was_interrupted(
    settle, formed, pool, was_interrupted, generation
):
    pool[0].amid = ["gathered"]
    settle(replace(result_of(), was_interrupted=was_interrupted), None, [0, 1, 2, 3])
    assert formed.generation == generation
    settle(replace(result_of(r1=FAILED), was_interrupted=was_interrupted), None, [0, 1, 2, 3])
    assert formed.generation == 2 * generation - 1


def test_an_unfinished_collective_counts_as_out_of_step(settle, formed, pool):
    for number in pool.engines:
        pool[number].recent = [REDUCE]
    settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


def test_a_collective_whose_end_is_recorded_late_counts_as_in_step(
    settle, formed, pool, monkeypatch, clock
):
    for number in pool.engines:
        pool[number].recent = [REDUCE]
    sleep = clock.sleep

    def learn(seconds):
        sleep(seconds)
        if seconds:
            for number in pool.engines:
                pool[number].recent = [replace(REDUCE, done=True)]

    monkeypatch.setattr(clock, "sleep", learn)
    begin = clock.now
    settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert 0 < clock.now - begin < 0.1
    assert formed.generation == 1


@pytest.mark.parametrize(
    "code",
    [
        "rank",
        "called('all_reduce', 3)",
        "called('all_reduce', 3)\nif rank < 2: called('barrier', 1, '01', ranks=(0, 1))",
    ],
)
def test_ranks_in_step_keep_their_group_after_a_failed_cell(settle, formed, calls, code):
    calls(code)
    result = settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == ""
    assert formed.generation == 1


@pytest.mark.parametrize("unknown", ["busy", "silent"])
def test_a_busy_or_silent_rank_does_not_count_as_out_of_step(settle, formed, pool, calls, unknown):
    """Its main thread may be busy with work that the cell deferred."""
    calls("called('all_reduce', 3)")
    if unknown == "busy":
        calls("stick()", 2)
    else:
        pool[2].answers = False
    assert settle(result_of(r1=FAILED), None, [0, 1, 2, 3]).note == ""
    assert formed.generation == 1
    assert pool.asked("look").count(2) > 1


def test_ranks_out_of_step_get_a_new_group_beside_a_busy_rank(settle, formed, pool, calls):
    calls("called('all_reduce', 3 + (rank == 1))")
    look = pool[2].look
    pool[2].look = lambda **asked: look(**asked) | {"state": "running", "recent": []}
    settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


def test_a_rank_that_is_busy_for_a_moment_is_looked_at_again_for_being_in_step(
    settle, formed, pool, calls, monkeypatch, clock
):
    calls("called('all_reduce', 3 + (rank == 2))")
    look = pool[2].look
    pool[2].look = lambda **asked: look(**asked) | {"state": "running", "recent": []}
    sleep = clock.sleep

    def come_to_rest(seconds):
        sleep(seconds)
        if seconds:
            pool[2].look = look

    monkeypatch.setattr(clock, "sleep", come_to_rest)
    settle(result_of(r1=FAILED), None, [0, 1, 2, 3])
    assert formed.generation == 2


@pytest.mark.parametrize(
    ("result", "ran"), [(result_of(), [0, 1, 2, 3]), (result_of([1], r1=FAILED), [1])]
)
def test_ranks_are_not_compared_after_success_or_a_cell_on_some_ranks(
    settle, formed, pool, calls, result, ran
):
    calls("called('all_reduce', 3 + rank)")
    settle(result, None, ran)
    assert pool.asked("look") == []
    assert formed.generation == 1


def test_a_group_of_one_rank_is_never_out_of_step(make):
    session = make(1)
    session.initialize("gloo")
    session.run("called('all_reduce', 3)\n1/0")
    assert session.pool.asked("look") == []
    assert session.generation == 1


# -- what checked collectives say ------------------------------------------------------------


SLOT = Slot("0", (0, 1, 2, 3), 1, 2)
REFUSED = Failure("MismatchError", "all_reduce #2 …", line="line 2: f(x)", slot=SLOT)


def called(pool, counts):
    """Have each engine say that it has called an all_reduce of so many elements."""
    for engine, count in zip(pool.all.values(), counts, strict=True):
        engine.calls[SLOT] = Call(
            9,
            "all_reduce",
            group="0",
            ranks=SLOT.ranks,
            number=2,
            shapes=((count,),),
            dtypes=("float32",),
        )


def test_the_mismatch_errors_of_all_ranks_become_one_verdict(settle, formed, pool):
    called(pool, [4, 4, 5, 4])
    result = result_of(r0=REFUSED, r1=REFUSED, r2=REFUSED, r3=REFUSED)
    settle(result, None, [0, 1, 2, 3])
    verdict = result.diagnosis
    assert (verdict.kind, verdict.ranks) == ("mismatch", (2,))
    assert verdict.summary.startswith("Rank 2 called all_reduce #2 with 5 elements")
    assert verdict.per_rank[2].startswith("called all_reduce #2 of 5 float32")
    assert (verdict.stuck, verdict.proven) == ((), False)
    assert result.traceback_lines() == []
    with pytest.raises(HangError):
        result.raise_for_error()
    assert formed.generation == 1


def test_another_error_beside_a_mismatch_keeps_its_traceback(settle, pool):
    called(pool, [4, 4, 5, 4])
    result = result_of(r0=REFUSED, r1=FAILED, r2=REFUSED)
    settle(result, None, [0, 1, 2, 3])
    assert [plain(line) for line in result.traceback_lines()] == ["[1] ValueError: no"]


def test_calls_that_agree_after_all_give_no_verdict(settle, pool):
    called(pool, [4, 4, 4, 4])
    result = settle(result_of(r0=REFUSED, r1=REFUSED), None, [0, 1, 2, 3])
    assert result.diagnosis is None
    assert not result[0].error.freed


# -- ranks that have died --------------------------------------------------------------------


def test_the_result_says_how_a_rank_died_and_how_to_replace_it(settle, pool):
    pool.kill(1, -11)
    gone = Failure("EngineError", "Engine 1 has ended.")
    result = settle(result_of(r1=gone), None, [0, 1, 2, 3])
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


def test_ranks_that_did_not_run_the_cell_keep_their_variables_too(settle, pool):
    pool.kill(1)
    gone = Failure("EngineError", "Engine 1 has ended.")
    result = settle(CellResult({1: RankResult(1, error=gone)}), None, [1])
    assert result.note.endswith("brings it back; the other ranks keep their variables.")


def test_connections_lost_to_a_dead_rank_show_no_traceback(settle, pool):
    """The verdict says so; their tracebacks are left out, those of other errors are not."""
    pool.kill(1)
    gone, other = Failure("EngineError", "Engine 1 has ended."), Failure("ValueError", "no")
    before = len(pool.asked("forget_error"))
    result = settle(result_of(r0=LOST, r1=gone, r3=other), None, [0, 1, 2, 3])
    assert [result[rank].error.freed for rank in (0, 1, 3)] == [True, True, False]
    assert pool.asked("forget_error")[before:] == [0]
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
def test_every_message_of_gloo_about_a_lost_connection_is_recognised(settle, pool, text):
    pool.kill(1)
    result = settle(result_of(r0=Failure("RuntimeError", f"{GLOO} {text}")), None, [0, 1, 2, 3])
    assert result[0].error.freed


def test_the_note_names_all_dead_ranks_in_one_command(settle, pool):
    pool.kill(1)
    pool.kill(3, 1)
    result = settle(result_of(), None, [0, 1, 2, 3])
    assert result.note.startswith("%dist_restart 1,3 (or restart_ranks([1, 3])) brings them back;")


def test_the_group_of_a_dead_rank_is_not_re_created(settle, formed, pool, calls, repair):
    calls("wait_in('all_reduce', seq=1)", 0)
    pool.kill(1)
    freed = repair.free([0])
    settle(result_of(), freed, [0, 1, 2, 3])
    assert len(pool.requested("initialize")) == 1


def test_the_verdict_names_the_freed_ranks_that_waited_for_a_dead_rank(formed, watchful):
    result = formed.run("if rank == 1: die(-6)\nwait_in('all_reduce', seq=1)")
    assert result.diagnosis.summary.startswith(
        "Rank 1 was killed by SIGABRT while ranks 0,2-3 waited for it in all_reduce #1"
    )


def test_a_lost_connection_without_a_dead_rank_is_explained_by_an_earlier_group(settle):
    result = settle(result_of(r0=LOST), None, [0, 1, 2, 3])
    assert result.diagnosis is None
    assert result.note == (
        "A handle of an earlier process group (irecv, async_op=True) cannot be waited for: call "
        "again what it was for. A group that some ranks have ended must be made again. "
        + AGAIN.format(2)
    )


def test_a_lost_connection_that_follows_from_another_failure_is_not_explained_by_handles(settle):
    result = settle(result_of(r0=LOST, r1=FAILED), None, [0, 1, 2, 3])
    assert result.note == AGAIN.format(2)


def test_who_has_destroyed_the_group_is_named_where_others_lost_their_connections(
    settle, formed, pool, calls
):
    calls("called('all_reduce', 3 + (rank == 0))")
    look = pool[2].look
    made = to_dict(Making("0", (0, 1, 2, 3), done=True, destroyed="cell 1 line 2: end()"))
    pool[2].look = lambda **asked: look(**asked) | {"groups": [made]}
    result = settle(result_of(r0=LOST), None, [0, 1, 2, 3])
    assert result.diagnosis.summary.startswith(
        "Rank 2 destroyed the process group (cell 1 line 2: end()), and rank 0 waited for it in "
        "all_reduce #4"
    )
    assert result.diagnosis.proven
    assert "likely" not in result.diagnosis.hint
    assert result.ranks[0].error.freed
    assert result.note == AGAIN.format(2)


def test_a_stuck_rank_is_named_beside_a_dead_rank(formed, pool):
    pool[2].ignores = FOR_GOOD
    with pytest.raises(StuckError, match=r"rank 2 is at cell 1 line 2: if rank == 2: stick\(\)"):
        formed.run("if rank == 1: die()\nif rank == 2: stick()", timeout=0.02)


# -- ranks that do not let go ----------------------------------------------------------------


def stuck_in(pool, calls, code, *engines):
    """Have engines do something that nothing ends; return what freeing them comes to."""
    for number in engines:
        pool[number].ignores = FOR_GOOD
    calls(code, *engines)


def test_a_rank_stuck_in_a_collective_is_replaced(settle, formed, pool, calls, repair):
    pool[0].names["x"] = "kept"
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1)
    freed = repair.free([1])
    result = settle(result_of([0, 2, 3]), freed, [0, 1, 2, 3])
    assert result.note == (
        "Rank 1 did not let go and was replaced: its variables are lost, the others' are in "
        "place. The process group was re-created (generation 2)."
    )
    assert pool.engines == [0, 2, 3, 4]
    assert formed.pull("rank") == {rank: rank for rank in range(4)}
    assert formed.pull("x", "0") == {0: "kept"}
    assert repair.after(Event.CELL_ENDS) == ""
    assert formed.generation == 2


def test_several_ranks_stuck_in_a_collective_are_replaced_together(
    settle, formed, pool, calls, repair
):
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1, 3)
    result = settle(result_of([0, 2]), repair.free([1, 3]), [0, 1, 2, 3])
    assert result.note.startswith("Ranks 1,3 did not let go and were replaced: their variables")
    assert pool.engines == [0, 2, 4, 5]
    assert formed.generation == 2


def test_a_stuck_rank_on_a_joined_engine_is_named_and_not_replaced(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError, match=r"rank 1 is at cell 1 line 1: wait_in\('recv'\)"):
        session.run("wait_in('recv')", timeout=0.02)
    assert session.pool.engines == [0, 1]


def test_a_rank_stuck_in_python_is_named_with_the_results_of_the_others(
    settle, pool, calls, repair
):
    stuck_in(pool, calls, "stick()", 1)
    result = result_of([0, 2, 3], r2=Failure("ValueError", "no", ("ValueError: no",)))
    with pytest.raises(StuckError) as caught:
        settle(result, repair.free([1]), [0, 1, 2, 3])
    assert str(caught.value) == (
        "The interrupt did not end the cell: "
        "rank 1 is at a cell line 1: stick(). Interrupt again, or "
        "%dist_restart 1 (or restart_ranks([1])) replaces rank 1 and keeps the others."
    )
    assert caught.value.result is result
    assert "ValueError: no" in "\n".join(caught.value.traceback_lines)
    assert pool.engines == [0, 1, 2, 3]


def test_no_stuck_rank_is_replaced_while_one_may_be_in_python(settle, pool, calls, repair):
    stuck_in(pool, calls, "wait_in('recv')", 0)
    stuck_in(pool, calls, "stick()", 1)
    pool[2].answers = False
    with pytest.raises(StuckError) as caught:
        settle(result_of([3]), repair.free([0, 1, 2]), [0, 1, 2, 3])
    assert (
        "rank 0 is at a cell line 1: wait_in('recv'); "
        "rank 1 is at a cell line 1: stick(); rank 2 does not answer. Interrupt again, or"
    ) in str(caught.value)
    assert "restart_ranks([0, 1, 2])) replaces ranks 0-2 and keeps the others." in str(caught.value)
    assert pool.engines == [0, 1, 2, 3]


def test_a_rank_that_still_receives_data_is_not_replaced(settle, pool, calls, repair):
    stuck_in(pool, calls, "wait_in('recv')", 0)
    pool[0].silent = 0.01
    with pytest.raises(StuckError) as caught:
        settle(result_of([1, 2, 3]), repair.free([0]), [0, 1, 2, 3])
    assert (
        "rank 0 is at a cell line 1: wait_in('recv') "
        "(data is on its way: it ends when that has come). "
    ) in str(caught.value)
    assert pool.engines == [0, 1, 2, 3]


def test_a_cell_whose_only_rank_was_replaced_raises_an_error(formed, pool):
    pool[1].ignores = FOR_GOOD
    result = formed.run("wait_in('recv', peer=0)", "1", timeout=0.02)
    with pytest.raises(RankError, match="Rank 1 did not let go and was replaced"):
        result.raise_for_error()


def test_a_rank_that_lets_go_at_the_last_moment_is_not_replaced(formed, pool, monkeypatch, repair):
    pool[1].ignores = FOR_GOOD
    free = repair.free

    def free_at_last(engines):
        freed = free(engines)
        pool[1].ignores = 0
        pool[1].free(interrupt=False, cut=True)
        return freed

    monkeypatch.setattr(repair, "free", free_at_last)
    result = formed.run("wait_in('recv', peer=0)", "1", timeout=0.02)
    assert result[1].error.ename == "KeyboardInterrupt"
    assert pool.engines == [0, 1, 2, 3]


def test_the_note_says_why_a_stuck_rank_could_not_be_replaced(settle, formed, pool, calls, repair):
    stuck_in(pool, calls, "wait_in('all_reduce', seq=1)", 1)
    freed = repair.free([1])
    pool[0].refuses = EngineError("no memory.")
    result = settle(result_of([0, 2, 3]), freed, [0, 1, 2, 3])
    assert "no memory." in result.note


def test_a_later_interrupt_re_creates_the_group_of_a_stuck_rank(formed, pool):
    pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError):
        formed.run("stick() if rank == 1 else wait_in('barrier', seq=1)", timeout=0.02)
    assert formed.generation == 1
    pool[1].ignores = 0
    assert formed.interrupt() is True
    assert formed.generation == 2
    assert formed.run("rank").ok
