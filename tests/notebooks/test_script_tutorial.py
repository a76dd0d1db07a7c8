"""The tutorial about scripts: its script hangs where it says, is corrected, and runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernels import notebook_with_magics

from rankbook.display.text import plain

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "scripts.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks():
    """The page's scripts, and its cells with what they show, each in their order."""
    found = {"scripts": [], "notebook": []}
    for language, text in BLOCK.findall(PAGE.read_text()):
        is_script = language == "python" and not text.startswith("%")
        found["scripts" if is_script else "notebook"].append(text)
    return found


def numbered(text):
    """A number in what the page shows may differ."""
    return re.sub(r"-?\d+\.\d+|#\d+", "N", text)


def test_the_tutorial_about_scripts_works_as_it_is_written(blocks, tmp_path):
    whole, corrected = blocks["scripts"]
    init, run, verdict, again, trained, look = blocks["notebook"]
    script = tmp_path / "train.py"
    first = int(re.search(r"from line (\d+) on", corrected)[1])
    hangs_in = int(re.search(r"train\.py:(\d+)", verdict)[1])
    with notebook_with_magics(cwd=str(tmp_path)) as notebook:
        assert notebook.run(init.splitlines()[1] + " --no-dashboard")["status"] == "ok"

        script.write_text(whole)
        assert "all_reduce" in whole.splitlines()[hangs_in - 1]
        reply = notebook.run(run)
        assert reply["status"] == "error"
        text = plain("\n".join(reply["traceback"]))
        assert numbered(verdict.strip()) in numbered(text)

        head = whole.splitlines(keepends=True)[: first - 1]
        script.write_text("".join(head) + corrected.partition("\n")[2])
        assert notebook.run(again)["status"] == "ok"
        assert numbered(notebook.stdout) == numbered(trained)

        assert notebook.run(look)["status"] == "ok"
        assert notebook.shown
        notebook.run("%dist dist.get_world_size()")
        assert notebook.shown == ["[0-1] 2"]
        notebook.run("%dist_run -r 0 train.py")
        assert "[0] epoch 0" in notebook.stdout
        notebook.run("%dist_shutdown")
