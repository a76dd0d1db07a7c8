"""A real kernel, seen as a front end sees it: what is shown, when, and how it is interrupted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import psutil
import pytest
from kernels import notebook_with_magics
from lines import by_rank
from processes import let_pass, wait_until, waits_for

from rankbook import ranks
from rankbook.cli.ends import End
from rankbook.cli.main import main
from rankbook.display.text import plain


@pytest.fixture(scope="module")
def notebook(ipython_dir):
    with notebook_with_magics() as notebook:
        assert notebook.run("%dist_init gloo -n 3 --no-dashboard")["status"] == "ok"
        yield notebook
        notebook.run("%dist_shutdown")


def test_lines_are_merged_and_in_order(notebook):
    merged = ["[0-2] alike", "[0] own 0", "[1] own 1", "[2] own 2", "[0-2] alike again"]
    for _ in range(20):
        code = "%%dist\nprint('alike')\nprint('own', rank)\nprint('alike again')"
        assert notebook.run(code)["status"] == "ok"
        assert by_rank(notebook.stdout, 3) == {
            rank: ["alike", f"own {rank}", "alike again"] for rank in range(3)
        }
        if notebook.stdout.splitlines() == merged:
            break
    else:
        pytest.fail(f"not once were the ranks in step: {notebook.stdout}")


def test_values_are_shown_once_where_equal(notebook):
    notebook.run("%%dist\ntorch.ones(2, 2) * (rank // 2)")
    assert "\n".join(notebook.shown).splitlines() == [
        "[0-1] tensor([[0., 0.],",
        "              [0., 0.]])",
        "[2] tensor([[1., 1.],",
        "            [1., 1.]])",
    ]
    notebook.run("%dist rank * 0;")
    assert notebook.shown == []


def test_a_cell_that_fails_on_a_rank_fails_here_with_its_traceback(notebook):
    reply = notebook.run("%%dist\na = 0\nb = 1 / (rank - 1)")
    assert reply["status"] == "error"
    [error] = notebook.of("error")
    assert (error["ename"], error["evalue"]) == (
        "RankError",
        "ZeroDivisionError on rank 1: division by zero",
    )
    text = "\n".join(error["traceback"])
    assert "[1]" in text
    shown = plain(text).splitlines()
    [at] = [n for n, line in enumerate(shown) if f"In [{reply['execution_count']}], line 3" in line]
    assert shown[at + 1].split() == ["2", "a", "=", "0"]
    assert "magics.py" not in text


def test_a_syntax_of_ones_own_that_cells_have_added_on_ranks_is_understood(notebook):
    notebook.run(
        "%%dist -r 0-1\n"
        "def plus(lines): return [line.replace('PLUS', '+') for line in lines]\n"
        "get_ipython().input_transformers_cleanup.append(plus)"
    )
    assert notebook.run("%%dist -r 0-1\n1 PLUS 1")["status"] == "ok"
    assert notebook.shown == ["[0-1] 2"]
    reply = notebook.run("%%dist -r 2\n1 PLUS 1")
    assert reply["ename"] == "CellSyntaxError"
    notebook.run("%%dist -r 0-1\nget_ipython().input_transformers_cleanup.remove(plus)")
    assert notebook.run("%%dist -r 0-1\n1 PLUS 1")["ename"] == "CellSyntaxError"


def test_work_that_a_failing_cell_deferred_does_not_cost_the_group(notebook):
    """A rank whose main thread is not back yet cannot say which collectives it has called."""
    notebook.run("print(__import__('rankbook').session().generation)")
    before = notebook.stdout
    work = "def work():\n    for _ in range(10**7): pass"
    later = "asyncio.get_event_loop().call_soon(work)"
    notebook.run(f"%%dist\nimport asyncio\n{work}\nif rank == 0: {later}\n1 / (rank - 1)")
    assert notebook.of("error")[0]["evalue"] == "ZeroDivisionError on rank 1: division by zero"
    notebook.run("print(__import__('rankbook').session().generation)")
    assert notebook.stdout == before


def test_a_mistake_in_a_magic_is_a_one_line_error(notebook):
    for code, line in [
        ("%%rank 7\n1", "There is no rank 7 in '7': this group has 3, 0 to 2."),
        ("%%rank 3-1\n1", "'3-1' runs backwards: use 1-3."),
        ("%%rank\n1", "No ranks given: use all, 0, 0,2, 0-3, 1:, ::2 or -1."),
        ("%dist_init -n 0", "A group needs at least 1 rank, not 0."),
        ("%dist_init nosuch", "There is no backend 'nosuch': use one of"),
        ("%dist_pull nowhere", "'nowhere' exists on none of ranks 0-2."),
    ]:
        assert notebook.run(code)["status"] == "error"
        assert notebook.stderr.startswith(f"UsageError: {line}"), notebook.stderr
        assert notebook.stderr.count("\n") == 1


def test_a_syntax_error_is_reported_once_and_sent_to_no_rank(notebook):
    assert notebook.run("%%dist\nx = = 1")["status"] == "error"
    [error] = notebook.of("error")
    assert error["ename"] == "CellSyntaxError"
    assert "\n".join(error["traceback"]).count("SyntaxError: invalid syntax") == 1
    assert "not sent to any rank" in error["traceback"][0]


@pytest.mark.parametrize(
    "code",
    ["while True: pass", "import time\ntime.sleep(60)", "import asyncio\nawait asyncio.sleep(60)"],
)
def test_the_stop_button_interrupts_the_ranks(notebook, code):
    notebook.start(f"%%dist\nprint('begun', flush=True)\n{code}")
    notebook.wait_for_output()
    begin = time.monotonic()
    notebook.manager.interrupt_kernel()
    assert notebook.finish()["status"] == "error"
    assert time.monotonic() - begin < 5
    [error] = notebook.of("error")
    assert re.match(r"Interrupted after \S+ s: ranks 0-2 ", error["evalue"])
    assert notebook.run("%dist rank")["status"] == "ok"


def test_a_hang_that_was_freed_leaves_a_picture_of_its_cell_above_the_verdict(notebook, tmp_path):
    reply = notebook.run("%%dist\nif rank != 1: dist.all_reduce(torch.ones(1))")
    assert reply["status"] == "error"
    shown = [content["data"] for content in notebook.of("display_data")]
    [picture] = [data for data in shown if "<img" in data.get("text/html", "")]
    lines = picture["text/plain"].splitlines()
    assert [line.split(", waited")[0] for line in lines] == [
        "rank 0: 1 collective",
        "rank 1: 0 collectives",
        "rank 2: 1 collective",
    ]
    number, file = reply["execution_count"], tmp_path / "x.svg"
    notebook.run(f"import rankbook\nrankbook.session().timeline({number}).save({str(file)!r})")
    svg = file.read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "all_reduce #" in svg
    assert "did not complete" in svg


def test_a_hang_in_the_background_leaves_its_picture_below_its_own_cell(notebook):
    number = notebook.run("%%dist --no-wait\nif rank != 1: dist.all_reduce(torch.ones(1))")[
        "execution_count"
    ]
    reserved = [content["transient"]["display_id"] for content in notebook.of("display_data")]
    notebook.run(
        "import threading\n"
        "while any(thread.name == 'rankbook-cell' for thread in threading.enumerate()): pass"
    )
    assert notebook.of("display_data") == []
    updates = {
        content["transient"]["display_id"]: content["data"]
        for content in notebook.of("update_display_data")
    }
    assert list(updates) == list(reversed(reserved))  # the picture, then the verdict as text
    text, picture = (updates[display_id] for display_id in reserved)
    assert picture["text/html"].startswith("<div><img")
    assert picture["text/plain"].splitlines()[1].startswith("rank 1: 0 collectives")
    assert f"In [{number}] line 2" in text["text/plain"]
    assert notebook.run("%dist rank")["status"] == "ok"


@pytest.mark.parametrize("gap", [0.1, 0.2, 0.25, 0.3, 0.35, 0.4])
def test_the_stop_button_pressed_twice_leaves_no_broken_group(notebook, gap):
    """Whatever is under way then: the ranks being freed, or their group being made again."""
    notebook.start("%%dist --on-hang wait\nprint('begun', flush=True)\nif rank: dist.barrier()")
    notebook.wait_for_output()
    notebook.manager.interrupt_kernel()
    let_pass(gap)
    notebook.manager.interrupt_kernel()
    # No reply: ipykernel (7.4) sends none if this comes between the cell's end and its reply.
    notebook.wait_until_idle()
    if notebook.run("%dist dist.all_reduce(torch.ones(1))")["status"] == "error":
        [error] = notebook.of("error")
        assert "no process group" in error["evalue"]
        assert notebook.run("%dist_init")["status"] == "ok"
        assert notebook.run("%dist dist.all_reduce(torch.ones(1))")["status"] == "ok"


def test_output_is_shown_while_the_cell_runs(notebook, tmp_path):
    sign = tmp_path / "seen"
    notebook.start(f"%%rank 0\nprint('first')\n{waits_for(sign)}print('second')")
    notebook.wait_for_output()
    sign.touch()
    notebook.finish()
    assert notebook.stdout == "[0] first\n[0] second\n"


def test_ten_thousand_lines_of_each_rank_are_shown_once(notebook):
    notebook.run("%%dist\nfor i in range(10_000): print(f'{rank}:{i:05d}', 'x' * 90)")
    seen = {rank: [] for rank in range(3)}
    # What a stream may not carry in a Jupyter server comes as blocks of text.
    for line in "\n".join([notebook.stdout, *notebook.shown]).split("\n"):
        if not line:
            continue
        prefix, text, _ = line.split(" ")
        rank, number = text.split(":")
        assert prefix == f"[{rank}]"
        seen[int(rank)].append(int(number))
    assert all(sorted(numbers) == list(range(10_000)) for numbers in seen.values())


def test_a_cell_whose_code_catches_the_interrupt_of_its_timeout_is_said_to_be_interrupted(notebook):
    code = """%%dist --timeout 1
