"""What ranks called differently, though nothing hung, is told when the cell has ended."""

from __future__ import annotations

import pytest
from steps import SOON
from world import World

from rankbook.display.cells.cell import LiveOutput

pytestmark = pytest.mark.usefixtures("whole_afterwards")


class Screen:
    """Keeps what is shown."""

    def __init__(self):
        self.shown = []

    def write(self, name, text):
        pass

    def show(self, data, metadata, display_id, *, update):
        self.shown.append(data)

    can_clear = False

    def redraw(self, text, display_id, *, first, final):
        pass


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "steps.py").write_text(
        "import torch.distributed as dist\n\n\ndef step(x, op):\n    dist.all_reduce(x, op)\n"
    )
    world = World(3, seed=4)
    world.session.run(
        "import sys, torch.distributed._functional_collectives as funcol\n"
        f"sys.path.insert(0, {str(folder)!r})\nimport steps\n"
        f"folder = {str(folder)!r}\nx = torch.ones(4)\n"
        "ints = torch.ones(4, dtype=torch.int32)\n"
        "pair = dist.new_group([0, 1])"
    ).raise_for_error()
    yield world
    world.close()


ODD = "dist.ReduceOp.MAX if rank == 1 else dist.ReduceOp.SUM"

MISTAKES = {
    "reduce operation": (f"dist.all_reduce(x, op={ODD})", (1,), "with ReduceOp.MAX"),
    "dtype of the same size": ("dist.all_reduce(x if rank < 2 else ints)", (2,), "int32"),
    "in a module": (f"steps.step(x, {ODD})", (1,), "steps.py:5 in step"),
    "asynchronous": (
        f"dist.all_reduce(x, op={ODD}, async_op=True).wait()",
        (1,),
        "with ReduceOp.MAX",
    ),
    "in a subgroup": (
        f"if rank < 2: dist.all_reduce(x, op={ODD}, group=pair)",
        (0, 1),
        "rank 0 with ReduceOp.SUM",
    ),
    "in the middle of many": (
        f"for i in range(700): dist.all_reduce(x, op={ODD} if i == 350 else dist.ReduceOp.SUM)",
        (1,),
        "with ReduceOp.MAX",
    ),
    "a group of other members": (
        "made = dist.new_group([0, 1] if rank < 2 else [0])",
        (2,),
        "made group 2 of ranks 0-1",
    ),
    "functional": (
        "(funcol.all_reduce(x, 'max' if rank == 1 else 'sum', dist.group.WORLD) + 1).sum()",
        (1,),
        "with ReduceOp.MAX",
    ),
}


