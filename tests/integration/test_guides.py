"""The cells of how-to guides, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from kernels import notebook_with_magics

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
CELL = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FIRST = {
    "compare": ("%dist model = torch.nn.Linear(2, 2)",),
    "inspect": ("%%dist\ndef greet(name, times=3):\n    'Say hello.'",),
    "mesh": (),
    "results": ("%dist losses = [0.5]", "config, tokenizer = {'layers': 2}, str.split"),
    "some-ranks": (),
}
"""By guide, what its reader has already."""


def cells_of(guide):
    return CELL.findall((GUIDES / f"{guide}.md").read_text())


@pytest.fixture(scope="module")
def notebook(ipython_dir, tmp_path_factory):
    with notebook_with_magics() as notebook:
        notebook.run(f"%cd {tmp_path_factory.mktemp('guides')}")  # guides write files
        notebook.run("%dist_init gloo -n 4 --no-dashboard")
        yield notebook
        notebook.run("%dist_shutdown")


@pytest.mark.parametrize("guide", FIRST)
def test_cells_of_a_guide_run(notebook, guide):
    for cell in [*FIRST[guide], *cells_of(guide)]:
        reply = notebook.run(cell)
        assert reply["status"] == "ok", (cell, notebook.of("error"))
    notebook.run("%dist_mode off")
    notebook.run("%dist_diff --every")


def test_the_program_without_magics_prints_what_its_comments_say(tmp_path):
    [program] = cells_of("python")
    ran = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    told = re.findall(r"print\(.*\) +# (.*)", program)
    assert ran.stdout.splitlines() == [*told, "['idle', 'idle', 'idle']"]
