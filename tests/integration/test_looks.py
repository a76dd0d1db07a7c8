"""One report per rank: dashboard, status table and verdict say the same of it."""

from __future__ import annotations

import pytest
from processes import wait_until
from steps import SOON

from rankbook.display import table
from rankbook.display.dashboard import ranks

START = "x = torch.ones(1)\nwork = None if rank else dist.{}\n"
WAITS = {
    "blocking call": ("barrier(async_op=True)", "dist.all_reduce(x)", "all_reduce"),
    "handle": ("all_reduce(x, async_op=True)", "work.wait()", "all_reduce"),
    "handle of two": ("irecv(x, 1)", "work.wait()", "recv"),
}


def its_name(session):
    """What the cell is called that runs, or is about to."""
    wait_until(lambda: session.cells and session.cells[-1].ended is None, SOON)
    return session.cells[-1].name


@pytest.mark.parametrize("kind", WAITS)
def test_a_rank_that_waits_does_so_in_dashboard_table_and_verdict(two, kind):
    start, wait, call = WAITS[kind]
    code = START.format(start) + f"if rank == 0: {wait}"
    thread = two.in_background(lambda: two.run(code, on_hang="wait"))
    name = its_name(two)
    does = f"{call} ({name} line 3: if rank == 0: {wait})"
    try:
        # It waits once it stands still.
        wait_until(lambda: f"collective: {does}" in table.to_text(two.snapshot()), SOON)
        wait_until(lambda: two.diagnose().per_rank[0].startswith("waits in "), SOON)
        dashboard = ranks.to_html(two.states())
        verdict = two.diagnose().per_rank
    finally:
        two.interrupt()
        thread.join(SOON)
    assert '<tr class="rb-row rb-is-collective">' in dashboard
    assert f'<span class="rb-does">{call}' in dashboard
    assert verdict[0].endswith(f"({name} line 3: if rank == 0: {wait})")
    assert (f"waits in {call} #" in verdict[0]) == (call != "recv")
    assert verdict[1] == "idle: its cell has ended"


def test_a_rank_that_only_computes_is_running_in_all_of_them(two):
    code = "while rank == 0: pass"
    thread = two.in_background(lambda: two.run(code))
    try:
        wait_until(
            lambda: f"running: {its_name(two)} line 1: {code}" in table.to_text(two.snapshot()),
            SOON,
        )
        assert two.diagnose().per_rank[0] == f"runs {its_name(two)} line 1: {code}"
    finally:
        two.interrupt()
        thread.join(SOON)
