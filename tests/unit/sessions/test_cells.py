"""Cells of a session: where they run, what they say, how they end."""

from __future__ import annotations

import signal

import pytest
from fakes import FOR_GOOD, Recorder
from processes import wait_until
from steps import SOON, end_of, infos, run_stuck

from rankbook.display.text import plain
from rankbook.errors import HangError, InputError, RankError, SessionError, StuckError
from rankbook.models.events import Result, Stream
from rankbook.models.requests import Run

# -- cells -----------------------------------------------------------------------------------


def test_a_cell_runs_on_every_rank(formed):
    result = formed.run("import sys\nprint('out', rank)\nprint('err', file=sys.stderr)\nrank * 10")
    assert result.ok
    assert [result[r].stdout for r in range(4)] == [f"out {r}\n" for r in range(4)]
    assert {result[r].stderr for r in range(4)} == {"err\n"}
    assert [result[r].result_repr for r in range(4)] == ["0", "10", "20", "30"]
    assert {result[r].seconds for r in range(4)} == {0.25}


@pytest.mark.parametrize(
    ("ranks", "chosen"),
    [("all", [0, 1, 2, 3]), ("0,2", [0, 2]), (1, [1]), ([3, 0], [0, 3]), ("-1", [3])],
)
def test_a_cell_runs_only_on_the_chosen_ranks(formed, pool, ranks, chosen):
    assert list(formed.run("ran = True", ranks)) == chosen
    assert [n for n in pool.engines if "ran" in pool[n].names] == chosen


def test_a_cell_is_addressed_by_rank_and_not_by_engine(make):
    """On several hosts rank 1 is engine 2."""
    session = make(4, hosts="ab")
    session.initialize("gloo")
    session.run("x = 'here'", "1")
    assert [n for n in session.pool.engines if "x" in session.pool[n].names] == [2]
    assert session.run("rank")[1].result_repr == "1"


def test_variables_are_kept_between_cells_and_generations(formed):
    formed.run("x = rank + 1")
    formed.reset()
    assert formed.run("x")[3].result_repr == "4"


def test_an_error_on_a_rank_is_in_the_result_and_not_raised(formed):
    result = formed.run("if rank == 2: raise ValueError('no')\nrank")
    assert not result.ok
    assert result[0].ok
    assert (result[2].error.ename, result[2].error.evalue) == ("ValueError", "no")
    assert result[2].error.traceback == ("ValueError: no",)
    assert result[2].result_repr is None
    with pytest.raises(RankError, match="ValueError on rank 2: no"):
        result.raise_for_error()


def test_output_is_passed_on_as_it_arrives_and_finished_once(formed):
    output = Recorder()
    formed.run("print('hello')\nrank", "0,1", output=output)
    assert [(r, b) for r, b in output.events if isinstance(b, Stream) and b.text.strip()] == [
        (0, Stream("stdout", "hello")),
        (1, Stream("stdout", "hello")),
    ]
    assert [rank for rank, body in output.events if isinstance(body, Result)] == [0, 1]
    assert output.finished == 1


def test_a_rank_may_speak_until_what_it_printed_is_read(formed):
    """Its last line is not shown in two halves because its answer is there before the second."""
    call = formed.members.ranks().request(Run("print('hello')", 1))
    wait_until(lambda: not call.pending, SOON)
    assert call.speaking == {0, 1, 2, 3}
    assert call.wait(SOON)
    assert call.speaking == set()


@pytest.mark.parametrize(
    ("ranks", "error", "said"),
    [
        ("4", InputError, "There is no rank 4"),
        ("nobody", InputError, "is not a selection"),
        ([], InputError, "No ranks given"),
    ],
)
def test_a_cell_refuses_a_bad_selection_of_ranks(formed, pool, ranks, error, said):
    with pytest.raises(error, match=said):
        formed.run("rank", ranks)
    assert pool.asked("run") == []


