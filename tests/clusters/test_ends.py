"""Nothing outlives the notebook on any host, however it goes; and what ends by itself says why."""

from __future__ import annotations

import time

import pytest
from processes import let_pass, wait_until

from clusters.conftest import notebook_on
from clusters.hosts import NODES
from clusters.test_starts import LINES, REDUCE, TWO_BY_TWO, lines_of_ranks

BEGUN = "print('begun', flush=True)\n"
DAEMON = """import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        time.sleep(1000)
    os._exit(0)
os.wait()
"""


@pytest.fixture
def before(clean):
    """The processes on the hosts before a notebook starts."""
    return clean.pids()


@pytest.mark.sample(every=3)
@pytest.mark.parametrize("kind", LINES)
def test_a_killed_kernel_leaves_no_process_no_job_and_no_file(clean, before, tmp_path, kind):
    with notebook_on(clean, "login", tmp_path) as notebook:
        notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
        # While they are stuck, too: nobody can free these ranks any more.
        notebook.start(f"%%dist --on-hang wait\n{DAEMON}{BEGUN}if rank != 3:\n    dist.barrier()")
        notebook.wait_for_output()
        notebook.kill()
        wait_until(lambda: clean.pids() <= before, 20)
        wait_until(lambda: clean.ask("squeue", "--noheader") == "", 10)
        wait_until(lambda: notebook.files() == [], 5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", LINES)
def test_a_kernel_that_is_shut_down_leaves_nothing(clean, before, tmp_path, kind):
    with notebook_on(clean, "login", tmp_path) as notebook:
        notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
        notebook.manager.shutdown_kernel()
        wait_until(lambda: clean.pids() <= before, 10)
        assert clean.ask("squeue", "--noheader") == ""
        assert notebook.files() == []


def test_a_kernel_that_is_killed_while_its_job_is_pending_leaves_no_job(clean, before, tmp_path):
    with notebook_on(clean, "login", tmp_path) as notebook:
        notebook.start("%dist_init gloo --slurm=hold --nodes 2 -n 2")
        wait_until(lambda: "PENDING" in clean.ask("squeue", "-h", "-o", "%T"), 10)
        notebook.kill()
        wait_until(lambda: clean.ask("squeue", "--noheader") == "", 10)
        wait_until(lambda: clean.pids() <= before, 10)


def test_a_cancelled_job_is_said_to_be_cancelled(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['slurm']} --no-dashboard")
    job = clean.ask("squeue", "-h", "-o", "%i").strip()
    notebook.start(f"%%dist\n{BEGUN}import time; time.sleep(60)")
    notebook.wait_for_output()
    begun = time.monotonic()
    clean.ask("scancel", job)
    reply = notebook.finish(30)
    assert time.monotonic() - begun < 10
    why = f"Slurm ended job {job}: it was cancelled"
    assert why in f"{reply['evalue']} {notebook.stderr}"
    status = notebook.ok("%dist_status")
    assert why in status
    assert "ends in" not in status
    notebook.ok("%dist_shutdown")


@pytest.fixture
def fails(clean):
    """Sets a node down, which is idle again at the end."""

    def fail(node):
        clean.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    yield fail
    for node in NODES:
        clean.ask("scontrol", "update", f"nodename={node}", "state=resume", check=False)
    clean.wait_until_idle()


@pytest.mark.slow
def test_a_node_that_is_set_down_during_a_cell_is_said_to_have_ended_the_job(notebook, fails):
    notebook.ok(f"%dist_init gloo {LINES['slurm']} --no-dashboard")
    notebook.start(f"%%dist\n{BEGUN}import time; time.sleep(60)")
    notebook.wait_for_output()
    fails("beta-2")
    reply = notebook.finish(30)
    assert reply["ename"] == "HangError"
    assert "node beta-2 failed" in reply["evalue"]
    assert "goes on in another job" in reply["evalue"]
    notebook.ok("import rankbook\nassert rankbook.session().diagnose().kind == 'dead'")
    notebook.ok("%dist_shutdown")


@pytest.mark.slow
def test_a_cancelled_step_is_not_said_to_be_the_end_of_its_job(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['slurm']} --no-dashboard")
    job = clean.ask("squeue", "-h", "-o", "%i").strip()
    steps = clean.ask("squeue", "--steps", "-h", "-o", "%i %N").splitlines()
    [step] = [words.split()[0] for words in steps if "beta-2" in words and "batch" not in words]
    notebook.start(f"%%dist\n{BEGUN}import time\nif rank > 1: time.sleep(60)\ndist.barrier()")
    notebook.wait_for_output()
    clean.ask("scancel", step)
    reply = notebook.finish(30)
    said = f"{reply['evalue']} {notebook.stderr}"
    assert "The step on beta-2 ended" in said
    assert "Slurm ended job" not in said
    assert f"job {job} ends in" in notebook.ok("%dist_status")
    notebook.ok("%dist_restart")
    assert lines_of_ranks(notebook.ok(REDUCE)) == TWO_BY_TWO
    notebook.ok("%dist_shutdown")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_job_at_its_time_limit_is_said_to_have_reached_it(notebook, clean):
    notebook.ok('%dist_init gloo --slurm "partition=main time=1" --nodes 2 -n 4 --no-dashboard')
    job = clean.ask("squeue", "-h", "-o", "%i").strip()
    reply = notebook.run("%%dist\nimport time; time.sleep(300)", 200)
    said = f"{reply['evalue']} {notebook.stderr}"
    assert f"Slurm ended job {job}: time limit" in said
    assert "2 ranks died" not in said
    wait_until(lambda: clean.ask("squeue", "--noheader") == "", 30)
    notebook.ok("%dist_shutdown")


def test_a_lost_node_is_said_with_its_host(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['ssh']} --no-dashboard")
    notebook.start(f"%%dist\n{BEGUN}import time\nif rank > 1: time.sleep(60)\ndist.barrier()")
    notebook.wait_for_output()
    begun = time.monotonic()
    for pid in clean.pids("beta-2"):
        clean.kill(pid)
    reply = notebook.finish(30)
    assert time.monotonic() - begun < 10
    assert "beta-2" in f"{reply['evalue']} {notebook.stderr}"
    notebook.ok("%dist_restart")
    assert len(lines_of_ranks(notebook.ok(REDUCE))) == 4
    notebook.ok("%dist_shutdown")


@pytest.mark.slow
def test_a_host_without_network_is_named_and_the_others_go_on_without_it(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['ssh']} --no-dashboard")
    notebook.start(f"%%dist\n{BEGUN}import time\nif rank > 1: time.sleep(60)\ndist.barrier()")
    notebook.wait_for_output()
    begun = time.monotonic()
    clean.cut("beta-2")
    notebook.wait_for_output(20, name="stderr")
    assert time.monotonic() - begun < 10
    assert "beta-2 has not answered for" in notebook.stderr
    assert "nothing has been ended" in notebook.stderr
    notebook.press_stop()
    assert "ranks 2-3 do not answer" in notebook.finish(30)["evalue"]
    said, _ = notebook.refused("%%dist\nprint(1)")
    assert "beta-2 does not answer (ranks 2-3)" in said
    lost, took = notebook.refused("%dist_reset --hard")
    assert lost.startswith("UsageError: ssh beta-2: connect to host beta-2 port 22: ")
    assert "; nothing was ended. Try again when beta-2 can be reached; " in lost
    assert "%dist_init -n 2 (or initialize(nproc=2)) goes on without it." in lost
    assert took < 6
    assert "; nothing was ended. " in notebook.refused("%dist_restart 2-3")[0]
    begun = time.monotonic()
    assert "%dist_init -n 2 goes on without it" in said
    notebook.ok("%dist_init -n 2")
    assert len(lines_of_ranks(notebook.ok(REDUCE))) == 2
    assert time.monotonic() - begun < 10
    assert "2 ranks, gloo, generation" in notebook.ok("%dist_reset --hard")
    clean.join("beta-2")
    # A moment passes until the network knows that the host is back.
    wait_until(lambda: notebook.run("%dist_init -n 4")["status"] == "ok", 20)
    assert len(lines_of_ranks(notebook.ok(REDUCE))) == 4
    notebook.ok("%dist_shutdown")


@pytest.mark.slow
def test_half_a_minute_without_network_ends_nothing(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['ssh']} --no-dashboard")
    notebook.ok("%%dist\nx = torch.ones(1) * 5")
    clean.cut("beta-2")
    let_pass(30)
    clean.join("beta-2")
    wait_until(lambda: "no answer" not in notebook.ok("%dist_status"), 30)
    assert "[0-3] 5.0" in notebook.ok("%%dist\nprint(x.item())")
    notebook.ok("%dist_shutdown")
