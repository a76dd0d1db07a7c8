"""A notebook inside a Slurm allocation: what it uses, and what it says of the rest."""

from __future__ import annotations

import subprocess

import pytest
from processes import wait_until

from clusters.conftest import notebook_on, read_variables, variables_of_job
from clusters.test_starts import REDUCE, TWO_BY_TWO, lines_of_ranks


def test_slurm_spreads_over_the_nodes_of_the_allocation(inside, clean):
    inside.ok("%dist_init gloo --slurm --no-dashboard")
    assert lines_of_ranks(inside.ok(REDUCE)) == TWO_BY_TWO
    inside.ok("%dist_shutdown")
    # The allocation is not ours to end.
    assert "RUNNING" in clean.ask("squeue", "-h", "-o", "%T")


def test_without_slurm_the_ranks_are_here_and_idle_nodes_are_named(inside):
    text = inside.ok("%dist_init gloo -n 2 --no-dashboard")
    assert "1 node of this allocation" in text
    assert "is idle: %dist_shutdown, then %dist_init --slurm, uses all." in text
    inside.ok("%dist_shutdown")


def test_more_nodes_than_the_allocation_has_are_refused(inside):
    said, _ = inside.refused("%dist_init gloo --slurm --nodes 3 -n 3")
    assert "has 2 nodes: ask for --nodes 2 or fewer" in said


@pytest.fixture
def beside(clean, tmp_path):
    """A notebook in a shell of salloc's, which runs on none of the nodes that it has."""
    kept, script = variables_of_job(tmp_path)
    options = ("--nodes=2", "--ntasks=2", "--kill-command=KILL")  # scancel ends the shell, too
    shell = clean.start("login", "salloc", *options, str(script), stderr=subprocess.DEVNULL)
    wait_until(kept.exists, 20)
    with notebook_on(clean, "login", tmp_path, **read_variables(kept)) as notebook:
        yield notebook
    clean.ask("scancel", "--user=root")
    shell.wait(20)


@pytest.mark.slow
def test_in_a_shell_of_salloc_all_nodes_are_idle_until_slurm_uses_them(beside):
    assert "2 nodes of this allocation" in beside.ok("%dist_init gloo -n 2 --no-dashboard")
    beside.ok("%dist_shutdown")
    said = beside.ok('%dist_init gloo --slurm "partition=nix" -n 2 --no-dashboard')
    assert "Not used, as this notebook is in job" in said
    assert "already: partition=nix" in said
    assert "idle" not in said
    beside.ok("%dist_shutdown")
