"""Code that never stops printing: what is shown of it is bounded, and an interrupt ends it."""

from __future__ import annotations

import pytest

BETWEEN = 1_000_000
"""Characters that are kept of what is printed between two cells."""

PRINTS = "while True: print('and on and on')"
FLOODS = {
    "a thread": f"""import threading
def flood():
    {PRINTS.replace("True", "not stop.is_set()")}
stop = threading.Event()
thread = threading.Thread(target=flood, daemon=True)
thread.start()""",
    "a child": f"""import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {PRINTS!r}])""",
}
STOPS = {
    "a thread": "stop.set()\nthread.join()",
    "a child": "child.kill()\nchild.wait()",
}
IN_CELLS = {
    "a cell": PRINTS,
    "its child": f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {PRINTS!r}])",
    "its threads": f"{FLOODS['a thread']}\ntry:\n    thread.join()\nfinally:\n    stop.set()",
}


@pytest.mark.parametrize("code", IN_CELLS.values(), ids=IN_CELLS)
def test_a_cell_that_prints_for_ever_is_stopped_and_the_next_one_works(two, code):
    result = two.run(code, timeout=0.5)
    assert all(its.error is not None for its in result.values())
    assert all("and on" in its.stdout for its in result.values())
    assert_quiet(two)


@pytest.mark.parametrize("what", FLOODS)
def test_what_prints_for_ever_between_cells_is_bounded_and_can_be_stopped(two, what):
    assert two.run(FLOODS[what], timeout=30).ok
    result = two.run(f"print('here')\n{STOPS[what]}", timeout=30)
    assert result.ok
    for its in result.values():
        before, _, _ = its.stdout.partition("here")
        assert len(before) < 2 * BETWEEN
    assert_quiet(two)


def test_a_thread_of_a_script_that_writes_past_python_for_ever_can_be_interrupted(two, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, threading\n"
        "def flood():\n    while True: os.write(1, b'and on and on\\n')\n"
        "threading.Thread(target=flood, daemon=True).start()"
    )
    for _ in range(2):
        result = two.run_script(str(script), timeout=2)
        assert all("and on" in its.stdout for its in result.values())
    script.write_text("print('here')")
    assert two.run_script(str(script), timeout=30).ok  # it ends the thread
    assert_quiet(two)


def assert_quiet(session):
    """After at most one more cell, nothing is printed any more, and the group works."""
    session.run("pass", timeout=30).raise_for_error()
    result = session.run("z = torch.ones(1)\ndist.all_reduce(z)\nprint(z.item())", timeout=30)
    result.raise_for_error()
    assert {its.stdout for its in result.values()} == {"2.0\n"}
