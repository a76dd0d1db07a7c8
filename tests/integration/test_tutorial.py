"""The cells of the tutorials on debugging and on looking inside, run in a real kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernels import notebook_with_magics

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PAGE = TUTORIALS / "debugging.md"
TRIANGLE = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
BLOCK = re.compile(r"```(?:text|python)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def notebook(ipython_dir):
    with notebook_with_magics() as notebook:
        yield notebook
        notebook.run("%dist_shutdown")


def test_both_bugs_are_found_as_the_page_says(notebook):
    blocks = BLOCK.findall(PAGE.read_text())
    prompts = [line for block in blocks for line in block.splitlines() if TRIANGLE in line]
    typed = [line.partition(TRIANGLE)[2].strip() for line in prompts]
    cells = [block for block in blocks if block.startswith("%")]
    said = {}
    for cell in cells:
        code = cell.replace("%load_ext rankbook\n", "")
        notebook.start(code)
        if "breakpoint()" in code:
            asked = notebook.says(*typed)
        reply = notebook.finish()
        assert reply["status"] == "ok", (code, notebook.of("error"))
        said.setdefault(code.strip(), []).append("".join(notebook.shown))
        if "breakpoint()" in code:
            masks = [line for line in notebook.stdout.splitlines() if "tensor(" in line]
    assert said["%dist_diff model"] == ["All 4 tensors agree on ranks 0-3."]
    assert "[0]['params'][4] differs on every rank" in said["%dist_diff optimizer.param_groups"][0]
    assert "\n[0]['params'][5]" in said["%dist_diff optimizer.param_groups"][0]
    assert "weight differs on every rank" in said["%dist_diff head"][0]
    assert said["%dist_diff [*model.parameters(), *head.parameters()]"] == [
        "All 6 tensors agree on ranks 0-3."
    ]
    assert "differs on every rank" in said["%dist_diff head.weight"][0]
    assert not set(re.findall(r"\d\.", said["%dist step()"][0])) <= {"0.", "4."}
    assert said["%dist_diff torch.random.get_rng_state()"][0].startswith("Rank 2's value departs")
    # The extension was loaded in a cell of its own here, before the page's first.
    asked = [re.sub(r"\[(\d+)\]", lambda n: f"[{int(n[1]) - 1}]", line) for line in asked]
    assert asked == [f"{line.partition(TRIANGLE)[0]}{TRIANGLE} " for line in prompts]
    shown = [line for line in PAGE.read_text().splitlines() if re.match(r"\[\d\] tensor", line)]
    assert sorted(masks) == shown  # on a busy machine the second rank may answer first


def test_the_wrong_group_is_found_as_the_page_says(notebook):
    blocks = BLOCK.findall((TUTORIALS / "inside.md").read_text())
    said = ""
    for block in blocks:
        if not block.startswith("%"):
            told = {" ".join(line.split()) for line in said.splitlines()}
            for line in block.splitlines():
                assert " ".join(line.split()) in told, said
            continue
        notebook.start(block.replace("%load_ext rankbook\n", ""))
        reply = notebook.finish()
        assert reply["status"] == "ok", (block, notebook.of("error"))
        said = "".join(notebook.shown)


def test_the_page_about_training_runs_as_it_is_written(notebook, tmp_path):
    (tmp_path / "mymodel.py").write_text("def twice(x):\n    return 2 * x\n")
    notebook.run(f"%cd {tmp_path}")
    page = TUTORIALS.with_name("how-to") / "train.md"
    for block in BLOCK.findall(page.read_text()):
        reply = notebook.run(block.replace("%load_ext rankbook\n", ""))
        assert reply["status"] == "ok", (block, notebook.of("error"))
        assert "Metadata(" not in "".join(notebook.shown)
    assert (tmp_path / "checkpoint" / ".metadata").exists()
    (tmp_path / "mymodel.py").write_text("def twice(x):\n    return 2.0 * x\n")
    notebook.run("%dist mymodel.twice(loss) == 2.0 * loss and type(mymodel.twice(1))")
    assert "[0-3] float" in "".join(notebook.shown)
