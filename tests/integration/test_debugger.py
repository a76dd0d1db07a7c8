"""Ranks that stop at a prompt, in a real kernel: what is asked, what is answered, what remains."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from kernels import notebook_with_magics
from lines import by_rank
from processes import has_ended, let_pass, wait_until

from rankbook.display.text import plain

GENERATION = "print(__import__('rankbook').session().generation)"


@pytest.fixture(scope="module")
def notebook(ipython_dir):
    with notebook_with_magics() as notebook:
        assert notebook.run("%dist_init gloo -n 3 --no-dashboard")["status"] == "ok"
        yield notebook
        notebook.run("%dist_shutdown")


def stop(notebook, cell, *lines):
    """Run a cell and type at its prompts; return the prompts and the reply of the cell."""
    notebook.start(cell)
    prompts = notebook.says(*lines)
    return prompts, notebook.finish()


def error_of(notebook):
    [error] = notebook.of("error")
    return error["evalue"]


def works(notebook):
    """Whether the next collective of all ranks gives the right sum."""
    notebook.run("%%dist\none = torch.ones(1)\ndist.all_reduce(one)\none.item()")
    return notebook.shown == ["[0-2] 3.0"]


def test_a_breakpoint_asks_once_for_all_ranks_and_merges_what_they_say(notebook):
    cell = "%%dist\nx = rank * 10\nbreakpoint()\ny = x + 1"
    prompts, reply = stop(notebook, cell, "p x", "p world_size", "c")
    number = reply["execution_count"]
    assert reply["status"] == "ok"
    assert prompts == [f"[0-2] In [{number}] line 3 \N{BLACK RIGHT-POINTING SMALL TRIANGLE} "] * 3
    assert notebook.stdout.splitlines() == [
        f"[0-2] > In [{number}] line 3",
        "[0-2] -> breakpoint()",
        "[0] 0",
        "[1] 10",
        "[2] 20",
        "[0-2] 3",
    ]
    notebook.run("%dist y")
    assert notebook.shown == ["[0] 1\n[1] 11\n[2] 21"]


def test_a_command_for_one_rank_reaches_only_that_one(notebook):
    _, reply = stop(notebook, "%%dist\nbreakpoint()\nmine = 0", "1: !mark = 1", "7: p 1", "c")
    assert reply["status"] == "ok"
    assert "There is no rank 7" in notebook.stdout
    notebook.run("%dist 'mark' in globals()")
    assert notebook.shown == ["[0,2] False\n[1] True"]


def test_ranks_step_together_through_a_cell_and_into_a_function(notebook):
    cell = "%%dist\ndef f(v):\n    w = v + 1\n    return w\nbreakpoint()\nq = f(rank)\nlast = 1"
    prompts, reply = stop(notebook, cell, "n", "s", "n", "up", "p q", "c")
    assert reply["status"] == "ok"
    assert [re.search(r"line \d+", prompt)[0] for prompt in prompts] == [
        *("line 5", "line 6", "line 2", "line 3", "line 6", "line 6")
    ]
    assert "NameError: name 'q' is not defined" in notebook.stdout
    notebook.run("%dist [name for name in ('__return__', '__exception__') if name in globals()]")
    assert notebook.shown == ["[0-2] []"]


def test_ranks_step_past_the_end_of_a_coroutine_to_the_next_line_of_the_cell(notebook):
    cell = (
        "%%dist\nimport asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return rank\n"
        "breakpoint()\nv = await f()\nw = v + 1"
    )
    prompts, reply = stop(notebook, cell, "n", "s", "n", "n", "n", "p v", "c")
    assert reply["status"] == "ok"
    lines = [re.search(r"In \[\d+\] line (\d+)", prompt)[1] for prompt in prompts]
    assert lines == ["6", "7", "3", "4", "5", "8", "8"]


def test_until_means_a_line_of_the_cell(notebook):
    cell = "%%dist\nbreakpoint()\na = 1\nb = 2\nc = 3"
    prompts, _ = stop(notebook, cell, "until 5", "c")
    assert prompts[1].endswith("line 5 \N{BLACK RIGHT-POINTING SMALL TRIANGLE} ")


def test_a_step_over_a_collective_that_others_have_reached_completes_it(notebook):
    cell = "%%dist\nt = torch.ones(1)\nif rank == 2: breakpoint()\ndist.all_reduce(t)\nt.item()"
    prompts, reply = stop(notebook, cell, "n", "p t", "c")
    assert reply["status"] == "ok"
    assert all(prompt.startswith("[2] In [") for prompt in prompts)
    assert notebook.shown == ["[0-2] 3.0"]


def test_ranks_that_wait_for_one_at_the_prompt_are_named_and_never_freed(notebook):
    notebook.start("%%dist --timeout 1\nif rank == 1: breakpoint()\ndist.barrier()\n'well'")
    notebook.asked()
    let_pass(3)  # three times the cell's own timeout, and time enough for a false verdict
    notebook.client.input("ranks")
    notebook.says("c")
    assert notebook.finish()["status"] == "ok"
    assert notebook.shown == ["[0-2] 'well'"]
    told = [line for line in notebook.stdout.splitlines() if "have waited for it" in line]
    assert len(told) == 1
    assert "Rank 1 stands at a prompt (In [" in told[0]
    assert re.search(r"ranks 0,2 have waited for it in barrier #\d\.$", told[0])
    assert re.search(r"ranks 0,2  wait in barrier", notebook.stdout)
    assert re.search(r"rank 1     stands at a prompt \(In \[\d+\] line 2\)", notebook.stdout)


def test_the_timeout_of_the_group_does_not_run_at_the_prompt_but_after_it(notebook):
    notebook.run("%dist_init gloo --timeout 0.02 --no-dashboard")  # 1.2 s
    try:
        notebook.start("%%dist\nif rank == 1: breakpoint()\ndist.barrier()\n'well'")
        notebook.asked()
        let_pass(2.4)  # twice the group's timeout
        notebook.client.input("c")
        assert notebook.finish()["status"] == "ok", notebook.of("error")
        notebook.run("%%dist --on-hang wait\nif rank: dist.barrier()")
        assert "A collective took longer than the group's timeout of 0.02 min." in error_of(
            notebook
        )
    finally:
        notebook.run("%dist_init gloo --timeout 1 --no-dashboard")


def test_quit_ends_the_cell_on_all_ranks_and_leaves_a_group_that_works(notebook):
    cell = "%%dist\nkept = rank\nif rank != 1: breakpoint()\ndist.barrier()"
    _, reply = stop(notebook, cell, "q")
    assert reply["status"] == "error"
    assert re.match(
        r"Ended at the prompt by q \(ranks 0,2: In \[\d+\] line 3\)", error_of(notebook)
    )
    assert "the process group was re-created" in error_of(notebook)
    assert "Traceback" not in plain("\n".join(notebook.of("error")[0]["traceback"]))
    assert works(notebook)
    notebook.run("%dist kept")
    assert notebook.shown == ["[0] 0\n[1] 1\n[2] 2"]


def test_quit_where_the_code_goes_on_all_the_same_still_fails_the_cell(notebook):
    swallows = (
        "%%dist\nfor _ in range(3):\n    try: breakpoint()\n    except BaseException: pass\n'on'"
    )
    _, reply = stop(notebook, swallows, "q")
    assert reply["status"] == "error"
    assert error_of(notebook).startswith("Ended at the prompt by q")
    assert notebook.stdout.count("breakpoint()") == 1
    assert works(notebook)


def test_the_notebooks_own_debug_magic_looks_back_on_the_ranks_that_failed(notebook):
    notebook.run("%%dist\ndef fails(size):\n    return size / 0\nfails(rank)")
    prompts, reply = stop(notebook, "%debug", "p size", "q")
    assert reply["status"] == "ok"
    assert all(prompt.startswith("[0-2] In [") for prompt in prompts)
    assert by_rank(notebook.stdout, 3)[2][-1] == "2"


def test_the_stop_button_ends_a_cell_at_the_prompt(notebook):
    notebook.start("%%dist\nbreakpoint()")
    notebook.asked()
    began = time.monotonic()
    notebook.manager.interrupt_kernel()
    assert notebook.finish()["status"] == "error"
    assert time.monotonic() - began < 3
    assert "Interrupted at a prompt" in error_of(notebook)
    assert works(notebook)


def test_a_front_end_that_cannot_ask_fails_the_cell_with_one_line(notebook):
    for code, where in [
        ("breakpoint()", r"ranks 0-2: In \[\d+\] line 2"),
        ("input('?')", r"input\(\) of ranks 0-2"),
    ]:
        notebook.messages = []
        notebook.id = notebook.client.execute(f"%%dist\n{code}", allow_stdin=False)
        assert notebook.finish()["status"] == "error"
        assert re.match(
            rf"A prompt was reached \({where}\), and this front end cannot ask", error_of(notebook)
        )
        assert len(notebook.of("error")[0]["traceback"]) == 1
    assert works(notebook)


def test_a_cell_in_the_background_cannot_ask_and_says_so(notebook):
    notebook.run("%%dist --no-wait -o left\nbreakpoint()")
    wait_until(lambda: notebook.run("left.ended")["status"] == "ok", 20)
    assert "--no-wait cannot ask" in "".join(notebook.shown)
    assert works(notebook)


def test_the_distributed_breakpoint_stops_one_rank_while_the_others_wait(notebook):
    cell = "%%dist\nimport time\ndist.breakpoint(1)\nafter = time.time()\nafter > 0"
    prompts, reply = stop(notebook, cell, "!before = time.time(); time.sleep(0.3)", "c")
    assert reply["status"] == "ok"
    assert all(prompt.startswith("[1] In [") for prompt in prompts)
    notebook.run(
        "%%dist\nbegan = torch.tensor([before if rank == 1 else 0.0], dtype=torch.float64)\n"
        "dist.broadcast(began, 1)\nafter - began.item() >= 0.3"
    )
    assert notebook.shown == ["[0-2] True"]


def test_input_and_getpass_of_a_rank_ask_in_the_notebook(notebook):
    prompts, _ = stop(notebook, "%%dist\nname = input('name? ') if rank == 1 else ''\nname", "Ada")
    assert prompts == ["[1] name? "]
    assert notebook.shown == ["[0,2] ''\n[1] 'Ada'"]
    notebook.start("%%dist\nimport getpass\nlen(getpass.getpass())")
    assert notebook.asked() == ("[0-2] Password: ", True)
    notebook.client.input("secret")
    assert notebook.finish()["status"] == "ok"
    assert notebook.shown == ["[0-2] 6"]


def test_with_pdb_a_rank_stops_where_the_cell_fails_and_the_error_is_still_shown(notebook):
    cell = "%%dist --pdb\nw = rank\n1 / (rank - 1)\ndist.barrier()"
    prompts, reply = stop(notebook, cell, "p w", "q")
    assert [prompt.partition(" ")[0] for prompt in prompts] == ["[1]", "[1]"]
    assert by_rank(notebook.stdout, 3)[1][0] == "ZeroDivisionError: division by zero"
    assert by_rank(notebook.stdout, 3)[1][-1] == "1"
    assert reply["status"] == "error"
    assert error_of(notebook).startswith("ZeroDivisionError on rank 1: division by zero")
    assert works(notebook)


def test_with_pdb_a_rank_stops_where_a_script_fails_while_its_group_is_there(notebook, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import torch.distributed as dist\ndist.init_process_group('gloo')\n"
        "def step(size):\n    return 1 / (size - 1)\nstep(dist.get_rank())\ndist.barrier()\n"
    )
    said = ("p size", "p dist.get_world_size()", "q")
    prompts, reply = stop(notebook, f"%dist_run --pdb {script}", *said)
    assert [prompt.partition(" ")[0] for prompt in prompts] == ["[1]"] * 3
    assert prompts[0].startswith("[1] train.py line 4 ")
    # Between the answers it is said who waits for rank 1, where a machine takes its time.
    answers = [line for line in notebook.stdout.splitlines() if line.startswith("[1] ")]
    assert answers[-2:] == ["[1] 1", "[1] 3"]
    assert reply["status"] == "error"
    assert error_of(notebook).startswith("ZeroDivisionError on rank 1: division by zero")
    assert works(notebook)


def test_looking_back_opens_the_users_frame_on_the_rank_that_failed_first(notebook):
    notebook.run(
        "%%dist\nimport time\ndef inner(size):\n    return torch.ones(2) @ torch.ones(size)\n"
        "if rank != 2: time.sleep(0.5)\ninner(3 if rank == 2 else 4)"
    )
    prompts, reply = stop(notebook, "%dist_debug", "p size", "up", "q")
    assert reply["status"] == "ok"
    assert all(prompt.startswith("[2] In [") for prompt in prompts)
    assert prompts[0].endswith("line 4 \N{BLACK RIGHT-POINTING SMALL TRIANGLE} ")
    assert prompts[2].endswith("line 6 \N{BLACK RIGHT-POINTING SMALL TRIANGLE} ")
    assert by_rank(notebook.stdout, 3)[2][3] == "3"
    prompts, _ = stop(notebook, "%dist_debug 0-1", "q")
    assert prompts[0].startswith("[0-1] ")


def test_looking_back_at_a_cell_of_which_nothing_ran_asks_for_nothing(notebook):
    notebook.run("import rankbook; rankbook.session().run('x = = 1')")
    assert notebook.run("%dist_debug")["status"] == "ok"
    assert "SyntaxError: invalid syntax" in notebook.stdout
    assert "there is no frame to look at" in notebook.stdout
    assert works(notebook)


def test_a_breakpoint_in_a_thread_and_in_a_hook_of_backward_stops_there(notebook):
    thread = (
        "%%dist\nimport threading\ndef work():\n    deep = 5\n    breakpoint()\n"
        "t = threading.Thread(target=work); t.start(); t.join()\n'joined'"
    )
    _, reply = stop(notebook, thread, "p deep", "c")
    assert reply["status"] == "ok"
    assert by_rank(notebook.stdout, 3)[0][-1] == "5"
    _, reply = stop(notebook, thread, "q")
    assert reply["status"] == "error"
    assert notebook.stderr == ""
    hook = (
        "%%dist\nfrom torch.nn.parallel import DistributedDataParallel as DDP\n"
        "m = DDP(torch.nn.Linear(2, 2))\n"
        "def hook(grad):\n    breakpoint()\n    return grad\n"
        "m.module.weight.register_hook(hook)\nm(torch.ones(1, 2)).sum().backward()\n'fine'"
    )
    _, reply = stop(notebook, hook, "p grad.shape", "c")
    assert reply["status"] == "ok", notebook.of("error")
    assert "[0-2] torch.Size([2, 2])" in notebook.stdout
    assert works(notebook)


def test_a_breakpoint_in_a_worker_of_a_data_loader_says_where_it_can_be(notebook):
    reply = notebook.run(
        "%%dist -r 0\nclass Two(torch.utils.data.Dataset):\n    def __len__(self): return 2\n"
        "    def __getitem__(self, i): breakpoint()\n"
        "list(torch.utils.data.DataLoader(Two(), num_workers=1, multiprocessing_context='fork'))"
    )
    assert reply["status"] == "error"
    text = "\n".join(notebook.of("error")[0]["traceback"])
    assert "is a child of this rank, and only the rank itself can ask" in text
    assert "num_workers=0" in text


def test_a_rank_that_is_killed_at_the_prompt_ends_the_cell(notebook):
    notebook.start("%%dist\nimport os\nif rank == 2: print(os.getpid()); breakpoint()")
    notebook.asked()
    pids = []

    def is_told():
        message = notebook.client.get_iopub_msg(timeout=5)
        pids.extend(re.findall(r"\[2\] (\d+)", message["content"].get("text", "")))
        return pids

    wait_until(is_told, 20)
    began = time.monotonic()
    os.kill(int(pids[0]), signal.SIGKILL)
    assert notebook.finish()["status"] == "error"
    assert time.monotonic() - began < 3
    assert "Rank 2 was killed by SIGKILL" in error_of(notebook)
    assert notebook.run("%dist_restart")["status"] == "ok"
    assert works(notebook)


def test_a_kernel_that_is_restarted_at_the_prompt_leaves_no_rank(notebook):
    notebook.run("%%dist\nimport os\nos.getpid()")
    pids = [int(line.split()[1]) for line in notebook.shown[0].splitlines()]
    assert not any(map(has_ended, pids))
    notebook.start("%%dist\nbreakpoint()")
    notebook.asked()
    notebook.restart()
    wait_until(lambda: all(map(has_ended, pids)), 20)
    assert notebook.run("%dist_init gloo -n 3 --no-dashboard")["status"] == "ok"
    assert works(notebook)


def test_100_stops_steps_and_quits_leave_no_rank_stuck_and_lose_nothing(notebook):
    notebook.run("%dist treasure = rank + 7")
    for number in range(20):
        cell = "%%dist\nbreakpoint()\na = 1\nif rank == 1: breakpoint()\ndist.barrier()"
        _, reply = stop(notebook, cell, "n", "n", "ranks", *(["c", "c"] if number % 2 else ["q"]))
        if number % 2:
            assert reply["status"] == "ok", notebook.of("error")
        else:
            assert error_of(notebook).startswith("Ended at the prompt by q")
    assert works(notebook)
    notebook.run("%dist treasure")
    assert notebook.shown == ["[0] 7\n[1] 8\n[2] 9"]


def test_looking_back_beside_an_editors_debugger_prints_no_warning_of_it(notebook):
    """The last of this file: from then on breakpoint() belongs to the editor."""
    notebook.run("%dist_debug --attach")
    assert len(re.findall(r"attach to 127\.0\.0\.1:\d+", notebook.stdout)) == 3
    notebook.run("%%dist\nx = rank\n1 / 0")
    _, reply = stop(notebook, "%dist_debug 0", "p x + 41", "q")
    assert reply["status"] == "ok"
    assert "41" in notebook.stdout
    assert "PYDEV" not in notebook.stdout + notebook.stderr