import time
try:
    while True: time.sleep(0.01)
except KeyboardInterrupt:
    print('caught')"""
    assert notebook.run(code)["status"] == "ok"
    assert notebook.stdout == "[0-2] caught\n"
    said = r"Interrupted after 1(\.\d)? s: ranks 0-2 were still computing in In \["
    assert re.match(said, notebook.stderr)


def test_a_progress_bar_is_one_line_per_rank_that_changes(notebook):
    code = """%%dist
import sys, time
for i in range(6):
    print(f'\\r{i * 20}% of {rank}', end='', flush=True)
    time.sleep(0.1)
print()"""
    notebook.run(code)
    assert notebook.stdout == ""
    [first] = notebook.of("display_data")
    updates = notebook.of("update_display_data")
    assert updates
    assert {u["transient"]["display_id"] for u in updates} == {first["transient"]["display_id"]}
    assert updates[-1]["data"]["text/plain"] == "[0] 100% of 0\n[1] 100% of 1\n[2] 100% of 2"


def test_a_figure_has_a_caption_with_its_rank(notebook):
    code = "%%rank 1\nimport matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    assert notebook.run(code)["status"] == "ok"
    caption, figure = notebook.of("display_data")
    assert caption["data"]["text/plain"] == "[1]"
    assert figure["data"]["image/png"]


def test_a_widget_made_on_a_rank_reaches_the_front_end(notebook):
    assert (
        notebook.run("%%rank 2\nimport ipywidgets\nipywidgets.IntSlider(value=7)")["status"] == "ok"
    )
    shown = [c["data"] for c in notebook.of("display_data")]
    [view] = [
        d["application/vnd.jupyter.widget-view+json"]
        for d in shown
        if len(d) > 1 and "text/html" not in d
    ]
    opened = [c["comm_id"] for c in notebook.of("comm_open")]
    assert view["model_id"] in opened


_FRAMES = """%%dist
from IPython.display import HTML, clear_output, display
for step in range(3):
    clear_output(wait={wait})
    print("step", step)
    display(HTML(f"figure {{step}} of {{rank}}"), HTML("table"))
    dist.barrier()"""


@pytest.mark.parametrize("wait", [True, False])
def test_of_frames_that_are_cleared_the_last_one_is_seen(notebook, wait):
    assert notebook.run(_FRAMES.format(wait=wait))["status"] == "ok"
    shown = "<IPython.core.display.HTML object>"
    seen = notebook.seen
    assert seen[0] == "[0-2] step 2"
    captions = [line for line in seen[1:] if line != shown]
    assert seen.count(shown) == len(captions)
    # A figure of each rank's own, and a table, which ranks far apart in time show one by one.
    of = [rank for caption in captions for rank in ranks.parse(caption.strip("[]"), 3)]
    assert sorted(of) == [0, 0, 1, 1, 2, 2]
    assert list(dict.fromkeys(of)) == [0, 1, 2]


def test_a_display_is_updated_from_a_later_cell(notebook):
    notebook.run(
        "%%dist\nfrom IPython.display import display, update_display\n"
        "_ = display({'lr': 1}, display_id='state')"
    )
    shown = [content["transient"] for content in notebook.of("display_data")]
    notebook.run("%%dist\nupdate_display({'lr': 2}, display_id='state')")
    updates = notebook.of("update_display_data")
    assert {update["data"]["text/plain"] for update in updates} == {"{'lr': 2}"}
    assert all(update["transient"] in shown for update in updates)
    assert notebook.of("display_data") == []


def test_output_printed_inside_an_output_widget_goes_into_the_widget(notebook):
    code = """%%dist -r 1
