"""The magics that run cells, look at ranks and move values, over a session on fake engines."""

from __future__ import annotations

import threading

import pytest
from fakes import FOR_GOOD
from IPython.utils.capture import capture_output
from processes import wait_until
from steps import SOON, end_of

from rankbook.display.table import Table
from rankbook.display.text import plain
from rankbook.display.timeline import Chart
from rankbook.display.verdict import Verdict
from rankbook.errors import HangError, RankError, StuckError
from rankbook.magics.syntax import CellSyntaxError
from rankbook.sessions.cells.results import CellResult


def end_of_cells():
    """Wait for cells in the background."""
    for thread in threading.enumerate():
        if thread.name == "rankbook-cell":
            end_of(thread)


# -- cells -----------------------------------------------------------------------------------


def test_a_cell_runs_on_all_ranks(notebook):
    notebook.run("%%dist\nprint('hello')\nrank * 10")
    assert notebook.error is None
    assert notebook.out == "[0-3] hello\n[0] 0\n[1] 10\n[2] 20\n[3] 30\n"


def test_a_dist_cell_has_no_value_in_the_notebook(notebook):
    assert notebook.run("%%dist\nrank") is None


@pytest.mark.parametrize(
    ("head", "ranks"),
    [
        ("%%dist", [0, 1, 2, 3]),
        ("%%dist -r 0,2", [0, 2]),
        ("%%dist -r0,2", [0, 2]),
        ("%%dist --ranks 1:", [1, 2, 3]),
        ("%%dist --ranks=::2", [0, 2]),
        ("%%dist -r [0,2]", [0, 2]),
        ("%%dist -r -1", [3]),
        ("%%dist -r=-1", [3]),
        ("%%dist --ranks=-1", [3]),
        ("%%rank 0,2", [0, 2]),
        ("%%rank 0-2", [0, 1, 2]),
        ("%%rank -1", [3]),
        ("%%rank ::2", [0, 2]),
        ("%%rank [0, 2]", [0, 2]),
        ("%%rank all", [0, 1, 2, 3]),
    ],
)
def test_a_cell_runs_on_the_ranks_that_are_chosen(notebook, pool, head, ranks):
    notebook.run(f"{head}\nran = True")
    assert notebook.error is None
    assert [n for n in pool.engines if "ran" in pool[n].names] == ranks


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("rank + 1", "[0] 1\n[1] 2\n[2] 3\n[3] 4\n"),
        ("-r 0 rank", "[0] 0\n"),
        ("-r -1 rank", "[3] 3\n"),
        ("--ranks=0,1 'same'", "[0-1] 'same'\n"),
        ("-r 0 'a  b'", "[0] 'a  b'\n"),
        ('-r 0 "it\'s"', '[0] "it\'s"\n'),
        ("-r 0 [-1, - 2]", "[0] [-1, -2]\n"),
        ("-r 0 x = -1; x", "[0] -1\n"),
        ("--timeout 5 -r 0 rank", "[0] 0\n"),
        ("--on-hang wait -r 0 rank", "[0] 0\n"),
        ("-r 0 {1: rank}", "[0] {1: 0}\n"),
        ("-r 0 '$HOME'", "[0] '$HOME'\n"),
    ],
)
def test_the_code_of_a_dist_line_reaches_the_ranks_unchanged(notebook, line, shown):
    notebook.run(f"%dist {line}")
    assert notebook.error is None
    assert notebook.out == shown


def test_variables_of_the_notebook_do_not_leak_into_a_line_for_the_ranks(notebook):
    notebook.shell.user_ns["value"] = "of the notebook"
    notebook.run("%%dist\nvalue = 'of the rank'")
    notebook.run("%dist -r 0 f'{value}'")
    assert notebook.out == "[0] 'of the rank'\n"


def test_the_result_of_a_cell_is_kept_in_the_variable_of_out(notebook):
    notebook.run("%%dist -o result -r 0,1\nprint('x')\nrank")
    assert isinstance(notebook["result"], CellResult)
    assert list(notebook["result"]) == [0, 1]
    assert notebook["result"][1].stdout == "x\n"


