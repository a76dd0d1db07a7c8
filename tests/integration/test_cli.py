"""A terminal beside ranks that no notebook uses; ``test_kernel.py`` has the one beside a hang."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def terminal(*words, code=0, given=None):
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "rankbook", *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "\x1b" not in done.stdout + done.stderr  # no terminal shows the colours
    return done.stdout


@pytest.mark.slow
def test_a_terminal_runs_code_on_ranks_that_no_notebook_uses(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    start = "import rankbook; rankbook.start('gloo', 2, keep=True).push(x=5)"
    subprocess.run([sys.executable, "-c", start], check=True, timeout=60)
    try:
        assert terminal("run", "print('hello'); x + rank") == "[0-1] hello\n[0] 5\n[1] 6\n"
        said = json.loads(terminal("run", "--json", "-", "-r", "1", given="x"))
        assert said["ranks"]["1"]["result"] == "5"
        terminal("run", "1 / 0", code=1)
        terminal("run", "if rank: dist.barrier()", code=4)
        assert terminal("run", "dist.barrier()") == ""
        assert "used by nobody" in terminal("clusters")
        terminal("run", "import os; os._exit(3) if rank else None", code=6)
        assert "rank 1 ended" in terminal("status", code=6)
        terminal("run", "x", code=6)
        assert "Rank 1 has from rank 0 its x." in terminal("restart", "--from", "0")
        assert terminal("run", "x") == "[0-1] 5\n"
    finally:
        end = "import rankbook as r; r.connect(cluster_id=r.clusters()[0].name).shutdown()"
        subprocess.run([sys.executable, "-c", end], check=True, timeout=60)
    terminal("why", code=3)