def test_a_cell_needs_a_group(session):
    with pytest.raises(SessionError, match="There is no process group: make one with %dist_init"):
        session.run("rank")


def test_a_spare_engine_runs_no_cells(formed, pool):
    formed.initialize(nproc=2)
    assert list(formed.run("rank")) == [0, 1]
    with pytest.raises(InputError, match="There is no rank 2"):
        formed.run("rank", "2")


def test_a_timeout_interrupts_the_cell(formed):
    result = formed.run("print('before')\nif rank == 1: stick()", timeout=0.02)
    assert result[0].ok
    assert result[1].error.ename == "KeyboardInterrupt"
    assert result[1].stdout == "before\n"


def test_only_ranks_that_still_run_are_interrupted(formed, pool):
    formed.run("if rank == 1: stick()", timeout=0.02)
    assert pool.asked("free") == [1]
    assert pool[1].freed == ["interrupt"]


def test_ctrl_c_interrupts_the_cell(formed):
    class Impatient(Recorder):
        def pause(self, running):
            if not self.running:
                super().pause(running)
                raise KeyboardInterrupt
            return super().pause(running)

    output = Impatient()
    result = formed.run("stick()", "0,3", output=output)
    assert {result[r].error.ename for r in (0, 3)} == {"KeyboardInterrupt"}
    assert output.running[0] == {0, 3}
    assert output.finished == 1


def test_the_error_about_a_stuck_cell_says_at_which_line_it_is(formed, pool):
    pool[1].ignores = FOR_GOOD
    output = Recorder()
    with pytest.raises(StuckError) as caught:
        formed.run("if rank:\n    stick()", timeout=0.02, output=output)
    assert str(caught.value) == (
        "The interrupt did not end the cell: "
        "rank 1 is at cell 1 line 2: stick(). Interrupt again, or "
        "%dist_restart 1 (or restart_ranks([1])) replaces rank 1 and keeps the others."
    )
    assert output.finished == 1
    assert formed.doing == ""


def test_the_error_about_a_stuck_cell_has_the_result_of_the_other_ranks(formed, pool):
    pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError) as caught:
        formed.run("if rank == 3: raise ValueError('no')\nif rank: stick()\nrank", timeout=0.02)
    result = caught.value.result
    assert list(result) == [0, 2, 3]
    assert result[0].result_repr == "0"
    assert result[2].error.ename == "KeyboardInterrupt"
    assert "ValueError: no" in "".join(caught.value._render_traceback_())


def test_the_message_about_a_stuck_cell_is_one_line_for_several_ranks(formed, pool):
    for number in (0, 2):
        pool[number].ignores = FOR_GOOD
    with pytest.raises(StuckError) as caught:
        formed.run("stick()", timeout=0.02)
    assert "ranks 0,2 are at cell 1 line 1: stick()." in str(caught.value)
    assert "restart_ranks([0, 2])) replaces ranks 0,2 and keeps" in str(caught.value)


def test_a_rank_that_lets_go_at_the_second_interrupt_is_not_stuck(formed, pool):
    pool[1].ignores = 1
    result = formed.run("if rank == 1: stick()", timeout=0.02)
    assert result[1].error.ename == "KeyboardInterrupt"
    assert pool[1].freed.count("interrupt") == 2


def test_interrupt_from_another_thread_ends_the_cell(formed):
    thread, ended = run_stuck(formed)
    assert formed.interrupt() is True
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"KeyboardInterrupt"}


def test_interrupt_returns_false_when_every_rank_is_idle(formed):
    assert formed.interrupt() is False


def test_interrupting_without_a_group_is_refused(session):
    with pytest.raises(SessionError, match="There is no process group"):
        session.interrupt()


# -- cells that cannot end -------------------------------------------------------------------

ONE_IS_MISSING = "x = rank\nif rank < 3:\n    wait_in('all_reduce', seq=1)\nx"
NEVER_CALLED = "Rank 3 never called all_reduce #1, in which ranks 0-2 wait"