import ipywidgets
from IPython.display import HTML, clear_output, display
out = ipywidgets.Output()
display(out)
print("before")
with out:
    print("taken back")
    clear_output(wait=True)
    print("inside")
    display(HTML("shown"))
    print("error", file=__import__("sys").stderr)
    1 / 0
print("after")"""
    assert notebook.run(code)["status"] == "ok"
    assert notebook.stdout == "[1] before\n[1] after\n"
    assert notebook.stderr == ""
    states = [message["data"].get("state", {}) for message in notebook.of("comm_msg")]
    *_, last = [state["outputs"] for state in states if "outputs" in state]
    kinds = [(one["output_type"], one.get("text") or one.get("ename")) for one in last]
    assert kinds == [
        ("stream", "inside\n"),
        ("display_data", None),
        ("stream", "error\n"),
        ("error", "ZeroDivisionError"),
    ]
    assert "    1 / 0" in last[-1]["traceback"]


def test_a_rank_that_hangs_inside_an_output_widget_is_freed_and_its_cell_ends(notebook):
    code = """%%dist
out = __import__("ipywidgets").Output()
with out:
    if rank:
        dist.all_reduce(torch.ones(1))
    print("not reached by ranks that were freed") if rank else None
went_on = True"""
    assert notebook.run("%%dist\nwent_on = False")["status"] == "ok"
    reply = notebook.run(code)
    assert (reply["status"], reply["ename"]) == ("error", "HangError")
    notebook.run("%dist went_on")
    assert notebook.shown == ["[0] True\n[1-2] False"]


def test_a_thread_can_show_something(notebook):
    code = """%%dist -r 0
