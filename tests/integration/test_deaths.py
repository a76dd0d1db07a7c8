"""Ranks that die: known at once, explained, replaced; the others keep what they have."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from textwrap import indent

import pytest
from processes import child_that_runs, let_pass, waits_for
from world import World, until

from rankbook.errors import ClusterError, RankbookError, SessionError

SOON = 20.0


@pytest.fixture(scope="module")
def world():
    world = World(3, seed=2)
    yield world
    world.close()


@pytest.fixture(autouse=True)
def whole_again(world):
    """After each death the rank is replaced, and the others are as they were."""
    yield
    dead = set(world.session.dead_ranks)
    if dead:
        world.session.restart_ranks()
    assert world.works()
    sums, pids = world.checksums(), world.processes()
    alive = [rank for rank in range(3) if rank not in dead]
    assert [sums[r] for r in alive] == [world.sums[r] for r in alive]
    assert [pids[r] for r in alive] == [world.pids[r] for r in alive]
    world.refill(2)


@pytest.mark.parametrize("victim", [0, 2])
def test_the_death_of_an_idle_rank_is_noticed_within_a_second(world, victim):
    os.kill(world.pids[victim], signal.SIGKILL)
    assert until(lambda: victim in world.session.dead_ranks, SOON) < 1
    assert world.session.dead_ranks == {victim: "was killed by SIGKILL"}
    with pytest.raises(SessionError, match=rf"Rank {victim} was killed by SIGKILL.*restart_ranks"):
        world.session.run("1")
    diagnosis = world.session.diagnose()
    assert (diagnosis.kind, diagnosis.ranks) == ("dead", (victim,))


def test_living_ranks_answer_beside_a_dead_one(world):
    os.kill(world.pids[1], signal.SIGKILL)
    until(lambda: world.session.dead_ranks, SOON)
    assert world.session.run("1 + 1", ranks="0,2").ok


@pytest.mark.parametrize(
    ("way", "how"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os.abort()", "was killed by SIGABRT"),
        ("os._exit(3)", "ended with exit code 3"),
    ],
)
def test_ranks_that_wait_for_a_rank_that_dies_are_freed(world, way, how, tmp_path):
    sign = tmp_path / "sign"
    dies = indent(f"{waits_for(sign)}print(2); {way}", "    ")
    code = f"if rank == 1:\n{dies}\ndist.barrier()"
    running = world.in_background(lambda: world.session.run(code))

    def others_wait():
        return sum(look.waiting is not None for look in world.session.states()) == 2

    assert until(others_wait, SOON) < SOON
    sign.touch()
    assert until(lambda: world.session.dead_ranks, SOON) < SOON
    died = time.perf_counter()
    assert running.join(SOON)
    assert running.ended - died < 3  # a bound for a hang, not a measurement
    result = running.value
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("dead", (1,))
    assert f"Rank 1 {how}" in result.diagnosis.summary
    assert "barrier" in result.diagnosis.summary
    assert "restart_ranks([1])" in result.note
    assert result[1].stdout == "2\n"


MISMATCHES = {
    "broadcast": "dist.broadcast(torch.ones(4 if rank else 5), src=0)",
    "all_reduce": "dist.all_reduce(torch.ones(4 if rank else 5))",
    "dtypes": "dist.all_reduce(torch.ones(4, dtype=torch.float32 if rank else torch.float64))",
    "from a module": "import train\ntrain.step(4 if rank else 5)",
    "recv": "if rank == 0: dist.send(torch.ones(5), 1)\nelif rank == 1: dist.recv(torch.ones(4))",
}


@pytest.fixture
def module(world, tmp_path):
    (tmp_path / "train.py").write_text(
        "import torch\nimport torch.distributed as dist\n\n\n"
        "def step(count):\n    dist.all_reduce(torch.ones(count))\n"
    )
    world.session.run(
        f"import sys\nsys.modules.pop('train', None)\nsys.path.insert(0, {str(tmp_path)!r})"
    ).raise_for_error()
    yield
    if not world.session.dead_ranks:
        world.session.run("sys.path.pop(0)")


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("code", MISMATCHES.values(), ids=MISMATCHES)
def test_a_process_that_gloo_ends_is_reported_as_a_mismatch(world, code):
    """Gloo ends a process that is sent more than it expects; which rank is chance.

    It aborts; now and then (5 of 582) something in it faults at that moment.
    """
    result = world.session.run(f"{code}\ndist.barrier()")
    diagnosis = result.diagnosis
    assert diagnosis is not None, result
    assert diagnosis.kind == "mismatch", diagnosis
    assert "5 elements" in diagnosis.summary or "float64" in diagnosis.summary
    if "train" in code:
        assert "train.py:6 in step, called from " in diagnosis.summary
    if world.session.dead_ranks:
        assert re.search("killed by SIG(ABRT|SEGV)", diagnosis.summary)
        assert "restart_ranks" in result.note


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    "way",
    ["os.kill(os.getpid(), 9)", "os.abort()", "os._exit(3)", "ctypes.string_at(0)"],
)
def test_the_last_call_of_a_rank_that_died_is_named(world, way):
    result = world.session.run(
        f"import train, os, ctypes\ntrain.step(4)\nif rank == 1: {way}\ndist.barrier()"
    )
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("dead", (1,))
    assert "after all_reduce #" in result.diagnosis.per_rank[1]
    assert "(train.py:6 in step, called from " in result.diagnosis.per_rank[1]


def test_a_rank_that_died_in_a_call_is_said_to_have(world, tmp_path):
    sign = tmp_path / "sign"
    code = f"if rank == 2: dist.barrier()\nelse:\n{indent(waits_for(sign), '    ')}"
    running = world.in_background(lambda: world.session.run(code))
    assert until(lambda: any(look.waiting for look in world.session.states()), SOON) < SOON
    os.kill(world.pids[2], signal.SIGKILL)
    assert until(lambda: world.session.dead_ranks, SOON) < SOON
    sign.touch()
    assert running.join(SOON)
    assert "was killed by SIGKILL in barrier #" in running.value.diagnosis.per_rank[2]


def test_a_mismatch_that_kills_is_named_though_who_caused_it_has_gone_on(world, tmp_path):
    """Gloo ends the process that is sent too much; the sender and others get an exception."""
    sign = tmp_path / "sign"
    code = (
        "try:\n"
        "    dist.all_reduce(torch.ones(4, dtype=torch.float64 if rank == 0 else torch.float32))\n"
        f"except RuntimeError:\n{indent(waits_for(sign), '    ')}"
    )
    running = world.in_background(lambda: world.session.run(code))
    assert until(lambda: world.session.dead_ranks, SOON) < SOON
    sign.touch()
    assert running.join(SOON)
    found = running.value.diagnosis
    assert (found.kind, found.ranks) == ("mismatch", (0,))
    assert found.summary.startswith("Rank 0 called all_reduce #")
    assert "with 4 elements of float64, where ranks 1-2 called it with 4 elements of float32" in (
        found.summary
    )


def test_the_verdict_on_a_crash_names_its_line(world):
    result = world.session.run("import os\nx = 1\nif rank == 2: os.abort()\nx = 2")
    assert re.match(r"Rank 2 was killed by SIGABRT at cell \d+ line 3", result.diagnosis.summary)


def test_a_rank_that_dies_while_the_group_forms_is_named(world):
    os.kill(world.pids[1], signal.SIGSTOP)  # it cannot come
    forming = world.in_background(world.session.initialize)
    assert until(lambda: bool(world.session.doing), SOON) < SOON
    os.kill(world.pids[1], signal.SIGKILL)
    assert forming.join(SOON)
    assert isinstance(forming.error, RankbookError)
    assert world.session.dead_ranks == {1: "was killed by SIGKILL"}


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.008, 0.012, 0.016, 0.02])
def test_a_rank_may_die_at_any_moment_while_the_group_forms(world, delay):
    """In Python and in torch's C++, before and after ranks are connected."""
    forming = world.in_background(world.session.initialize)
    let_pass(delay)
    os.kill(world.pids[1], signal.SIGKILL)
    assert until(lambda: 1 in world.session.dead_ranks, SOON) < SOON
    assert forming.join(10)


