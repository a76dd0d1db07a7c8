"""A lesson on real ranks: right, wrong, out of order, on too few ranks, after a death."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest
from own_lesson import LESSON
from processes import wait_until

import rankbook.api
from rankbook.errors import CheckFailed, LessonError
from rankbook.teach import check, hint, lesson, predict, progress
from rankbook.teach.trying import has_run
from rankbook.teach.usual import UNWAITED

ADD = """
def add(x):
    x = torch.tensor(x)
    dist.all_reduce(x)
    return {}
"""


@pytest.fixture(autouse=True)
def opened(tmp_path):
    lesson("own_lesson", keep=tmp_path)
    return tmp_path / "own.progress.json"


def define(session, returns):
    assert session.run(ADD.format(returns)).ok


def test_an_exercise_whose_cell_did_not_run_is_not_judged(two):
    with pytest.raises(LessonError, match=r"Ranks 0-1 have no add: run the exercise's cell"):
        check("add")


def test_a_right_answer_is_solved_and_kept(two, opened):
    define(two, "x.item()")
    found = check("add")
    assert found.ok
    assert str(found) == "✓ add: Ranks 0-1 are right.\nOn each rank 1 call."
    assert "Ranks 0-1 are right." in found._repr_html_()
    assert progress().done == ("add",)
    assert two.cells[-1].label == "checking add"
    assert json.loads(opened.read_text())["exercises"]["add"]["passed"]


def test_a_wrong_answer_fails_the_cell_and_says_by_rank_what_is_wrong(two):
    define(two, "x.item() * (1 + rank)")
    with pytest.raises(AssertionError) as caught:
        check("add")
    assert str(caught.value).splitlines() == [
        "✗ add: Rank 0 is right, rank 1 has the sum twice.",
        "Hint: Once.",
    ]
    assert "Traceback" not in "".join(caught.value._render_traceback_())
    assert progress().done == ()


def test_an_answer_that_misses_a_target_is_not_solved(two):
    define(two, "(dist.all_reduce(torch.ones(1)), x.item())[1]")
    with pytest.raises(CheckFailed, match="But ranks 0-1 had 2 calls, where 1 is enough"):
        check("add")


BY_LUCK = """
import time
def add(x):
    x = torch.tensor(x)
    handle = dist.all_reduce(x, async_op=True)
    while x.item() != 3.0:
        time.sleep(0.001)
    return x.item()
"""


def test_an_answer_that_is_right_though_nothing_waits_for_its_call_is_not_solved(two):
    assert two.run(BY_LUCK).ok
    with pytest.raises(CheckFailed) as caught:
        check("add")
    assert str(caught.value).splitlines() == [
        "✗ add: Ranks 0-1 are right.",
        "But ranks 0-1 never waited for 1 call: that it went well is luck.",
        f"Hint: {UNWAITED}",
    ]
    assert two.run(BY_LUCK.replace("    while", "    handle.wait()\n    while")).ok
    assert check("add").ok


@pytest.mark.parametrize(
    ("code", "how", "stuck"),
    [
        ("if rank == 0: dist.barrier()", "hang", [0]),
        ("if rank == 1: dist.barrier()", "hang", [1]),
        ("if rank == 0: 1 / 0", "error", []),
        ("if rank == 0: print(1)", "all done", []),
    ],
)
def test_the_truth_of_a_prediction_is_how_its_cell_has_ended(two, code, how, stuck):
    predict("end", "hang")
    predict("stuck", "0")
    two.run("if rank == 7: pass  # an earlier cell that has the same text")
    two.run(code)
    two.run("'a later cell'")
    assert (check("end").truth, check("stuck").truth) == (how, stuck)


WATCHED = """
from torch.distributed import P2POp, batch_isend_irecv, irecv, isend
from rankbook.teach.here import Here
from rankbook.teach.watching import Started
x, y, other = torch.ones(1), torch.empty(1), 1 - rank
started = Started(Here(globals()))
with started.watching():
    {}