@pytest.fixture
def hung(formed, pool):
    """Runs a cell that cannot end, in the background, until it has been looked at."""

    def run(ranks="0-2", code="wait_in('all_reduce', seq=1)", **options):
        thread, ended = run_stuck(formed, ranks, code, **options)
        wait_until(lambda: len(pool.requested("look")) > 3, SOON)
        return thread, ended

    return run


def test_a_short_cell_is_not_looked_at(formed, pool):
    formed.run("rank")
    assert pool.asked("look") == []


def test_a_hang_is_freed_and_its_error_is_the_verdict(formed, pool, watchful):
    result = formed.run(ONE_IS_MISSING)
    verdict = result.diagnosis
    assert (verdict.kind, verdict.ranks, verdict.stuck) == ("missing_rank", (3,), (0, 1, 2))
    assert verdict.proven
    assert result[3].result_repr == "3"
    assert {result[rank].error.ename for rank in range(3)} == {"KeyboardInterrupt"}
    assert all(result[rank].error.freed for rank in range(3))
    with pytest.raises(HangError) as caught:
        result.raise_for_error()
    assert str(caught.value).startswith(NEVER_CALLED)
    assert str(caught.value).endswith(
        "The ranks are free, their variables in place, and the process group was re-created "
        "(generation 2)."
    )
    assert caught.value.diagnosis is verdict
    assert caught.value.ranks == (0, 1, 2)
    assert caught.value.traceback_lines == []


def test_variables_survive_a_freed_hang_and_the_next_cell_runs(formed, pool, watchful):
    formed.run(ONE_IS_MISSING)
    assert formed.doing == ""
    assert formed.generation == 2
    assert [info.generation for info in infos(pool)] == [2] * 4
    assert formed.pull("x") == {rank: rank for rank in range(4)}
    result = formed.run("rank")
    assert result.ok
    assert result.note == ""
    assert result.diagnosis is None


def test_the_error_that_left_other_ranks_waiting_is_shown_first(formed, watchful):
    result = formed.run("if rank == 2: raise ValueError('no')\nwait_in('barrier', seq=1)")
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("raised", (2,))
    assert plain("\n".join(result.traceback_lines())) == "[2] ValueError: no"
    with pytest.raises(HangError, match="Rank 2 raised ValueError: no"):
        result.raise_for_error()


def test_the_first_verdict_of_a_hang_is_kept_when_ranks_are_freed_again(formed, pool, watchful):
    """What is seen after ranks were freed says less than what led to it."""

    class Impatient(Recorder):
        def pause(self, running):
            super().pause(running)
            if pool[0].freed and not pool[1].freed:
                raise KeyboardInterrupt
            return 0.01

    code = "wait_in('recv', peer=3) if rank == 0 else stick()"
    result = formed.run(code, "0-2", output=Impatient())
    assert pool[1].freed[-1] == "interrupt"
    assert {result[rank].error.ename for rank in range(3)} == {"KeyboardInterrupt"}
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (3,))


def test_freeing_a_hang_leaves_a_rank_alone_that_no_other_waits_for(formed, pool, watchful):
    thread, ended = run_stuck(
        formed, "0-2", "stick() if rank == 2 else wait_in('all_reduce', seq=1, ranks=(0, 1, 3))"
    )
    wait_until(lambda: pool[0].stuck is pool[1].stuck is None, SOON)
    assert pool[2].freed == []
    assert thread.is_alive()
    assert formed.interrupt() is True
    end_of(thread)
    result = ended["result"]
    assert result.diagnosis.stuck == (0, 1)
    assert result[2].error.ename == "KeyboardInterrupt"
    assert formed.generation == 2


def test_a_rank_that_dies_ends_the_wait_of_the_others(formed, pool, watchful):
    thread, ended = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    pool.kill(2)
    end_of(thread)
    result = ended["result"]
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("dead", (2,))
    assert {result[rank].error.ename for rank in (0, 1, 3)} == {"KeyboardInterrupt"}


