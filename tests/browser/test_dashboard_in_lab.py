"""The dashboard in a real JupyterLab, in a real Chromium, on real engines: clicked, and read.

Each control is clicked while the ranks are idle, while a cell runs and while one hangs.
"""

from __future__ import annotations

import os
import re
import signal

import processes
import pytest
import screenshot
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext rankbook",
    "%dist_init gloo -n 2",
    "%%dist\nkept = torch.ones(2) * rank\nprint('all say this')\nprint('rank', rank)",
]


@pytest.fixture(scope="module")
def opened(open_notebook):
    with open_notebook(CELLS) as notebook:
        yield notebook


@pytest.fixture
def notebook(opened):
    """Two idle ranks, and `kept` on both: as every test finds and leaves them."""
    opened.wait_until_idle()
    yield opened
    expect(opened.board.locator(".rb-unheard")).to_be_empty()
    if opened.fact("world size").inner_text() != "2" or opened.button("Reset").is_disabled():
        opened.run("import rankbook\nif rankbook.session(): rankbook.session().shutdown()")
        opened.page.evaluate(
            """async () => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = 1;
                await window.jupyterapp.commands.execute('notebook:run-cell');
                notebook.activeCellIndex = 2;
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }"""
        )
    opened.wait_until_idle()


@pytest.fixture(params=["idle", "running", "hung"])
def state(request, notebook):
    """What the ranks do when the test clicks."""
    if request.param == "running":
        notebook.busy()
    elif request.param == "hung":
        notebook.hang()
    return request.param


def is_kept(notebook):
    said = notebook.run("%dist_pull kept\nprint([float(kept[r].sum()) for r in kept])")
    return said == "[0.0, 2.0]\n"


def test_the_dashboard_shows_every_rank_and_its_distinfo(notebook):
    expect(notebook.rows).to_have_count(2)
    head = notebook.board.locator(".rb-rows thead th").all_inner_texts()
    row = dict(zip(head, notebook.rows.nth(1).locator("th, td").all_inner_texts(), strict=True))
    assert row["rank"] == "1"
    assert "idle" in row["state"]
    assert "MB of" in row["memory"]
    details = notebook.rows.nth(1).locator("details.rb-facts-of")
    details.locator("summary").click()
    names, texts = details.locator("dt").all_inner_texts(), details.locator("dd").all_inner_texts()
    info = dict(zip(names, texts, strict=True))
    told = [info[name] for name in ("device", "backend", "world size", "main", "local rank")]
    assert told == ["cpu", "gloo", "2", "no", "1"]
    details.locator("summary").click()
    expect(notebook.fact("backend")).to_have_text("gloo")
    expect(notebook.fact("world size")).to_have_text("2")


def test_reset_makes_a_new_generation(notebook, state):
    next_one = notebook.generation() + 1
    notebook.click("Reset")
    expect(notebook.message).to_contain_text(f"Reset: gloo, 2 ranks, generation {next_one}.")
    notebook.wait_until_idle()
    expect(notebook.fact("generation")).to_have_text(str(next_one))
    if state != "idle":
        notebook.end()
    assert is_kept(notebook)
    assert notebook.run("%dist dist.all_reduce(kept.clone())") == ""


def test_initialise_makes_what_the_form_says(notebook, state):
    next_one = notebook.generation() + 1
    notebook.open_form()
    notebook.board.get_by_label("Ranks").fill("3")
    notebook.board.get_by_label("Timeout").fill("2.5")
    notebook.click("Initialise")
    expect(notebook.message).to_contain_text(f"Initialise: gloo, 3 ranks, generation {next_one}.")
    notebook.wait_until_idle()
    expect(notebook.rows).to_have_count(3)
    if state != "idle":
        notebook.end()
    assert notebook.run("import rankbook; print(rankbook.session().timeout_minutes)") == "2.5\n"
    notebook.run("%dist_pull -r 0,1 kept")
    notebook.board.get_by_label("Ranks").fill("2")
    notebook.board.get_by_label("Timeout").fill("1")
    notebook.click("Initialise")
    expect(notebook.fact("world size")).to_have_text("2")


def test_interrupt_frees_the_ranks(notebook, state):
    if state == "idle":
        expect(notebook.button("Interrupt")).to_be_disabled()
    else:
        notebook.click("Interrupt")
        expect(notebook.message).to_contain_text("Interrupt: the ranks are free")
        said = notebook.end()
        assert ("rank 0 never called barrier" in said) == (state == "hung")
    notebook.wait_until_idle()
    assert is_kept(notebook)


def test_why_shows_the_verdict(notebook, state):
    notebook.click("Why?")
    # The verdict about a hang comes by itself, and is not shown twice.
    answer = notebook.region("This cell cannot end" if state == "hung" else "Why?")
    verdicts = {
        "idle": "Every rank is idle.",
        "running": "time.sleep(0.1)",
        "hung": "Rank 0 never called barrier",
    }
    expect(answer).to_contain_text(verdicts[state])
    expect(notebook.message).to_contain_text(f"Why? {'' if state == 'idle' else 'Rank'}")
    if state == "hung":
        expect(notebook.region("Why?")).to_have_count(0)
    goes_on(notebook, state)
    if state != "hung":
        notebook.click("Close")
    expect(answer).to_have_count(0)


