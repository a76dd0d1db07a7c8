"""The quickstart does what its text says, from the first cell to the last, in a real kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def executed():
    notebook = nbformat.read(NOTEBOOKS / "00_quickstart.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", coalesce_streams=True)
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell):
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type != "error":
            texts.append(output.data.get("text/plain", "") + "\n")
    return "".join(texts)


def cell_with(executed, text):
    [cell] = [cell for cell in executed if text in cell.source]
    return shown(cell)


def test_the_dashboard_is_there_in_three_forms(executed):
    [init] = [cell for cell in executed if cell.source == "%dist_init gloo -n 2"]
    dashboard, live = init.outputs
    assert "<table" in dashboard.data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in live.data
    assert dashboard.data["text/plain"].startswith("gloo · 2 ranks · generation 1 · all idle\n")


def test_all_reduce_gives_the_sum(executed):
    assert cell_with(executed, "x = torch.tensor([float(rank + 1)]") == "[0-1] tensor([3.])\n"


def test_lines_carry_their_ranks(executed):
    assert cell_with(executed, "and this, all ranks say alike").splitlines() == [
        "[0] rank 0 of 2 computes on cpu",
        "[1] rank 1 of 2 computes on cpu",
        "[0-1] and this, all ranks say alike",
    ]


def test_the_model_learns_and_its_weights_agree(executed):
    assert cell_with(executed, "dist.all_gather(others, weights)") == "[0-1] True\n"
    first, *_, last = cell_with(executed, "loss.backward()").splitlines()
    assert float(last.split()[-1]) < float(first.split()[-1])


def test_variables_are_still_there_after_a_reset(executed):
    assert "the model is still here: " in cell_with(executed, "the model is still here")
    assert cell_with(executed, '"model" in globals()').splitlines() == [
        "[0-1] True",
        "[2] False",
        "[0-2] tensor([3.])",
    ]


def test_it_stops_what_it_started(executed):
    assert executed[-1].source == "%dist_shutdown"
    left = [p for p in psutil.Process().children(recursive=True) if "rankbook" in p.cmdline()]
    assert left == []


def test_the_notebook_is_kept_without_outputs():
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
