"""Tab, Shift-Tab and ? for names that live on ranks, in a real kernel."""

from __future__ import annotations

import re
import time

import pytest
from kernels import notebook_with_magics

from rankbook.display.text import plain


@pytest.fixture(scope="module")
def notebook(ipython_dir):
    with notebook_with_magics() as notebook:
        notebook.run("here_only = 1\nget_ipython().Completer.use_jedi = False")
        assert notebook.run("%dist_init gloo -n 3 --no-dashboard")["status"] == "ok"
        notebook.run(
            "%%dist\nmodel = torch.nn.Linear(3, 4)\nthere_only = rank\n"
            "layers = [model]\nstate = model.state_dict()\n"
            "def greet(name, times=3):\n    'Say hello.'\n    return name"
        )
        yield notebook
        notebook.run("%dist_shutdown")


def request(notebook, kind, code):
    began = time.monotonic()
    getattr(notebook.client, kind)(code)
    reply = notebook.client.get_shell_msg(timeout=20)["content"]
    return reply, time.monotonic() - began


def completed(notebook, code):
    reply, _ = request(notebook, "complete", code)
    typed = code[: reply["cursor_start"]]
    return [typed + match for match in reply["matches"]]


def inspected(notebook, code):
    reply, _ = request(notebook, "inspect", code)
    return plain(reply["data"].get("text/plain", ""))


@pytest.mark.parametrize(
    ("code", "whole"),
    [
        ("%%dist\nthere_o", "%%dist\nthere_only"),
        ("%%dist\nmodel.weig", "%%dist\nmodel.weight"),
        ("%%dist\nx = 1\nmodel.weight.requires_grad", "%%dist\nx = 1\nmodel.weight.requires_grad_"),
        ("%%rank 1\nthere_o", "%%rank 1\nthere_only"),
        ("%dist -r 0 model.weig", "%dist -r 0 model.weight"),
        ("%dist_init --on-hang fr", "%dist_init --on-hang free"),
        ("%dist_pull there_o", "%dist_pull there_only"),
        ("%dist_push here_o", "%dist_push here_only"),
        ("\n%%time\n%%dist\n\n\nlayers[0].weig", "\n%%time\n%%dist\n\n\nlayers[0].weight"),
        ("x = %dist state['wei", "x = %dist state['weight"),
        ("%%dist\ntorch.zeros_l", "%%dist\ntorch.zeros_like"),
        ("%dist_init --on-hang=fr", "%dist_init --on-hang=free"),
        ("%%dist -r 0,", "%%dist -r 0,2"),
    ],
)
def test_names_of_ranks_and_options_of_magics_complete(notebook, code, whole):
    assert whole in completed(notebook, code)


def test_names_of_the_notebook_and_of_the_ranks_are_not_mixed_up(notebook):
    assert completed(notebook, "%%dist\nhere_o") == []
    assert completed(notebook, "there_o") == []
    assert completed(notebook, "here_o") == ["here_only"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "there_only",
            "there_only is on ranks 0-2, not in the notebook itself: %dist there_only shows",
        ),
        ("on_one", "on_one is on rank 1, not in the notebook itself: %dist -r 1 on_one shows"),
        ("nowhere", ""),
    ],
)
def test_a_name_that_a_plain_cell_lacks_is_said_to_be_on_ranks(notebook, name, says):
    notebook.run("%dist -r 1 on_one = 1")
    assert notebook.run(name)["ename"] == "NameError"
    assert notebook.stderr.startswith(says)
    assert bool(notebook.stderr) == bool(says)


def test_a_name_that_ranks_lack_is_said_to_be_in_the_notebook(notebook):
    reply = notebook.run("%%dist -r 0,2\nhere_only")
    assert plain("\n".join(reply["traceback"])).splitlines()[-1] == (
        "here_only is in the notebook itself, not on ranks 0,2: %dist_push here_only sends it."
    )


def test_in_dist_mode_plain_cells_complete_on_the_ranks(notebook):
    notebook.run("%dist_mode on")
    try:
        assert "there_only" in completed(notebook, "there_o")
        assert "Say hello." in inspected(notebook, "greet")
        notebook.run("greet?")
        assert "Say hello." in notebook.stdout
        assert completed(notebook, "%%local\nhere_o") == ["%%local\nhere_only"]
    finally:
        notebook.run("%dist_mode off")


def test_inspecting_a_name_shows_equal_answers_of_ranks_once(notebook):
    text = inspected(notebook, "%%dist\nthere_only")
    assert "Type: int" in text
    assert "Value:\n[0] 0\n[1] 1\n[2] 2" in text
    assert "Signature: greet(name, times=3)" in inspected(notebook, "%%dist\ngreet(")
    assert "Value: <function greet>" in inspected(notebook, "%%dist\ngreet")
    assert "Signature: layers[0].forward(" in inspected(notebook, "%%dist\nlayers[0].forward(")
    assert "Type: Linear" in inspected(notebook, "%dist_pull model")
    assert inspected(notebook, "%%dist\nhere_only") == ""