@pytest.mark.parametrize(
    "code",
    [
        "wait_in('all_reduce', seq=1)",
        "stick() if rank == 3 else wait_in('all_reduce', seq=1)",
    ],
    ids=["none-is-missing", "one-still-runs"],
)
def test_a_cell_that_may_still_end_is_waited_for(formed, pool, hung, watchful, code):
    thread, ended = hung("all", code)
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)
    assert ended["result"].diagnosis is None


@pytest.mark.parametrize("of_the_session", [True, False])
def test_a_hang_is_left_waiting_with_on_hang_wait(formed, pool, hung, watchful, of_the_session):
    if of_the_session:
        formed.on_hang = "wait"
    output = Recorder()
    thread, ended = hung(output=output, on_hang=None if of_the_session else "wait")
    assert thread.is_alive()
    assert pool.asked("free") == []
    assert formed.diagnose().summary.startswith(NEVER_CALLED)
    formed.interrupt()
    end_of(thread)
    assert {result.error.ename for result in ended["result"].values()} == {"KeyboardInterrupt"}
    assert output.notes == []


def test_a_hang_is_reported_once_and_left_waiting_with_on_hang_report(formed, pool, hung, watchful):
    output = Recorder()
    thread, _ = hung(output=output, on_hang="report")
    wait_until(lambda: output.notes, SOON)
    before = len(pool.requested("look"))
    wait_until(lambda: len(pool.requested("look")) > before + 3, SOON)
    [note] = output.notes
    assert note.startswith(NEVER_CALLED)
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)


def test_on_hang_of_a_cell_overrides_that_of_the_session(formed, watchful):
    formed.on_hang = "wait"
    assert formed.run(ONE_IS_MISSING, on_hang="free").diagnosis.proven


def test_an_unknown_on_hang_is_refused(formed, pool):
    with pytest.raises(InputError) as caught:
        formed.run("rank", on_hang="pray")
    assert str(caught.value) == "on_hang='pray' is not one of free, report, wait."
    assert pool.asked("run") == []


def test_diagnose_answers_when_idle_and_during_a_hang(formed):
    assert formed.diagnose().kind == "idle"
    thread, _ = run_stuck(formed, "0,1", "wait_in('all_reduce', seq=1)")
    verdict = formed.diagnose()
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (2, 3))
    formed.interrupt()
    end_of(thread)


def test_diagnose_tells_the_line_that_a_rank_runs(formed):
    thread, _ = run_stuck(formed, "1", "stick()")
    assert formed.diagnose().per_rank[1] == "runs cell 1 line 1: stick()"
    formed.interrupt()
    end_of(thread)


# -- ctrl-c ----------------------------------------------------------------------------------


def test_ctrl_c_does_not_stop_the_freeing_of_ranks(formed, pool, monkeypatch, repair):
    """A user presses it repeatedly to have the ranks freed."""
    free = repair.free
    pressed = []

    def interrupted(engines):
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
            pressed.append(engines)
        return free(engines)

    monkeypatch.setattr(repair, "free", interrupted)
    result = formed.run("stick()", timeout=0.02)
    assert {result[rank].error.ename for rank in range(4)} == {"KeyboardInterrupt"}
    assert len(pressed) == 3
    assert formed.doing == ""


def test_ctrl_c_ends_a_cell_in_a_collective_and_the_group_is_re_created(formed):
    class Impatient(Recorder):
        def pause(self, running):
            super().pause(running)
            if len(self.running) == 1:
                raise KeyboardInterrupt
            return 0.01

    result = formed.run("wait_in('all_reduce', seq=1)", output=Impatient())
    assert {result[rank].error.ename for rank in range(4)} == {"KeyboardInterrupt"}
    assert result.diagnosis is None
    assert formed.generation == 2
    with pytest.raises(RankError, match=r"Interrupted after .* s: ranks 0-3 .*re-created"):
        result.raise_for_error()
