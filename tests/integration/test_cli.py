"""A second terminal, beside a real kernel whose cell hangs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from kernels import notebook_with_magics
from processes import wait_until

from rankbook.cli.ends import End
from rankbook.cli.main import main

HANGS = """%%dist --on-hang wait
if rank == 1:
    raise KeyError("lost")
dist.barrier()"""


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
    return done.stdout


@pytest.fixture
def command(capsys):
    """Runs a command in this process, which is another than the kernel; returns what it prints."""

    def run(*words, code=0):
        end = main(words)
        said = capsys.readouterr()
        assert end == code, (words, end, said)
        return said.err if code == End.NOT_YOURS else said.out

    return run


@pytest.fixture(scope="module")
def notebook():
    with notebook_with_magics() as notebook:
        assert notebook.run("%dist_init gloo -n 3 --no-dashboard")["status"] == "ok"
        yield notebook
        notebook.run("%dist_shutdown")


def test_a_terminal_explains_a_hang_and_frees_it_by_way_of_the_kernel(
    notebook, command, capsys, tmp_path
):
    notebook.start(HANGS)

    def is_proven():
        main(["why", "--json"])
        return json.loads(capsys.readouterr().out)["proven"]

    wait_until(is_proven)
    verdict = (
        "Rank 1 raised KeyError: 'lost' (In [3] line 3: raise KeyError(\"lost\")), and ranks 0,2 "
        "wait for it in barrier #1 (In [3] line 4: dist.barrier())."
    )
    assert terminal("why", code=4).startswith(verdict)
    folder = str(tmp_path / "calls")
    assert json.loads(command("why", "--json", "--save", folder, code=4))["ranks"] == [1]
    analyser = [sys.executable, "-m", "torch.distributed.flight_recorder.fr_trace", folder]
    said = subprocess.run(analyser, capture_output=True, text=True, timeout=60, check=True).stderr
    assert "collective: gloo:barrier\nmissing ranks: {1}" in said
    assert "In [3] line 4, in <module>\n    dist.barrier()" in command("stacks")
    assert "ranks 0,2 in a collective" in command("status")

    [cluster] = json.loads(command("clusters", "--json"))
    [owner] = cluster["owners"]
    assert (owner["pid"], owner["is_kernel"]) == (notebook.manager.provisioner.pid, True)
    uses = f"a notebook's kernel (pid {owner['pid']} in {owner['folder']}) uses {cluster['name']}"
    assert command("run", "1", code=5).startswith(uses)
    assert command("restart", code=5).startswith(uses)

    assert command("interrupt") == "Interrupted: the ranks are free.\n"
    reply = notebook.finish()
    assert (reply["status"], reply["ename"]) == ("error", "HangError")
    assert notebook.run("%dist dist.barrier()")["status"] == "ok"
    assert command("why").startswith("Every rank is idle.")
    assert command("interrupt") == "Nothing runs on any rank.\n"


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
    finally:
        end = "import rankbook as r; r.connect(cluster_id=r.clusters()[0].name).shutdown()"
        subprocess.run([sys.executable, "-c", end], check=True, timeout=60)
    terminal("why", code=3)