@pytest.mark.parametrize("code", ["%dist greet?", "%%dist\ngreet?", "%dist -r 0-2 greet?"])
def test_a_question_mark_asks_the_ranks(notebook, code):
    notebook.run(code)
    said = plain(notebook.stdout)
    assert "[0-2] Docstring: Say hello." in said
    assert re.search(r"^\[0-2\] File: +In \[\d+\]$", said, re.MULTILINE)


def test_ranks_that_compute_complete_too(notebook):
    notebook.run(
        "%%dist --no-wait\nimport time\nend = time.time() + 3\nwhile time.time() < end: pass"
    )
    assert "%%dist\nmodel.weight" in completed(notebook, "%%dist\nmodel.weig")
    notebook.run("%dist_interrupt")


def test_an_object_that_blocks_prints_or_raises_holds_up_nobody(notebook):
    notebook.run(
        "%%dist\nimport time\nclass Bad:\n"
        "    def __dir__(self): print('noise'); time.sleep(20); return []\n"
        "    def __repr__(self): raise ValueError('no')\n"
        "bad = Bad()\nclass Worse:\n    def __dir__(self): raise ValueError('no')\nworse = Worse()"
    )
    reply, took = request(notebook, "complete", "%%dist\nbad.f")
    assert (reply["matches"], took < 1) == ([], True)
    assert completed(notebook, "%%dist\nworse.f") == []
    for _ in range(30):  # each more would block a thread
        request(notebook, "complete", "%%dist\nbad.f")
    assert "%%dist\nthere_only" in completed(notebook, "%%dist\nthere_o")
    assert "Type: Bad" in inspected(notebook, "%%dist\nbad")
    notebook.run("%dist 'still here'")
    assert notebook.shown == ["[0-2] 'still here'"]
    assert "noise" not in notebook.stdout


def test_the_variables_of_the_ranks_stand_in_one_table(notebook):
    notebook.run("%dist same = torch.ones(2, 3); own = torch.ones(2) * rank")
    notebook.run("%dist_who")
    rows = {line.split()[0]: line.split()[1:] for line in notebook.shown[0].splitlines()[2:]}
    assert rows["same"] == ["0-2", "Tensor", "2x3", "float32", "cpu", "24", "B", "the", "same"]
    assert rows["own"][-2:] == ["all", "differ"]
    assert not {"torch", "rank", "exit", "time"} & rows.keys()


def test_a_value_is_compared_now_and_after_every_cell(notebook):
    notebook.run("%dist_diff --every model.weight.shape")
    assert notebook.shown == ["It is the same on ranks 0-2."]
    notebook.run("%%dist\nif rank == 1: model = torch.nn.Linear(3, 5)")
    assert notebook.stdout == (
        "model.weight.shape: Rank 1's value departs from ranks 0,2: "
        "torch.Size([5, 3]), not torch.Size([4, 3]).\n"
    )
    notebook.run("%dist 1")
    assert notebook.stdout == ""
    notebook.run("%dist_diff --every")
    notebook.run("%%dist\nif rank == 1: model = torch.nn.Linear(3, 4)")
    assert notebook.stdout == ""


def test_the_part_that_begins_to_differ_is_named(notebook):
    notebook.run("%%dist\nparts = {'a': 1, 'b': [1, 2], 'c': 3}")
    notebook.run("%dist_diff --every parts")
    notebook.run("%%dist\nif rank == 1: parts['a'] = 5")
    assert notebook.stdout == (
        "parts: Rank 1's ['a'] departs from ranks 0,2: 5, not 1; 3 of 4 parts agree.\n"
    )
    notebook.run("%%dist\nif rank == 2: parts['c'] = 4")
    assert notebook.stdout == (
        "parts: Rank 1's ['a'] departs from ranks 0,2: 5, not 1; 2 of 4 parts agree. "
        "Since this cell: ['c'].\n"
    )
    notebook.run("%dist_diff --every")


def test_variables_of_living_ranks_can_be_inspected_after_a_death(notebook):
    notebook.run("%dist left = torch.ones(2)")
    notebook.run("%%rank 1\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    try:
        notebook.run("%dist_who")
        assert "no answer from rank 1" in notebook.shown[0]
        notebook.run("%dist_show left")
        assert notebook.shown[0].startswith("left: float32 [2] on ranks 0,2, the same")
        notebook.run("%dist_who -r 1")
        assert "Rank 1 was killed by SIGKILL" in notebook.stderr
    finally:
        notebook.run("%dist_restart")