def test_a_stopped_rank_is_shown_as_silent_and_not_dead(world):
    os.kill(world.pids[1], signal.SIGSTOP)
    try:
        diagnosis = world.session.diagnose()
        assert (diagnosis.kind, diagnosis.ranks) == ("unknown", (1,))
        assert "does not answer" in diagnosis.summary
        assert world.session.dead_ranks == {}
    finally:
        os.kill(world.pids[1], signal.SIGCONT)


def test_an_interrupt_ends_an_initialisation_that_hangs(world):
    os.kill(world.pids[2], signal.SIGSTOP)
    try:
        forming = world.in_background(world.session.initialize)
        assert until(lambda: bool(world.session.doing), SOON) < SOON
        with pytest.raises(RankbookError, match="rank 2 does not answer"):
            world.session.interrupt()
        assert forming.join(SOON)
        assert "interrupted" in str(forming.error)
    finally:
        os.kill(world.pids[2], signal.SIGCONT)
    world.session.initialize()


def test_a_living_rank_can_be_replaced(world):
    world.session.restart_ranks([1])
    assert world.processes()[1] != world.pids[1]
    world.pids[1] = world.processes()[1]
    assert world.session.run("'kept' in globals()", ranks=1)[1].result_repr == "False"
    world.refill(2)