def test_stacks_show_where_the_ranks_stand(notebook, state):
    notebook.click("Stacks")
    answer = notebook.region("Stacks")
    lines = {"idle": "no cell runs", "running": "time.sleep(0.1)", "hung": "dist.barrier()"}
    expect(answer).to_contain_text(lines[state])
    goes_on(notebook, state)
    notebook.click("Close")
    expect(answer).to_have_count(0)


def goes_on(notebook, state):
    """A look has interrupted nothing; now it is."""
    if state != "idle":
        assert notebook.runs
        notebook.click("Interrupt")
        notebook.end()


def test_restart_replaces_a_rank_that_has_died(notebook, state):
    expect(notebook.button("Restart ended ranks")).to_be_disabled()
    next_one = notebook.generation() + 1
    pid = notebook.pid(1)
    os.kill(pid, signal.SIGKILL)
    expect(notebook.health).to_contain_text("rank 1 ended")
    expect(notebook.rows.nth(1)).to_contain_text("was killed by SIGKILL")
    notebook.click("Restart ended ranks")
    expect(notebook.message).to_contain_text(
        f"rank 1 has a new process; gloo, 2 ranks, generation {next_one}."
    )
    notebook.wait_until_idle()
    assert notebook.pid(1) != pid
    if state != "idle":
        notebook.end()
    assert notebook.run("%dist -r 0 print(float(kept.sum()))") == "[0] 0.0\n"
    notebook.run("%%dist -r 1\nkept = torch.ones(2) * rank")


def test_shut_down_stops_the_engines(notebook, state):
    pids = [notebook.pid(row) for row in (0, 1)]
    notebook.open_form()
    notebook.click("Shut down")
    expect(notebook.health).to_have_text("shut down")
    expect(notebook.message).to_contain_text("Shut down: run %dist_init for new ranks.")
    for name in ("Initialise", "Reset", "Interrupt", "Why?", "Stacks", "Shut down"):
        expect(notebook.button(name)).to_be_disabled()
    if state != "idle":
        notebook.end()
    assert notebook.run("import rankbook; print(rankbook.session())") == "None\n"
    processes.wait_until(lambda: all(map(processes.has_ended, pids)))


def test_a_shutdown_leaves_the_latest_state_and_collectives_on_screen(notebook):
    """However soon after the last cell it ends, as where all cells are run in a row."""
    next_one, before = notebook.generation() + 1, collectives(notebook)
    notebook.run(
        "import rankbook\nits = rankbook.session()\nits.reset()\n"
        "its.run('for _ in range(40): dist.all_reduce(torch.ones(1))')\nits.shutdown()"
    )
    expect(notebook.health).to_have_text("shut down")
    expect(notebook.fact("generation")).to_have_text(str(next_one))
    processes.wait_until(lambda: collectives(notebook) >= before + 40)


def collectives(notebook):
    """How many the timeline has, as it says."""
    said = re.search(r"([\d,]+) collective", notebook.page.locator(".rbt-count").last.inner_text())
    return int(said[1].replace(",", "")) if said else 0


def test_the_dashboard_follows_a_cell_and_shows_its_error(notebook, tmp_path):
    over = tmp_path / "over"
    notebook.start(f"%%dist\n{processes.waits_for(over)}1 / 0")
    expect(notebook.health).to_have_text("ranks 0-1 running")
    expect(notebook.rows.first).to_contain_text("time.sleep(0.01)")
    over.touch()
    notebook.end()
    expect(notebook.health).to_have_text("all idle · error on ranks 0-1")
    expect(notebook.rows.first).to_contain_text("ZeroDivisionError: division by zero")
    notebook.run("%dist 1")
    notebook.wait_until_idle()
    expect(notebook.rows.first).not_to_contain_text("ZeroDivisionError")


def test_a_collective_in_flight_is_shown_with_its_age_and_its_line(notebook):
    notebook.hang()
    row = notebook.rows.nth(1)
    expect(row).to_contain_text(re.compile(r"barrier, [1-9] s"))
    expect(row.locator(".rb-line")).to_have_text(
        re.compile(r"In \[\d+\] line 2: if rank == 1: dist\.barrier\(\)")
    )
    notebook.click("Interrupt")
    notebook.end()


def test_the_time_of_the_last_cell_is_reported_by_rank(notebook):
    """Rank 1 comes late: rank 0 waits, rank 1 computes."""
    notebook.run("%%dist\nimport time\ntime.sleep(0.4 * rank)\ndist.barrier()")
    cell = notebook.rows.locator(".rb-time")
    expect(cell.first).to_contain_text(re.compile(r"waiting\s(9\d|100)\s%"))
    expect(cell.last).to_contain_text(re.compile(r"computing\s(9\d|100)\s%"))
    expect(notebook.board.locator("thead .rb-time")).to_have_text(re.compile(r"time in In \[\d+\]"))