def test_the_result_of_a_cell_is_kept_even_if_the_cell_fails(notebook):
    notebook.fail("%%dist -o result\n1/0")
    assert notebook["result"][0].error.ename == "ZeroDivisionError"


def test_a_cell_that_fails_on_a_rank_fails_in_the_notebook(notebook):
    error = notebook.fail("%%dist\nif rank == 2: raise ValueError('no')")
    assert isinstance(error, RankError)
    assert error.ranks == (2,)
    shown = plain(notebook.out + notebook.err).strip()
    assert shown == "[2] ValueError: no"


def test_a_cell_with_a_syntax_error_is_not_sent_to_any_rank(notebook, pool):
    error = notebook.fail("%%dist\nx = = 1")
    assert isinstance(error, CellSyntaxError)
    assert pool.asked("run") == []
    assert "The cell was not sent to any rank." in notebook.out + notebook.err


def test_a_cell_is_interrupted_after_its_timeout(notebook):
    error = notebook.fail("%%dist --timeout 0.02 -r 1\nstick()")
    assert str(error) == "Interrupted after 0 s: rank 1 was still computing in cell 1 line 2"


ONE_IS_MISSING = "x = rank\nif rank < 3:\n    wait_in('all_reduce', seq=1)"


def test_a_cell_that_cannot_end_is_shown_as_one_sentence_and_a_table(notebook, watchful):
    error = notebook.fail(f"%%dist -o result\n{ONE_IS_MISSING}")
    assert isinstance(error, HangError)
    sentence, hint, *table, note = plain(notebook.out + notebook.err).strip().splitlines()
    line = "cell 1 line 4: wait_in('all_reduce', seq=1)"
    assert sentence == (
        f"HangError: Rank 3 never called all_reduce #1, in which ranks 0-2 waited ({line}): "
        "its cell had ended."
    )
    assert hint.startswith("Often ")
    assert table == [
        "◆ rank 3     was idle: its cell had ended",
        f"  ranks 0-2  waited in all_reduce #1 ({line})",
    ]
    assert note == (
        "The ranks are free, their variables in place, and the process group was re-created "
        "(generation 2)."
    )
    assert notebook["result"].diagnosis is error.diagnosis
    notebook.run("%dist x")
    assert notebook.out == "[0] 0\n[1] 1\n[2] 2\n[3] 3\n"


def test_the_error_that_caused_a_hang_is_shown_before_the_verdict(notebook, watchful):
    notebook.fail("%%dist\nif rank == 1: raise ValueError('no')\nwait_in('barrier', seq=1)")
    shown = plain(notebook.out + notebook.err)
    assert shown.startswith(
        "[1] ValueError: no\nHangError: Rank 1 raised ValueError: no (cell 1 line 2"
    )


def test_on_hang_report_reports_a_hang_and_frees_no_rank(notebook, session, pool, watchful):
    with capture_output() as shown:
        notebook.shell.run_cell(
            f"%%dist --no-wait --on-hang report -r 0-2 -o result\n{ONE_IS_MISSING}"
        )
        wait_until(lambda: len(pool.requested("look")) > 5, SOON)
        assert pool.asked("free") == []
        session.interrupt()
        end_of_cells()
    assert "Rank 3 never called all_reduce #1, in which ranks 0-2 wait" in shown.stderr
    assert notebook["result"][0].error.ename == "KeyboardInterrupt"


def test_the_result_of_other_ranks_is_kept_when_one_ignores_the_interrupt(notebook, pool):
    pool[1].ignores = FOR_GOOD
    error = notebook.fail("%%dist --timeout 0.02 -o result\nif rank == 1: stick()\nrank")
    assert isinstance(error, StuckError)
    assert list(notebook["result"]) == [0, 2, 3]
    shown = plain(notebook.out + notebook.err)
    assert "did not end the cell: rank 1 is at cell 1 line 2: if rank" in shown
    pool[1].ignores = 0
    notebook.run("%dist_interrupt")
    assert notebook.out == "Interrupted.\n"


