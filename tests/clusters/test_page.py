"""Every command on the page "From laptop to cluster" runs, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from clusters.test_starts import lines_of_ranks

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "cluster.md"
# One of the hosts has another name here: one with a dash and a digit.
TEXT = PAGE.read_text().replace("beta", "beta-2")
BLOCKS = re.findall(r"```(?:text|python)\n(.*?)```", TEXT, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.startswith("%dist_init")]
[CELL] = [block for block in BLOCKS if block.startswith("%%dist\n")]
[SHOWN] = [block for block in BLOCKS if block.startswith("[0]")]
IN_A_JOB = "%dist_init gloo --slurm"


def test_every_command_of_the_page_runs_in_a_notebook_outside_of_jobs(notebook):
    assert BLOCKS[-1] == "%dist_shutdown\n"
    on_two_hosts = 0
    for line in LINES:
        if line == IN_A_JOB:
            continue
        said = notebook.ok(line)
        if "--dry-run" in line:
            assert "#SBATCH --partition=main" in said
            continue
        seen = lines_of_ranks(notebook.ok(CELL))
        if "--nodes" in line or ":" in line:
            assert seen == lines_of_ranks(SHOWN)
            on_two_hosts += 1
        notebook.ok("%dist_shutdown")
    assert on_two_hosts == 3


def test_the_command_of_the_page_for_a_notebook_in_a_job_runs_there(inside):
    assert IN_A_JOB in LINES
    inside.ok(IN_A_JOB)
    assert lines_of_ranks(inside.ok(CELL)) == lines_of_ranks(SHOWN)
    inside.ok("%dist_shutdown")
