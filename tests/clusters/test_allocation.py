"""A notebook inside an allocation of Slurm's: what it uses, and what it says of the rest."""

from __future__ import annotations

import pytest
from processes import wait_until

from clusters.conftest import notebook_on
from clusters.test_starts import REDUCE, TWO_BY_TWO, lines_of_ranks


@pytest.fixture
def inside(clean, tmp_path):
    """A notebook on the first node of an allocation of two, with Slurm's variables."""
    kept = tmp_path / "environment"
    script = f"#!/bin/sh\nenv -0 > {kept}.part; mv {kept}.part {kept}; sleep 1000"
    (tmp_path / "job").write_text(script)
    options = ("--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--output=/dev/null")
    job = clean.ask("sbatch", "--parsable", *options, str(tmp_path / "job")).strip()
    wait_until(kept.exists, 20)
    pairs = (line.partition("=") for line in kept.read_text().split("\0"))
    own = {name: value for name, _, value in pairs if name.startswith("SLURM")}
    with notebook_on(clean, "alpha", tmp_path, **own) as notebook:
        yield notebook
    clean.ask("scancel", job)
    wait_until(lambda: clean.ask("squeue", "--noheader") == "", 20)


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
