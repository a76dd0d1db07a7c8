"""A kept cluster on other hosts: ranks outlive their kernel; a later one replaces and ends them."""

from __future__ import annotations

import re

import pytest
from processes import wait_until

from clusters.conftest import notebook_on
from clusters.test_starts import LINES, TWO_BY_TWO, lines_of_ranks

LATER = (
    "%%dist\ndist.all_reduce(x)\n"
    "print(rank, local_rank, __import__('socket').gethostname(), x.item())"
)


@pytest.mark.parametrize("kind", [pytest.param("slurm", marks=pytest.mark.slow), "ssh"])
def test_ranks_on_two_hosts_survive_their_kernel_and_are_replaced_and_end_in_the_next(
    clean, tmp_path, kind
):
    before = clean.pids()
    with notebook_on(clean, "login", tmp_path) as first:
        first.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard --keep")
        first.ok("%%dist\nx = torch.ones(1)")
        first.kill()
    with notebook_on(clean, "login", tmp_path) as second:
        [name] = re.findall(r"^(\S+) on ", second.ok("%dist_clusters"), re.MULTILINE)
        second.ok(f"%dist_init --cluster-id {name} --no-dashboard")
        assert lines_of_ranks(second.ok(LATER)) == TWO_BY_TWO

        second.run("%%dist\nif rank == 3: import os; os._exit(3)\ndist.barrier()")
        assert "Rank 3 ended with exit code 3" in second.stderr
        second.ok("%dist_restart")
        second.ok("%%dist\nx = torch.ones(1)")
        assert lines_of_ranks(second.ok(LATER)) == TWO_BY_TWO
        second.ok("%dist_shutdown")
        assert "No cluster is kept" in second.ok("%dist_clusters")
        wait_until(lambda: clean.ask("squeue", "--noheader") == "", 10)
        wait_until(lambda: second.files() == [], 10)
    wait_until(lambda: clean.pids() <= before, 20)