import threading
from IPython.display import HTML, display
thread = threading.Thread(target=lambda: display(HTML("x"), {"of": "a thread"}))
thread.start()
thread.join()"""
    notebook.run(code)
    assert "{'of': 'a thread'}" in notebook.seen


def test_mode_on_sends_plain_cells_to_the_ranks(notebook):
    notebook.run("%dist_mode on")
    try:
        notebook.run("print('everywhere')")
        assert by_rank(notebook.stdout, 3) == {rank: ["everywhere"] for rank in range(3)}
        notebook.run("%%local\nprint('here')")
        assert notebook.stdout == "here\n"
        notebook.run("%dist_pull rank\nprint(rank)")
        assert notebook.stdout == "{0: 0, 1: 1, 2: 2}\n"
    finally:
        notebook.run("%dist_mode off")
    notebook.run("print('here')")
    assert notebook.stdout == "here\n"


def test_a_cell_with_no_wait_runs_in_the_background(notebook, tmp_path):
    sign = tmp_path / "seen"
    code = f"%%dist --no-wait -o later\nprint('bg')\n{waits_for(sign)}print('end')"
    assert notebook.run(code)["status"] == "ok"
    assert notebook.run("%dist 1")["status"] == "error"
    assert "running a cell on ranks 0-2: wait" in notebook.stderr
    sign.touch()
    notebook.run("while 'later' not in globals(): pass")
    notebook.run("print(later.ok, later[0].stdout.split())")
    assert notebook.stdout == "True ['bg', 'end']\n"


def test_out_keeps_the_result(notebook):
    notebook.run("%%dist -o kept\nprint('x'); rank * 2")
    notebook.run("print(kept.ok, kept[2].result_repr, repr(kept[0].stdout), len(kept))")
    assert notebook.stdout == "True 4 'x\\n' 3\n"


def test_status_answers_and_the_dashboard_has_three_forms(notebook):
    notebook.run("%dist_status")
    [table] = notebook.of("execute_result")
    assert table["data"]["text/plain"].startswith("gloo · 3 ranks · generation")
    assert "<table" in table["data"]["text/html"]
    notebook.run("%dashboard")
    table, live = notebook.of("display_data")
    assert "<table" in table["data"]["text/html"]
    assert table["data"]["text/plain"].startswith("gloo · 3 ranks")
    assert "application/vnd.jupyter.widget-view+json" in live["data"]


def test_the_kernel_never_initialises_cuda(notebook):
    notebook.run(
        "import sys\nt = sys.modules.get('torch')\nprint(t is not None and t.cuda.is_initialized())"
    )
    assert notebook.stdout == "False\n"


def test_a_reset_while_a_cell_runs_is_refused_in_one_line(notebook):
    notebook.run("%%dist --no-wait -o slow\nimport time\ntime.sleep(60)")
    assert notebook.run("%dist_init gloo")["status"] == "error"
    said = "The session is running a cell on ranks 0-2: wait, or run %dist_interrupt."
    assert notebook.stderr == f"UsageError: {said}\n"
    notebook.run("%dist_interrupt")
    notebook.run("while 'slow' not in globals(): pass\nprint(slow[0].error.ename)")
    assert notebook.stdout == "KeyboardInterrupt\n"
    wait_until(lambda: notebook.run("%dist 1")["status"] == "ok")


@pytest.fixture
def command(capsys):
    """Runs a command in this process, which is another than the kernel; returns what it prints."""

    def run(*words, code=0):
        end = main(words)
        said = capsys.readouterr()
        assert end == code, (words, end, said)
        return said.err if code == End.NOT_YOURS else said.out

    return run


def test_a_terminal_explains_a_hang_and_frees_it_by_way_of_the_kernel(
    notebook, command, capsys, tmp_path
):
    notebook.start(
        '%%dist --on-hang wait\nif rank == 1:\n    raise KeyError("lost")\ndist.barrier()'
    )

    def is_proven():
        main(["why", "--json"])
        return json.loads(capsys.readouterr().out)["proven"]

    wait_until(is_proven)
    why = [sys.executable, "-m", "rankbook", "why"]
    said = subprocess.run(why, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == End.HANGS
    assert re.match(
        r"Rank 1 raised KeyError: 'lost' \(In \[\d+\] line 3: raise KeyError\(\"lost\"\)\), and "
        r"ranks 0,2 wait for it in barrier #\d+ \(In \[\d+\] line 4: dist.barrier\(\)\)\.",
        said.stdout,
    )
    folder = str(tmp_path / "calls")
    assert json.loads(command("why", "--json", "--save", folder, code=4))["ranks"] == [1]
    analyser = [sys.executable, "-m", "torch.distributed.flight_recorder.fr_trace", folder]
    said = subprocess.run(analyser, capture_output=True, text=True, timeout=60, check=True).stderr
    assert "collective: gloo:barrier\nmissing ranks: {1}" in said
    assert "line 4, in <module>\n    dist.barrier()" in command("stacks")
    assert "ranks 0,2 in a collective" in command("status")

    [cluster] = json.loads(command("clusters", "--json"))
    [owner] = cluster["owners"]
    assert (owner["pid"], owner["is_kernel"]) == (notebook.manager.provisioner.pid, True)
    uses = f"A notebook's kernel (pid {owner['pid']} in {owner['folder']}) uses {cluster['name']}"
    assert command("run", "1", code=5).startswith(uses)
    assert command("restart", code=5).startswith(uses)

    assert command("interrupt") == "Interrupted: the ranks are free.\n"
    reply = notebook.finish()
    assert (reply["status"], reply["ename"]) == ("error", "HangError")
    assert notebook.run("%dist dist.barrier()")["status"] == "ok"
    assert command("why").startswith("Every rank is idle.")
    assert command("interrupt") == "Nothing runs on any rank.\n"


def test_a_benchmark_is_a_table_with_a_plot(notebook):
    assert notebook.run("%dist_bench all_reduce --sizes 4K,64K --rounds 1")["status"] == "ok"
    [shown] = notebook.of("execute_result")
    assert "no network" in shown["data"]["text/plain"]
    assert "<img" in shown["data"]["text/html"]
    assert notebook.run("%dist_bench frob")["status"] == "error"
    assert "'frob' cannot be measured" in notebook.stderr


def test_a_profiled_cell_shows_where_its_time_went_below_its_output(notebook, tmp_path):
    path = tmp_path / "step.json.gz"
    code = f"%%dist --profile={path}\nprint('hello')\ndist.barrier()"
    assert notebook.run(code)["status"] == "ok"
    assert notebook.stdout == "[0-2] hello\n"
    [shown] = notebook.shown
    assert "waiting for others" in shown
    assert str(path) in shown
    assert path.exists()


@pytest.mark.slow
def test_sessions_that_have_ended_leave_no_threads_and_open_files(ipython_dir):
    """A loop runs in a kernel, beside which ipyparallel would leave others running."""
    cycle = "%dist_init gloo -n 1 --no-dashboard\n%dist_reset --hard\n%dist_shutdown"
    with notebook_with_magics() as notebook:
        kernel = psutil.Process(notebook.manager.provisioner.pid)

        def open_in_kernel():
            assert notebook.run("import gc\ngc.collect();")["status"] == "ok"
            return kernel.num_threads(), kernel.num_fds()

        assert notebook.run(cycle)["status"] == "ok"
        threads, files = open_in_kernel()
        for _ in range(2):
            assert notebook.run(cycle)["status"] == "ok"

        def is_as_before():
            now = open_in_kernel()
            return now[0] <= threads and now[1] <= files

        wait_until(is_as_before)