def test_the_error_of_a_dead_rank_says_how_to_restart_it(notebook, session, watchful):
    error = notebook.fail("%%dist\nif rank == 1: die(-9)\nwait_in('all_reduce', seq=1)")
    assert isinstance(error, HangError)
    shown = plain(notebook.out + notebook.err)
    assert "Rank 1 was killed by SIGKILL" in shown
    assert "%dist_restart 1 (or restart_ranks([1])) brings it back" in shown
    assert "restart_ranks([1])" in notebook.usage("%dist rank")
    session.restart_ranks()
    notebook.run("%dist -r 1 rank")
    assert notebook.out == "[1] 1\n"


def test_a_background_cell_shows_its_output(notebook):
    notebook.run("%%dist --no-wait -o result\nprint('hello')\nrank")
    assert notebook.error is None
    assert notebook["result"].ok
    assert "[0-3] hello" in notebook.out
    assert "[2] 2" in notebook.out


def test_a_background_cell_shows_its_error_and_does_not_raise_it(notebook):
    notebook.run("%%dist --no-wait\n1/0")
    assert notebook.error is None
    assert "[0-3] ZeroDivisionError" in plain(notebook.out + notebook.err)


def test_other_cells_run_while_a_background_cell_runs(notebook, session):
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait -o result\nstick()")
        assert session.doing == "running a cell on ranks 0-3"
        assert "The session is running a cell on ranks 0-3" in str(
            notebook.shell.run_cell("%dist rank").error_in_exec
        )
        while not session.interrupt():
            pass
    notebook.run("%dist_status")
    assert notebook["result"][0].error.ename == "KeyboardInterrupt"


# -- %dist_mode ------------------------------------------------------------------------------


@pytest.fixture
def everywhere(notebook):
    notebook.run("%dist_mode on")
    assert "%dist_mode off turns this off" in notebook.out
    return notebook


def test_in_dist_mode_a_plain_cell_runs_on_all_ranks(everywhere, session):
    everywhere.run("x = rank\nx")
    assert everywhere.out == "[0] 0\n[1] 1\n[2] 2\n[3] 3\n"
    assert "x" not in everywhere.shell.user_ns
    assert session.pull("x") == {r: r for r in range(4)}


@pytest.mark.parametrize(
    "cell", ["\n\nx = 1", "# a comment\nx = 1", "    x = 1", "x = 1 if rank else 2"]
)
def test_in_dist_mode_a_plain_cell_runs_on_all_ranks_whatever_its_first_line(
    everywhere, session, cell
):
    everywhere.run(cell)
    assert everywhere.error is None
    assert set(session.pull("x")) == {0, 1, 2, 3}
    assert "x" not in everywhere.shell.user_ns


@pytest.mark.parametrize("cell", ["", "\n", "# only a comment"])
def test_in_dist_mode_a_cell_without_code_is_not_an_error(everywhere, cell):
    everywhere.run(cell)
    assert everywhere.error is None


def test_in_dist_mode_a_local_cell_runs_in_the_notebook(everywhere, pool):
    before = len(pool.asked("run"))
    everywhere.run("%%local\nhere = 1\nhere += 1")
    assert everywhere.error is None
    assert everywhere["here"] == 2
    assert len(pool.asked("run")) == before


def test_without_dist_mode_a_local_cell_runs_in_the_notebook(notebook):
    notebook.run("%%local\nhere = 1")
    assert notebook["here"] == 1


def test_the_error_of_a_local_cell_is_raised(everywhere):
    assert isinstance(everywhere.fail("%%local\n1/0"), ZeroDivisionError)


