"""Ranks on real clusters in one line: they start, compute, are freed from hangs, and all ends."""

from __future__ import annotations

import time

import pytest
from processes import wait_until

WHERE = "f'{rank} {local_rank} {__import__(\"socket\").gethostname()} {x.item()}'"
REDUCE = f"%%dist\nx = torch.ones(1)\ndist.all_reduce(x)\nprint({WHERE})"
TWO_BY_TWO = ["0 0 alpha 4.0", "1 1 alpha 4.0", "2 0 beta-2 4.0", "3 1 beta-2 4.0"]

LINES = {
    "slurm": '--slurm "partition=main time=10" --nodes 2 -n 4',
    "ssh": "--ssh alpha:2,beta-2:2",
    "mpi": "--mpi=alpha:2,beta-2:2",
}


def lines_of_ranks(text):
    """Output of four ranks without the brackets before it, in the order of ranks."""
    return sorted(line.partition("] ")[2] for line in text.splitlines() if line.startswith("["))


@pytest.mark.parametrize("kind", LINES)
def test_one_line_starts_ranks_on_two_hosts_that_reduce_hang_and_end(notebook, clean, kind):
    notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
    assert lines_of_ranks(notebook.ok(REDUCE)) == TWO_BY_TWO

    begun = time.monotonic()
    reply = notebook.run("%%dist\nif rank != 3:\n    dist.all_reduce(x)")
    assert reply["ename"] == "HangError"
    assert "Rank 3 never called all_reduce" in reply["evalue"]
    assert time.monotonic() - begun < 4
    assert lines_of_ranks(notebook.ok("%%dist\nprint(x.item())")) or notebook.stdout

    assert "generation 3" in notebook.ok("%dist_reset")
    assert "4 ranks, gloo, generation" in notebook.ok("%dist_reset --hard")
    assert lines_of_ranks(notebook.ok(REDUCE)) == TWO_BY_TWO

    begun = time.monotonic()
    notebook.ok("%dist_shutdown")
    assert time.monotonic() - begun < 3
    wait_until(lambda: clean.ask("squeue", "--noheader") == "", 2)
    assert notebook.files() == []


@pytest.mark.sample(every=2)
@pytest.mark.parametrize("kind", ["slurm", "ssh"])
def test_a_rank_that_died_is_replaced_on_its_host(notebook, kind):
    notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
    notebook.ok("%%dist\nx = torch.ones(1) * 7")
    reply = notebook.run(
        "%%dist\nif rank == 2:\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
        "dist.all_reduce(x)"
    )
    assert "Rank 2" in reply["evalue"]
    assert "SIGKILL" in reply["evalue"]
    notebook.ok("%dist_restart")
    assert lines_of_ranks(notebook.ok(REDUCE)) == TWO_BY_TWO


def test_the_end_of_a_job_is_counted_down(notebook):
    notebook.ok('%dist_init gloo --slurm "time=5" --nodes 2 -n 2 --no-dashboard')
    assert "ends in 4 min: what its ranks hold is lost then." in notebook.ok("%%dist\npass")
    assert "ends in" not in notebook.ok("%%dist\npass")
    shown = notebook.ok("import rankbook; print(rankbook.session().snapshot().ends_in)")
    assert 200 < float(shown) < 300
    # The only rank on its node, so that no other one there can tell what it said.
    notebook.run("%%dist -r 1\nprint('my last words')\nimport os; os.kill(os.getpid(), 9)")
    assert "my last words" in notebook.stdout
    notebook.ok("%dist_shutdown")


def test_mpi_on_this_host_needs_no_list_of_hosts(notebook):
    notebook.ok("%dist_init gloo --mpi -n 2 --no-dashboard")
    seen = lines_of_ranks(notebook.ok(REDUCE))
    assert seen == ["0 0 login 2.0", "1 1 login 2.0"]


def test_a_dry_run_shows_the_job_script_and_starts_nothing(notebook, clean):
    text = notebook.ok('%dist_init --slurm "partition=main exclusive" --nodes 2 -n 4 --dry-run')
    for line in ("#SBATCH --partition=main", "#SBATCH --exclusive", "#SBATCH --nodes=2"):
        assert line in text.splitlines()
    assert "srun --jobid=JOB --overlap" in text
    assert clean.ask("squeue", "--noheader") == ""
    assert notebook.files() == []


def test_a_name_of_sshs_configuration_leads_through_a_jump_host(notebook):
    """The host sees the login come from the one between, whose address is not the notebook's."""
    notebook.ok("%dist_init gloo --ssh far:2 --no-dashboard")
    assert lines_of_ranks(notebook.ok(REDUCE)) == ["0 0 beta-2 2.0", "1 1 beta-2 2.0"]