def test_a_mesh_is_a_grid_whose_cells_tell_the_state_of_their_ranks(notebook):
    notebook.run("%dist_mesh dp=1 tp=2")
    grid = notebook.board.locator(".rb-mesh-grid")
    expect(grid.get_by_role("columnheader")).to_have_text(["tp=0", "tp=1"])
    expect(grid.get_by_role("rowheader")).to_have_text(["dp=0"])
    expect(grid.locator("tbody td")).to_have_text(["0 ● idle", "1 ● idle"])
    notebook.hang()
    expect(grid.locator("tbody td")).to_have_text(["0 ● idle", "1 ⇄ collective"])
    notebook.click("Interrupt")
    notebook.end()


def test_a_rank_that_lives_is_restarted_from_its_details(notebook):
    before = [notebook.pid(row) for row in (0, 1)]
    notebook.rows.nth(1).locator("details.rb-facts-of > summary").click()
    notebook.click("Restart rank 1")
    expect(notebook.message).to_contain_text("Restart: rank 1 has a new process")
    notebook.wait_until_idle()
    assert notebook.pid(0) == before[0]
    assert notebook.pid(1) != before[1]
    notebook.rows.nth(1).locator("details.rb-facts-of > summary").click()
    notebook.run("%%dist\nkept = torch.ones(2) * rank")


def test_an_outcome_says_how_old_it_is(notebook):
    notebook.click("Why?")
    notebook.click("Close")
    notebook.click("Stacks")
    expect(notebook.board.locator(".rb-answer .rb-age")).to_have_text(re.compile(r"\d s ago"))
    expect(notebook.message).not_to_contain_text("ago")  # it would be read out each second
    notebook.click("Close")


def test_the_dashboard_stays_in_view_in_a_panel_of_its_own_after_one_click(notebook):
    notebook.page.evaluate("window.jupyterapp.shell.mode = 'multiple-document'")
    notebook.click("Keep in view")
    beside = notebook.page.locator(".jp-MainAreaWidget:not(.jp-NotebookPanel) .rankbook:visible")
    expect(beside.locator(".rb-health .rb-words")).to_have_text("all idle")
    expect(beside.get_by_role("button", name="Reset")).to_be_visible()
    expect(beside.get_by_role("button", name="Keep in view")).to_have_count(0)
    screenshot.command(notebook.page, "application:close")  # the new panel has the focus
    notebook.page.evaluate("window.jupyterapp.shell.mode = 'single-document'")
    notebook.wait_until_idle()


def test_an_error_of_an_action_is_in_the_dashboard(notebook):
    generation = notebook.generation()
    notebook.open_form()
    notebook.board.get_by_label("Backend").select_option("nccl")
    notebook.click("Initialise")
    expect(notebook.message).to_contain_text("Initialise: nccl needs GPUs")
    expect(notebook.message).to_have_class(re.compile("rb-error"))
    expect(notebook.fact("generation")).to_have_text(str(generation))
    notebook.board.get_by_label("Backend").select_option("gloo")


def test_the_dashboard_can_be_used_with_the_keyboard_alone(notebook):
    next_one = notebook.generation() + 1
    notebook.open_form()
    notebook.button("Interrupt").focus()
    reached = []
    for _ in range(11):
        reached.append(
            notebook.page.evaluate(
                "document.activeElement.name || document.activeElement.textContent"
            )
        )
        notebook.page.keyboard.press("Tab")
    assert reached == [
        "Interrupt",  # also while there is nothing to interrupt: it keeps its place
        "Why?",
        "Stacks",
        "Reset",
        "Restart ended ranks",
        "Shut down",
        "Keep in view",
        "New group…",
        "backend",
        "nproc",
        "timeout",
    ]
    notebook.button("Reset").focus()
    notebook.page.keyboard.press("Enter")
    expect(notebook.fact("generation")).to_have_text(str(next_one))
    expect(notebook.button("Reset")).to_be_focused()
    # Keys are the dashboard's own: JupyterLab would insert a cell above.
    cells = notebook.page.locator(".jp-Cell").count()
    notebook.page.keyboard.press("a")
    assert notebook.page.locator(".jp-Cell").count() == cells


def test_the_output_of_the_ranks_is_on_the_page(notebook):
    output = notebook.page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    # What is the same is one line where the ranks print it within moments.
    together = r"\[0-1\] all say this\s+\[0\] rank 0\s+\[1\] rank 1"
    apart = r"\[0\] all say this\s+\[0\] rank 0\s+\[1\] all say this\s+\[1\] rank 1"
    expect(output.first).to_have_text(re.compile(f"{together}|{apart}"))
