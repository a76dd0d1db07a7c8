"""Cells with handlers of their own: of Ctrl-C, and of an alarm that rings between cells."""

from __future__ import annotations

import pytest
from world import World, until

pytestmark = pytest.mark.usefixtures("whole_afterwards")

SOON = 20.0


@pytest.fixture(scope="module")
def world():
    world = World(2, seed=1)
    yield world
    world.close()


STOPS_SOON = """
import signal
class GracefulStop:
    is_wanted = False
    def __init__(self):
        signal.signal(signal.SIGINT, self.stop)
    def stop(self, signum, frame):
        self.is_wanted = True
stop = GracefulStop()
"""

HANDLERS = {
    "asks to stop": STOPS_SOON,
    "raises": """
import signal
def stop(signum, frame):
    raise SystemExit(3)
signal.signal(signal.SIGINT, stop)
""",
    "is the system's": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)",
    "is none": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)",
}

WAITS = {
    "in the making of a group": "dist.new_group([0, 1])",
    "for a key": "dist.distributed_c10d._get_default_store().get('never')",
    "in a collective": "dist.barrier()",
    "in a loop": "work = dist.barrier(async_op=True)\n    while not work.is_completed(): pass",
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.sample(every=5)
def test_a_rank_that_handles_ctrl_c_itself_is_freed_with_its_variables(world, handler, wait):
    code = f"{HANDLERS[handler]}\nif rank == 0:\n    {WAITS[wait]}"
    running = world.in_background(lambda: world.session.run(code))
    assert running.join(SOON), "it was not freed"
    verdict = running.value.diagnosis
    assert (verdict.kind, set(verdict.ranks)) == ("missing_rank", {1})


def test_a_rank_stops_by_itself_where_its_handler_asks_it_to(world):
    code = f"{STOPS_SOON}\nwhile not stop.is_wanted: pass\nprint('saved')"
    running = world.in_background(lambda: world.session.run(code))
    assert until(lambda: "runs" in world.session.diagnose().per_rank[0], SOON) < SOON
    world.session.interrupt()
    assert running.join(SOON)
    assert [its.stdout for its in running.value.values()] == ["saved\n"] * 2


def test_what_an_alarm_raises_between_cells_is_shown_and_harms_nothing(world, tmp_path):
    """As one that was to end a collective, from which the cell has been freed before."""
    code = f"""
import pathlib, signal
def ring(signum, frame):
    pathlib.Path({str(tmp_path)!r}, str(rank)).touch()
    raise TimeoutError("the collective takes too long")
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.5)
"""
    world.session.run(code).raise_for_error()
    assert until(lambda: len(list(tmp_path.iterdir())) == 2, SOON) < SOON
    result = world.session.run("signal.signal(signal.SIGALRM, signal.SIG_DFL)")
    assert result.ok
    for its in result.values():
        assert "TimeoutError: the collective takes too long" in its.stderr
        assert "in ring" in its.stderr
        assert "asyncio" not in its.stderr
