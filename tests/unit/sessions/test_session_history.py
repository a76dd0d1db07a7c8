"""The history of a session: its turns, its cells, and the last verdict."""

from __future__ import annotations

import time

import pytest
from fakes import FOR_GOOD
from processes import wait_until
from steps import SOON, end_of, run_stuck

from rankbook.errors import SessionError, StuckError

RENEWS = [
    lambda s: s.initialize("gloo", interrupt=True),
    lambda s: s.reset(interrupt=True),
    lambda s: s.restart_ranks([3], interrupt=True),
]
NAMES = ["initialize", "reset", "restart_ranks"]


def test_every_thing_a_session_is_busy_with_is_a_turn_of_its_own(formed):
    turns = []
    formed.changes.subscribe(lambda: turns.append((formed.turn, formed.doing)))
    before = formed.turn
    formed.run("rank", "0")
    formed.push(x=1)
    assert turns == [
        (before + 1, "running a cell on rank 0"),
        (before + 1, ""),
        (before + 2, "pushing x"),
        (before + 2, ""),
    ]


def test_looking_and_being_refused_take_no_turn(formed):
    thread, _ = run_stuck(formed)
    before = formed.turn
    formed.snapshot()
    formed.stacks()
    formed.diagnose()
    with pytest.raises(SessionError):
        formed.reset()
    assert formed.turn == before
    formed.interrupt()
    end_of(thread)
    assert formed.turn == before


def test_a_session_remembers_when_its_cells_ran(formed):
    before = time.time()
    formed.run("\n  x = 1  \ny = 2", number=7)
    formed.run("1 / 0", "0", number=8)
    after = time.time()
    first, second = formed.cells
    assert (first.number, first.label) == (7, "x = 1")
    assert (second.number, second.label) == (8, "1 / 0")
    assert before <= first.started <= first.ended <= second.started <= second.ended <= after


def test_a_cell_begins_before_any_rank_runs_it(formed):
    for _ in range(20):
        result = formed.run("import time; print(time.time())")
        assert formed.cells[-1].started <= min(float(one.stdout) for one in result.values())


def test_the_running_cell_has_no_end_in_the_history(formed):
    assert formed.cells == ()
    thread, _ = run_stuck(formed)
    assert [(cell.label, cell.ended) for cell in formed.cells] == [("stick()", None)]
    formed.interrupt()
    end_of(thread)
    [cell] = formed.cells
    assert cell.ended >= cell.started


def test_a_cell_that_ignored_every_interrupt_has_an_end_in_the_history(formed, pool):
    pool[1].ignores = FOR_GOOD
    with pytest.raises(StuckError):
        formed.run("if rank == 1: stick()", timeout=0.02)
    assert formed.cells[0].ended is not None


def test_a_session_remembers_only_its_latest_cells(make):
    session = make(1)
    session.initialize("gloo")
    for number in range(302):
        session.run("rank", number=number)
    assert [cell.number for cell in session.cells] == list(range(2, 302))


def test_a_cell_is_labelled_with_the_beginning_of_its_first_line(formed):
    formed.run("x = " + "1" * 200)
    formed.run("")
    assert [cell.label for cell in formed.cells] == ["x = " + "1" * 76, ""]


def test_a_cell_that_a_program_has_made_is_labelled_with_what_it_does(formed):
    formed.run("x = 1", title="evaluating")
    assert [(cell.label, cell.code) for cell in formed.cells] == [("evaluating", "x = 1")]


HANGS = "wait_in('all_reduce' if rank else 'all_gather', seq=1)"


@pytest.fixture
def hopeless(formed, watchful):
    """A session whose cell is seen to hang, and is left to."""
    thread, _ = run_stuck(formed, code=HANGS, on_hang="wait")
    wait_until(lambda: formed.verdict is not None, SOON)
    yield formed
    formed.interrupt()
    end_of(thread)


def test_the_verdict_on_a_hang_is_there_while_its_cell_runs(hopeless):
    assert hopeless.verdict.kind == "mismatch"
    assert hopeless.verdict.proven
    assert hopeless.snapshot().verdict.kind == "mismatch"


def test_a_healthy_running_cell_has_no_verdict(formed, watchful, pool):
    thread, _ = run_stuck(formed)
    wait_until(lambda: len(pool.asked("look")) >= 8, SOON)
    assert formed.verdict is None
    formed.interrupt()
    end_of(thread)
    assert formed.verdict is None


@pytest.mark.parametrize(
    "act",
    [lambda s: s.run("rank"), *RENEWS],
    ids=["run", *NAMES],
)
def test_the_verdict_on_the_last_hang_stays_until_the_next_cell_or_renewal(formed, watchful, act):
    assert formed.verdict is None
    result = formed.run(HANGS)
    assert formed.verdict == result.diagnosis
    assert formed.verdict.kind == "mismatch"
    assert formed.snapshot().verdict == result.diagnosis
    formed.push(x=1)
    assert formed.verdict == result.diagnosis
    act(formed)
    assert formed.verdict is None
    assert formed.snapshot().verdict is None


@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_during_a_hang_clears_the_verdict_and_the_result_keeps_it(
    formed, watchful, renew
):
    thread, ended = run_stuck(formed, code=HANGS, on_hang="wait")
    wait_until(lambda: formed.verdict is not None, SOON)
    renew(formed)
    end_of(thread)
    assert ended["result"].diagnosis.kind == "mismatch"
    assert formed.verdict is None
