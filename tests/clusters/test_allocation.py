"""A notebook inside a Slurm allocation: what it uses, and what it says of the rest."""

from __future__ import annotations

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
