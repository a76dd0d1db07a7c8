"""The quickstart does what its text says, from the first cell to the last, in a real kernel."""

from __future__ import annotations

import re

import nbformat
import psutil
import pytest
from executed import NOTEBOOKS, cell_with, error_of, execute, shown
from lines import by_rank
from processes import commands, family


@pytest.fixture(scope="module")
def executed():
    return execute("00_quickstart.ipynb", timeout=120)


def shown_by(executed, text):
    return shown(cell_with(executed, text))


def test_the_dashboard_is_there_in_three_forms(executed):
    [init] = [cell for cell in executed if cell.source == "%dist_init gloo -n 4"]
    dashboard, live = init.outputs
    assert "<table" in dashboard.data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert dashboard.data["text/plain"].startswith("gloo · 4 ranks · generation 1 · all idle\n")


def test_all_reduce_gives_the_sum(executed):
    assert shown_by(executed, "x = torch.tensor([float(rank + 1)]") == "[0-3] tensor([10.])\n"


def test_lines_carry_their_ranks(executed):
    assert by_rank(shown_by(executed, "and every rank prints this"), 4) == {
        rank: [f"rank {rank} of 4 computes on cpu", "and every rank prints this"]
        for rank in range(4)
    }


def test_the_model_learns_and_its_weights_agree(executed):
    assert shown_by(executed, "dist.all_gather(others, weights)") == "[0-3] True\n"
    first, *_, last = shown_by(executed, "loss.backward()").splitlines()
    assert float(last.split()[-1]) < float(first.split()[-1])


def test_variables_are_still_there_after_a_reset(executed):
    assert "the model is still here: " in shown_by(executed, "the model is still here")
    said = by_rank(shown_by(executed, '"model" in globals()'), 5)
    assert said == {rank: [str(rank < 4), "tensor([5.])"] for rank in range(5)}


def test_a_hang_ends_with_a_verdict_and_the_next_cell_works(executed):
    hung = cell_with(executed, "if rank != 2:\n    dist.all_reduce(loss)")
    name, message, traceback = error_of(hung)
    assert name == "HangError"
    assert re.match(
        r"Rank 2 never called all_reduce #\d+, in which ranks 0-1,3 waited "
        r"\(In \[\d+\] line 4: dist\.all_reduce\(loss\)\): its cell had ended\. The ranks are free",
        message,
    )
    assert re.search("◆ rank 2 +was idle: its cell had ended\n", traceback)
    after = cell_with(executed, "total, x")
    assert executed.index(after) > executed.index(hung)
    assert shown(after) == "[0-3] (tensor([4.]), tensor([5.]))\n"


def test_an_exception_is_shown_once_with_what_differs_by_rank(executed):
    name, _, traceback = error_of(cell_with(executed, "torch.ones(3) @ torch.ones(rank + 2)"))
    assert name == "RankError"
    assert traceback.count("Traceback (most recent call last)") == 1
    assert [line[:4] for line in traceback.splitlines() if "inconsistent" in line][-3:] == [
        *("[0] ", "[2] ", "[3] ")
    ]


def test_run_all_goes_on_past_what_waits_for_the_reader(executed):
    for call, what in [
        ('predict("sum"', "Type your prediction"),
        ('check("sum")', "Predict first"),
    ]:
        name, message, _ = error_of(cell_with(executed, call))
        assert (name, message.startswith(what)) == ("LessonError", True), message
    name, message, _ = error_of(cell_with(executed, 'check("largest")'))
    assert name == "CheckFailed"
    assert "The cell has dots left" in message


def test_the_quickstart_stops_what_it_started(executed):
    assert executed[-1].source == "%dist_shutdown"
    assert [left for left in commands(family(psutil.Process())) if "rankbook." in left] == []


def test_the_notebook_is_kept_without_outputs():
    paths = [*NOTEBOOKS.glob("*.ipynb")]
    assert paths
    for path in paths:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