@pytest.mark.parametrize(("code", "ranks", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mismatch_that_did_not_hang_is_reported_with_both_lines(world, code, ranks, says):
    screen = Screen()
    running = world.in_background(
        lambda: world.session.run(code, output=LiveOutput(screen, range(3)))
    )
    assert running.join(SOON)
    result = running.value
    assert result.ok
    [found] = result.mismatches
    assert (found.kind, found.ranks) == ("mismatch", ranks)
    assert says in found.summary
    assert found.summary.endswith("It did not hang: check what came of it.")
    assert len(found.per_rank) == (2 if "pair" in code else 3)
    assert all("line 1" in does or "line 2" in does for does in found.per_rank.values())
    [shown] = [data for data in screen.shown if found.summary in data["text/plain"]]
    assert "<table" in shown["text/html"]
    assert world.session.run("dist.all_reduce(x)").mismatches == ()


HEALTHY = {
    "send and recv": (
        "if rank == 0: dist.send(x, 1)\nelif rank == 1: dist.recv(x, 0)\ndist.barrier()"
    ),
    "uneven all_to_all": (
        "sizes = [1, 2, 3]\n"
        "out = torch.empty(3 * sizes[rank])\n"
        "dist.all_to_all_single(out, torch.ones(6), [sizes[rank]] * 3, sizes)"
    ),
    "objects": "out = [None] * 3\ndist.all_gather_object(out, 'x' * 100 * rank)",
    "gather and scatter": (
        "dist.gather(x, [torch.ones(4) for _ in range(3)] if rank == 1 else None, dst=1)\n"
        "dist.scatter(x, [torch.ones(4) for _ in range(3)] if rank == 2 else None, src=2)"
    ),
    "subgroups": (
        "own = [dist.new_group([i]) for i in range(3)][rank]\n"
        "for i in range(rank): dist.all_reduce(x, group=own)"
    ),
    "a group for each": "alone = dist.new_group([rank])\ndist.barrier()",
    "a group made by hand": (
        "for i in range(2 + (rank == 0)): dist.all_reduce(x, group=own)\n"
        "dist.destroy_process_group()\n"
        "dist.init_process_group('gloo')\n"
        "dist.broadcast(x, src=0)\n"
        "x = torch.ones(4)\n"
        "pair = dist.new_group([0, 1])\n"
        "dist.barrier()"
    ),
    "in flight": (
        "handles = [dist.all_reduce(torch.ones(2), async_op=True) for _ in range(5)]\n"
        "for work in handles: work.wait()"
    ),
    "DDP": (
        "model_ = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 2))\n"
        "for _ in range(3): model_(x).sum().backward()"
    ),
    "Join": (
        "from torch.distributed.algorithms.join import Join\n"
        "with Join([model_]):\n"
        "    for _ in range(1 + rank): model_(x).sum().backward()"
    ),
    "barriers": "dist.monitored_barrier()\ndist.barrier()",
}


def test_a_healthy_program_gives_no_alarm(world):
    for name, code in HEALTHY.items():
        result = world.session.run(code)
        assert result.ok, (name, result)
        assert result.mismatches == (), name
        assert result.left_out == (), name
        assert result.diagnosis is None, name


def test_a_script_gives_no_alarm(world, tmp_path):
    (tmp_path / "script.py").write_text(
        "import torch, torch.distributed as dist\n"
        "for _ in range(5): dist.all_reduce(torch.ones(2))\n"
    )
    result = world.session.run(f"%run {tmp_path}/script.py")
    assert result.ok
    assert result.mismatches == ()


def test_cells_on_some_ranks_give_no_alarm(world):
    begin = "work = dist.all_reduce(torch.ones(2), async_op=True)"
    results = [
        world.session.run(begin, ranks=[0, 1]),
        world.session.run(f"{begin}; work.wait()", ranks=[2]),
        world.session.run("'work' in globals() and work.wait()"),
    ]
    assert [(result.mismatches, result.left_out) for result in results] == [((), ())] * 3


LEFT_OUT = {
    "asynchronous": ("work = dist.all_reduce(x, async_op=True)", "all_reduce"),
    "functional": ("y = funcol.all_gather_tensor(x, 0, dist.group.WORLD)", "all_gather"),
    "a layer of tensor parallelism": ("y = parallel(torch.ones(2, 3))", "all_reduce"),
}


@pytest.mark.parametrize(("code", "op"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_call_that_a_rank_leaves_out_and_nobody_waits_for_is_told(world, code, op):
    world.session.run(
        "from torch.distributed.device_mesh import init_device_mesh\n"
        "from torch.distributed.tensor.parallel import *\n"
        "parallel = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))\n"
        "styles = {'0': ColwiseParallel(), '1': RowwiseParallel()}\n"
        "parallelize_module(parallel, init_device_mesh('cpu', (3,)), styles)\n"
        "dist.all_reduce(x)"
    ).raise_for_error()
    result = world.session.run(f"if rank != 1: {code}")
    assert result.ok
    [found] = result.left_out
    assert (found.kind, found.ranks, found.proven) == ("missing_rank", (1,), False)
    assert found.summary.startswith(f"Rank 1 has not called {op}")
    assert "which ranks 0,2 called (cell" in found.summary
    assert "%dist_reset" in found.hint
    again = world.session.run("print(rank)")
    assert (again.left_out, again.diagnosis) == ((), None)
    world.session.reset()
    after = world.session.run("x = torch.ones(4); dist.all_reduce(x); x[0].item()")
    assert [rank.result_repr for rank in after.values()] == ["3.0"] * 3
    assert after.left_out == ()


def test_a_call_that_follows_in_a_later_cell_is_told_once(world):
    first = world.session.run("if rank < 2: work = dist.all_reduce(x, async_op=True)")
    follow = "if rank == 2: work = dist.all_reduce(x, async_op=True)\nwork.wait()"
    second = world.session.run(follow)
    assert [len(result.left_out) for result in (first, second)] == [1, 0]
    assert second.ok


def test_threads_that_go_on_beside_the_cell_give_no_alarm(world):
    begin = (
        "import threading, time\n"
        "beside = dist.new_group()\n"
        "def go_on():\n"
        "    for _ in range(50):\n"
        "        dist.broadcast(torch.ones(2), src=0, group=beside)\n"
        "        time.sleep(0.002 * rank)\n"
        "thread = threading.Thread(target=go_on)\n"
        "thread.start()\n"
        "time.sleep(0.02)"
    )
    for code in (begin, "time.sleep(0.02)", "thread.join()"):
        assert world.session.run(code).left_out == (), code


def test_a_mistake_in_cells_on_some_ranks_is_found(world):
    world.session.run("work = dist.all_reduce(torch.ones(2), async_op=True)", ranks=[0, 1])
    result = world.session.run(
        "work = dist.all_reduce(torch.ones(2), dist.ReduceOp.MAX, async_op=True); work.wait()",
        ranks=[2],
    )
    assert [found.ranks for found in result.mismatches] == [(2,)]
    assert world.session.run("work.wait()").mismatches == ()


def test_after_a_reset_and_after_a_hang_there_is_no_alarm(world):
    world.session.run("for _ in range(5): dist.all_reduce(x)")
    world.session.reset()
    assert world.session.run("dist.broadcast(x, src=0)").mismatches == ()
    world.session.run("if rank: dist.all_reduce(x)")
    result = world.session.run("dist.broadcast(x, src=1); dist.all_reduce(x)")
    assert result.mismatches == ()


def test_a_cell_has_its_traffic_on_each_rank(world):
    result = world.session.run(
        "import time\nif rank == 0: time.sleep(0.3)\nfor _ in range(3): dist.all_reduce(x)"
    )
    assert {(its.calls, its.nbytes) for its in result.traffic.values()} == {(3, 48)}
    assert result.traffic[0].computing >= 0.3 > result.traffic[0].waiting
    assert result.traffic[1].waiting > 0.2 > result.traffic[1].computing