def test_restart_without_a_dead_rank_is_refused(world):
    with pytest.raises(SessionError, match="No rank has ended"):
        world.session.restart_ranks()


def test_a_rank_that_ignores_every_cut_is_replaced_with_a_note(world):
    """What freeing does is taken away from the ranks; only the process of one can go then."""
    code = (
        "import signal\n"
        "group = get_ipython().kernel._rankbook_agent.engine.group\n"
        "group.cut = lambda: None\n"
        "if rank == 0:\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "    dist.recv(torch.ones(1), 1)"
    )
    result = world.session.run(code)
    world.session.run("del group.cut", ranks="1,2").raise_for_error()
    assert "Rank 0 did not let go and was replaced: its variables are lost" in result.note
    assert world.processes()[0] != world.pids[0]
    assert world.processes()[1:] == world.pids[1:]
    world.pids = world.processes()
    world.refill(2)


@pytest.mark.skipif(sys.platform != "linux", reason="where engines end with what forked them")
def test_the_process_that_forks_dies_and_all_ranks_with_it(world):
    server = child_that_runs("rankbook.engine.starting.server")
    running = world.in_background(lambda: world.session.run("dist.barrier()\nwhile True: pass"))
    assert until(lambda: bool(world.session.doing), SOON) < SOON
    server.kill()
    assert running.join(SOON)
    diagnosis = running.value.diagnosis
    assert (diagnosis.kind, diagnosis.ranks) == ("dead", (0, 1, 2))
    assert world.session.dead_ranks == dict.fromkeys(range(3), "was killed by SIGKILL")
    with pytest.raises(ClusterError) as caught:
        world.session.restart_ranks()
    assert str(caught.value) == (
        "The process that engines are forked from has ended, and they with it: "
        "%dist_reset --hard (or reset(hard=True)) starts others."
    )
    world.session.reset(hard=True)
    assert world.session.dead_ranks == {}
    world.refill(2)


def test_ranks_keep_their_numbers_after_a_reset(world):
    os.kill(world.pids[0], signal.SIGKILL)
    until(lambda: world.session.dead_ranks, SOON)
    world.session.restart_ranks()
    pids = world.processes()
    world.session.reset()
    assert world.processes() == pids
    world.refill(2)