def test_dist_mode_stays_on_after_a_local_cell(everywhere, session):
    everywhere.run("%%local\nhere = 1")
    everywhere.run("there = 1")
    assert session.pull("there", "0") == {0: 1}
    everywhere.fail("%%local\n1/0")
    everywhere.run("there = 2")
    assert session.pull("there", "0") == {0: 2}


@pytest.mark.parametrize(
    "cell",
    [
        "%dist_status",
        "%%capture said\nprint(1)",
        "!true",
        "?print",
        "  %dist_status",
        "%pinfo print",
    ],
)
def test_in_dist_mode_a_cell_that_starts_with_a_magic_runs_in_the_notebook(
    everywhere, pool, monkeypatch, cell
):
    monkeypatch.setattr("IPython.core.page.page", lambda *_, **__: None)
    before = len(pool.asked("run"))
    everywhere.run(cell)
    assert everywhere.error is None
    assert len(pool.asked("run")) == before


def test_in_dist_mode_a_magic_below_a_comment_runs_in_the_notebook(everywhere):
    everywhere.run("# back to normal\n%dist_mode off")
    everywhere.run("here = 1")
    assert everywhere["here"] == 1


def test_in_dist_mode_our_cell_magics_still_choose_ranks(everywhere, pool):
    everywhere.run("%%rank 1\nran = True")
    assert [n for n in pool.engines if "ran" in pool[n].names] == [1]


def test_in_dist_mode_a_cell_with_a_syntax_error_is_not_sent_to_any_rank(everywhere, pool):
    assert isinstance(everywhere.fail("x = = 1"), CellSyntaxError)
    assert pool.asked("run") == []


def test_in_dist_mode_the_error_of_a_plain_cell_is_a_rank_error(everywhere):
    assert isinstance(everywhere.fail("1/0"), RankError)


def test_dist_mode_off_keeps_plain_cells_in_the_notebook(everywhere):
    everywhere.run("%dist_mode off")
    everywhere.run("here = 1")
    assert everywhere["here"] == 1


def test_in_dist_mode_without_ranks_a_plain_cell_says_to_run_dist_init(empty):
    empty.run("%dist_mode on")
    assert empty.usage("x = 1") == "There are no ranks: run %dist_init first."


# -- looking, interrupting, values -----------------------------------------------------------


def test_dist_status_is_a_table(notebook):
    table = notebook.run("%dist_status")
    assert isinstance(table, Table)
    assert repr(table).startswith("gloo · 4 ranks · generation 1 · all idle")


def test_dist_why_is_a_verdict_with_a_line_for_ranks_that_do_the_same(notebook):
    verdict = notebook.run("%dist_why")
    assert isinstance(verdict, Verdict)
    assert repr(verdict).splitlines()[0] == "Every rank is idle."
    assert len(repr(verdict).splitlines()) == 3


def test_dist_timeline_is_a_picture_and_writes_a_file(notebook, tmp_path):
    chart = notebook.run(f"%dist_timeline --save {tmp_path}/picture.svg")
    assert isinstance(chart, Chart)
    assert chart.world_size == 4
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_dist_why_answers_while_a_cell_hangs(notebook, session, pool):
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait -r 0,1\nwait_in('all_reduce', seq=1)")
        wait_until(lambda: pool[0].stuck and pool[1].stuck, SOON)
        verdict = notebook.shell.run_cell("%dist_why").result
        session.interrupt()
        end_of_cells()
    assert verdict.diagnosis.ranks == (2, 3)
    assert repr(verdict).startswith("Ranks 2-3 never called all_reduce #1, in which ranks 0-1 wait")


