"""The script behind `make demo`, in a home whose own "python3" kernel does not work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_notebook.py"


@pytest.fixture
def run_cells(tmp_path):
    spec = tmp_path / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "Broken", "language": "python"}))

    def run(*cells):
        path = tmp_path / "some.ipynb"
        nbformat.write(new_notebook(cells=list(cells)), path)
        return subprocess.run(
            [sys.executable, SCRIPT, path],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
            env={
                **os.environ,
                "JUPYTER_PREFER_ENV_PATH": "0",
                "JUPYTER_DATA_DIR": spec.parents[2].as_posix(),
            },
        )

    return run


SAYS = "import os\nos.write(2, b'a word of its own\\n')"
"""A cell after which the kernel's own stderr has something, which is shown only if it dies."""


def test_prints_sources_and_outputs(run_cells, tmp_path):
    done = run_cells(
        new_markdown_cell("# A title"),
        new_code_cell("import sys, os\nprint(sys.executable)\nos.getcwd()"),
        new_code_cell(
            "from IPython.display import display\n"
            "handle = display({'text/plain': 'first'}, raw=True, display_id=True)\n"
            "handle.update({'text/plain': 'redrawn'}, raw=True)\n"
            "handle.update({'text/plain': 'redrawn twice'}, raw=True)\n"
            "import atexit; atexit.register(open('ended', 'w').close);"
        ),
        new_code_cell(SAYS),
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    for line in ("# A title", "print(sys.executable)", sys.executable, repr(str(tmp_path))):
        assert line in shown
    assert [line for line in shown if line in ("first", "redrawn", "redrawn twice")] == [
        *("first", "redrawn twice")
    ]
    assert (tmp_path / "ended").exists(), "the kernel was not ended in an orderly way"


def test_stops_at_an_error(run_cells):
    done = run_cells(new_code_cell("1 / 0"), new_code_cell("print('never')"))
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stdout
    assert "never" not in done.stdout
    assert done.stderr.endswith("some.ipynb: stopped: ZeroDivisionError\n")


def test_what_a_kernel_said_is_shown_if_it_dies(run_cells):
    done = run_cells(new_code_cell(SAYS), new_code_cell("os.abort()"))
    assert done.returncode == 1
    assert done.stderr.startswith("a word of its own\n")
    assert "some.ipynb: stopped: Kernel died" in done.stderr