kept, same = started.unwaited, (dist.isend is isend, dist.Work.wait.__module__)
dist.barrier()
(kept, same)
"""


@pytest.mark.parametrize(
    ("code", "unwaited"),
    [
        ("dist.all_reduce(x)", 0),
        ("a, b = dist.isend(x, other), dist.irecv(y, other); a.wait(); b.wait()", 0),
        ("a, b = isend(x, other), irecv(y, other); b.wait()", 1),
        ("batch_isend_irecv([P2POp(isend, x, other), P2POp(irecv, y, other)])", 2),
        (("ops = [P2POp(dist.isend, x, other), P2POp(dist.irecv, y, other)]\n"
         "    for w in dist.batch_isend_irecv(ops): w.wait()"), 0),
        ("dist.all_reduce(x, async_op=True).get_future().wait()", 0),
        ("h = dist.all_reduce(x, async_op=True)\n    while not h.is_completed(): pass", 0),
        ("f = dist.barrier; f(async_op=True)", 1),
    ],
)  # fmt: skip
def test_what_an_answer_starts_and_does_not_wait_for_is_counted(two, code, unwaited):
    result = two.run(WATCHED.format(code))
    result.raise_for_error()
    for rank in range(2):
        assert result[rank].result_repr == f"({unwaited}, (True, 'rankbook.calls.blocking'))"


def test_dots_that_are_left_are_what_is_said_first(two):
    two.run("def add(x):\n    ...")
    with pytest.raises(CheckFailed, match=r"returned nothing \(None\)\.\nHint: The cell has dots"):
        check("add")


def test_an_answer_that_hangs_gets_its_verdict_and_the_ranks_are_free(two):
    define(two, "x.item() if rank else dist.barrier()")
    with pytest.raises(CheckFailed, match=r"Rank 1 never called barrier(.|\n)*Hint: All ranks"):
        check("add")
    define(two, "x.item()")
    assert check("add").ok


@pytest.mark.slow
def test_an_answer_that_never_ends_is_interrupted(two):
    define(two, "[None for _ in iter(int, 1)]")
    with pytest.raises(CheckFailed, match="Ranks 0-1 did not come to an end in 3 s"):
        check("add")


def test_an_exception_of_an_answer_is_reported_with_its_line(two):
    define(two, "x.item() / 0")
    with pytest.raises(CheckFailed, match=r"Ranks 0-1 raised ZeroDivisionError: .*line 5"):
        check("add")


def test_a_prediction_is_locked_and_shown_over_the_truth(two, opened):
    with pytest.raises(LessonError, match="Predict first"):
        check("total")
    assert "Locked at" in str(predict("total", 2))
    with pytest.raises(LessonError, match=r"Run the cell with 'total = add\(' first"):
        check("total")
    define(two, "int(x)")
    two.run("total = add(rank + 1)")
    found = check("total")
    assert not found
    assert str(found) == "✗ predicted 2, it is 3.\nThat is rank 1's.\n1 + 2."
    assert "stays your prediction" in str(predict("total", 3))
    assert "(Another value was predicted after the cell had run.)" in str(check("total"))
    lesson("own_lesson", keep=opened.parent)  # as after a restart of the kernel
    assert not check("total")


def test_a_prediction_after_the_cell_is_marked_as_late(two):
    two.run("total = add(rank + 1)")
    assert "its cell had run before" in str(predict("total", 3))
    assert "(You predicted after the cell had run.)" in str(check("total"))


def test_a_truth_that_the_ranks_no_longer_hold_is_not_reported(two):
    predict("total", 2)
    two.run("total = add(rank + 1)")
    two.run("total = 7")
    with pytest.raises(LessonError, match=r"On the ranks it is now 7: .* Run the cells of this"):
        check("total")


def test_a_cell_that_lacked_a_name_has_not_shown_the_answer(two):
    other = replace(LESSON.find("total"), cell="total = plus(")
    assert not two.run("total = plus(1)").ok
    assert not has_run(other)
    assert two.run("plus = int\ntotal = plus(1)").ok
    assert has_run(other)


def test_hints_follow_the_exercise_that_one_is_at(two):
    assert str(hint(1)) == "Hint 1 of 2 for add: Which collective adds?"
    with pytest.raises(LessonError, match=r"add has 2 hints: hint\(1\) to hint\(2\)"):
        hint(3)
    with pytest.raises(LessonError, match="total is a prediction"):
        hint(1, "total")
    assert str(hint("add", 2)) == "Hint 2 of 2 for add: all_reduce."


def test_another_number_of_ranks_is_refused(two):
    two.initialize(nproc=1)
    try:
        with pytest.raises(LessonError, match=r"needs 2 ranks, and there are 1: run %dist_init"):
            check("add")
    finally:
        two.initialize(nproc=2)


def test_a_dead_rank_is_named_and_how_to_replace_it(two, monkeypatch):
    define(two, "x.item()")
    [pid] = [s.pid for s in two.states() if s.info and s.info.rank == 1]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: two.dead_ranks)
    with pytest.raises(LessonError, match=r"Rank 1 has ended\. Run %dist_restart 1 --from 0, then"):
        check("add")
    # As after a cell that was refused, since the rank has ended.
    with monkeypatch.context() as patch:
        patch.setattr("rankbook.teach.classroom.is_unsent", lambda _: True)
        with pytest.raises(LessonError, match=r"Rank 1 has ended\. Run %dist_restart 1 --from 0"):
            check("add")
    two.restart_ranks(from_rank=0)
    assert check("add").ok


def test_an_answer_that_ends_its_process_is_told_so(two):
    define(two, "__import__('os').kill(__import__('os').getpid(), 9) if rank else x.item()")
    with pytest.raises(CheckFailed, match=r"Rank 1 was killed by SIGKILL.*restart 1 --from 0"):
        check("add")
    two.restart_ranks(from_rank=0)


def test_without_ranks_or_a_lesson_one_line_says_what_to_run(monkeypatch):
    monkeypatch.setattr(rankbook.api.current, "session", None)
    with pytest.raises(LessonError, match="There are no ranks: run %dist_init gloo -n 2"):
        check("add")
    monkeypatch.setattr("rankbook.teach.classroom._desk.lesson", None)
    with pytest.raises(LessonError, match="No lesson is open"):
        check("add")