def test_dist_why_closely_says_where_ranks_stand_and_stood(notebook, session, pool):
    assert repr(notebook.run("%dist_why -v")).endswith("\n\n[0-3] no cell runs")
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait -r 0,1\nwait_in('all_reduce', seq=1)")
        wait_until(lambda: pool[0].stuck and pool[1].stuck, SOON)
        during = notebook.shell.run_cell("%dist_why -v").result
        session.interrupt()
        end_of_cells()
    after = notebook.run("%dist_why -v")
    tree = "[0-1] In [1] line 1: stick()\n      engine: [0] 0  [1] 1\n[2-3] no cell runs"
    for seen in (during, after):
        assert repr(seen).startswith("Ranks 2-3 never called all_reduce #1")
        assert tree in repr(seen)
        assert "<pre" in seen._repr_html_()
    assert "no native frames, for py-spy is not installed there." in repr(during)
    assert repr(notebook.run("%dist_why")).splitlines()[:2] == [
        "Every rank is idle.",
        "The last cell hung: %dist_why -v says why, and where its ranks stood.",
    ]


def test_dist_interrupt_recreates_the_group_whose_collective_it_cut(notebook, session, pool):
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait\nwait_in('all_reduce', seq=1)")
        wait_until(lambda: all(engine.stuck for engine in pool.all.values()), SOON)
        notebook.shell.run_cell("%dist_interrupt")
        end_of_cells()
    assert session.generation == 2
    notebook.run("%dist -r 0 rank")
    assert notebook.out == "[0] 0\n"


def test_dist_interrupt_says_whether_anything_ran(notebook, session):
    notebook.run("%dist_interrupt")
    assert notebook.out == "Nothing runs on any rank.\n"
    with capture_output():
        notebook.shell.run_cell("%%dist --no-wait\nstick()")
    wait_until(lambda: all(engine.stuck for engine in session.pool.all.values()), SOON)
    notebook.run("%dist_interrupt")
    assert notebook.out.startswith("Interrupted.\n")


def test_the_dashboard_magic_shows_the_dashboard_again(notebook):
    notebook.run("%dashboard")
    [shown] = notebook.displays
    assert "4 ranks" in shown.data["text/plain"]


def test_dist_pull_brings_values_by_rank(notebook):
    notebook.run("%%dist\nx = rank\ny = -rank")
    notebook.run("%dist_pull x y")
    assert notebook["x"] == {0: 0, 1: 1, 2: 2, 3: 3}
    assert notebook["y"] == {0: 0, 1: -1, 2: -2, 3: -3}
    notebook.run("%dist_pull -r 1,2 x")
    assert notebook["x"] == {1: 1, 2: 2}


def test_dist_pull_with_a_missing_name_changes_nothing(notebook):
    notebook.run("%%dist\nx = rank")
    assert "'missing' exists on none" in notebook.usage("%dist_pull x missing")
    assert "x" not in notebook.shell.user_ns


def test_dist_push_sends_values_to_the_chosen_ranks(notebook, pool):
    notebook.run("a, b = 1, [2]")
    notebook.run("%dist_push a b")
    assert [(pool[n].names["a"], pool[n].names["b"]) for n in pool.engines] == [(1, [2])] * 4
    notebook.run("a = 5")
    notebook.run("%dist_push a -r 0")
    assert [pool[n].names["a"] for n in pool.engines] == [5, 1, 1, 1]


def test_dist_push_sends_functions_of_the_notebook(notebook):
    notebook.run("def double(x):\n    return 2 * x")
    notebook.run("%dist_push double")
    notebook.run("%dist -r 3 double(rank)")
    assert notebook.out == "[3] 6\n"


def test_dist_push_refuses_a_value_that_cannot_be_pickled(notebook):
    notebook.run("import threading\nlock = threading.Lock()")
    assert "'lock' (lock) cannot be sent" in notebook.usage("%dist_push lock")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2 --from 0 --checkpoint /nowhere", "/nowhere is not a checkpoint"),
        ("2 --from 2 --checkpoint {saved}", "Rank 2 is one of those to replace"),
        ("--from 0 --checkpoint {saved}", "No rank has ended"),
    ],
)
def test_a_restart_that_is_refused_announces_no_load(notebook, session, tmp_path, line, why):
    (tmp_path / ".metadata").write_text("")
    assert why in notebook.usage(f"%dist_restart {line.format(saved=tmp_path)}")
    assert notebook.out == ""
