"""Starting, working and ending again and again, a third of the times by SIGKILL, leaves nothing."""

from __future__ import annotations

import pytest
from processes import wait_until

from clusters.conftest import notebook_on
from clusters.test_starts import LINES, REDUCE, TWO_BY_TWO, lines_of_ranks

ROUNDS = [(kind, number) for number in range(10) for kind in LINES]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "number"), ROUNDS)
def test_a_round_leaves_no_process_no_job_and_no_file(clean, tmp_path, kind, number):
    before = clean.pids()
    with notebook_on(clean, "login", tmp_path) as notebook:
        notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
        assert lines_of_ranks(notebook.ok(REDUCE)) == TWO_BY_TWO
        if number % 3 == 0:
            notebook.kill()
        elif number % 3 == 1:
            notebook.manager.shutdown_kernel()
        else:
            notebook.ok("%dist_shutdown")
        wait_until(lambda: clean.ask("squeue", "--noheader") == "", 20)
        wait_until(lambda: notebook.files() == [], 10, why=notebook.files)
    wait_until(lambda: clean.pids() <= before, 20)
