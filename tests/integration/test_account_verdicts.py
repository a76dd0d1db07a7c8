"""Verdicts that only the account of calls can give: tags, threads, lines of a file."""

from __future__ import annotations

import re

import pytest
from watching import left_alone
from world import World

pytestmark = pytest.mark.usefixtures("eager", "whole_afterwards")

SOON = 20.0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "train.py").write_text(
        "import torch\nimport torch.distributed as dist\n\n"
        "def step():\n    x = torch.ones(2)\n    dist.all_reduce(x)\n"
    )
    (folder / "script.py").write_text(
        "import torch\nimport torch.distributed as dist\n"
        "if dist.get_rank() == 0:\n    dist.broadcast(torch.ones(2), src=0)\n"
    )
    world = World(2, seed=1)
    world.session.run(
        f"import sys, threading\nsys.path.insert(0, {str(folder)!r})\nimport train\n"
        f"folder = {str(folder)!r}\nx = torch.ones(2)"
    ).raise_for_error()
    yield world
    world.close()


def hung(world, code):
    """Run what never ends; return the verdict with which it was freed."""
    running = world.in_background(lambda: world.session.run(code))
    assert running.join(SOON), "it was not freed"
    assert running.value.diagnosis is not None, running.error or running.value
    assert running.value.diagnosis.proven
    return running.value.diagnosis


TAGS = "if rank == 0: dist.send(x, 1, tag=1)\nelse: dist.recv(x, 0, tag=2)"
ITAGS = "if rank == 0: dist.isend(x, 1, tag=1).wait()\nelse: dist.irecv(x, 0, tag=2).wait()"


@pytest.mark.parametrize("code", [TAGS, ITAGS], ids=["send and recv", "isend and irecv"])
def test_tags_that_do_not_match_are_named(world, code):
    verdict = hung(world, code)
    assert (verdict.kind, verdict.ranks) == ("mismatch", (0, 1))
    assert re.search(r"Rank 0 sent to 1 with tag 1 \(cell \d+ line 1: ", verdict.summary)
    assert re.search(r"rank 1 received from 0 with tag 2 \(cell \d+ line 2: ", verdict.summary)


def test_a_collective_in_a_thread_is_explained_and_freed(world):
    verdict = hung(
        world,
        "if rank == 0:\n"
        "    thread = threading.Thread(target=lambda: dist.all_reduce(x))\n"
        "    thread.start()\n"
        "    thread.join()",
    )
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    # The thread's own line, not the one in which the main thread waits for it.
    assert re.search(r"\(cell \d+ line 2: .*dist\.all_reduce\(x\)\)", verdict.summary)


AWAITED = {
    "a thread": ("if rank == 0: await asyncio.to_thread(dist.all_reduce, x)", 1),
    "an executor": (
        (
            "loop = asyncio.get_running_loop()\n"
            "if rank == 0: await loop.run_in_executor(None, lambda: dist.all_reduce(x))"
        ),
        2,
    ),
    "a task with a thread": (
        (
            "def work(): dist.all_reduce(x)\n"
            "async def step(): await asyncio.to_thread(work)\n"
            "if rank == 0: await asyncio.gather(step(), asyncio.Event().wait())"
        ),
        1,
    ),
}


@pytest.mark.parametrize(("code", "line"), AWAITED.values(), ids=AWAITED)
def test_a_cell_that_awaits_a_thread_in_a_collective_is_explained_and_freed(world, code, line):
    world.session.run("import asyncio").raise_for_error()
    verdict = hung(world, code)
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert re.search(rf"all_reduce #\d+.* \(cell \d+ line {line}: ", verdict.summary)
    assert world.works()


def test_a_cell_that_awaits_more_than_a_thread_in_a_collective_is_left_alone(world, tmp_path):
    sign = tmp_path / "sign"
    code = (
        "import asyncio, os\nasync def later():\n"
        f"    while not os.path.exists({str(sign)!r}): await asyncio.sleep(0.05)\n"
        "    dist.all_reduce(x)\n"
        "if rank == 0: await asyncio.gather(asyncio.to_thread(dist.barrier, group), later())\n"
        "else:\n    dist.all_reduce(x)\n    dist.barrier(group)"
    )
    world.session.run("group = dist.new_group()").raise_for_error()
    left_alone(world.session, sign, code)


def test_the_line_of_a_call_in_compiled_code_is_named(world):
    # The compiler is imported when it is first used, which takes seconds.
    warm = "torch.compile(lambda x: x + 1, backend='eager')(x)"
    world.session.run(warm).raise_for_error()
    code = (
        "import torch.distributed._functional_collectives as functional\n"
        "def step(x):\n"
        "    total = functional.all_reduce(x, 'sum', dist.group.WORLD)\n"
        "    if rank == 0:\n"
        "        total = functional.all_reduce(total, 'max', dist.group.WORLD)\n"
        "    return total + 1\n"
        "float(torch.compile(step, backend='eager')(x).sum())"
    )
    verdict = hung(world, code)
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert re.search(r"all_reduce #\d+, .* \(cell \d+ line 5: total = ", verdict.summary)


def test_the_line_of_a_module_is_named_with_the_cells(world):
    verdict = hung(world, "y = 1\nif rank == 0: train.step()")
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert re.search(
        r"\(train.py:6 in step, called from cell \d+ line 2: dist.all_reduce\(x\)\)",
        verdict.summary,
    )


def test_the_line_of_a_script_is_named_with_the_cells(world):
    verdict = hung(world, "%run $folder/script.py")
    assert re.search(
        r"\(script.py:4, called from cell \d+ line 1: dist.broadcast\(torch.ones\(2\), src=0\)\)",
        verdict.summary,
    )
    assert "broadcast" in verdict.summary


CLOSER = (
    "class Closer:\n"
    "    def __del__(self): dist.barrier()\n"
    "def load():\n"
    "    closer = Closer()\n"
    "    raise ValueError('no data')\n"
)


def test_a_destructor_that_waits_once_an_exception_was_handled_is_reported_by_its_except(world):
    verdict = hung(
        world,
        f"{CLOSER}if rank == 0:\n"
        "    try: load()\n"
        "    except ValueError as error: print(error)\n"
        "dist.all_reduce(x)",
    )
    assert (verdict.kind, verdict.ranks) == ("raised", (0,))
    assert re.search(
        r"Rank 0 raised an exception \(cell \d+ line 8: except ValueError as error: "
        r"print\(error\)\) and then waited in barrier",
        verdict.summary,
    )
    assert "Call no collective there" in verdict.hint


def test_a_collective_in_a_function_that_is_given_to_a_future_is_explained(world):
    code = (
        "def later(future):\n"
        "    if rank == 0: dist.all_reduce(x, async_op=True).wait()\n"
        "    return future.value()\n"
        "dist.all_reduce(x, async_op=True).get_future().then(later).wait()"
    )
    verdict = hung(world, code)
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert re.search(r"all_reduce #\d+, in which rank 0 waited \(cell \d+ line 2:", verdict.summary)


def test_a_group_whose_call_has_failed_is_made_again_though_the_cell_has_caught_that(world):
    code = (
        "from datetime import timedelta\ntry:\n"
        "    if rank == 0: dist.monitored_barrier(timeout=timedelta(seconds=0.3))\n"
        "except RuntimeError as error:\n    print('caught', error)"
    )
    result = world.session.run(code)
    assert result.ok
    assert "caught" in result[0].stdout
    assert result.note.startswith("A call failed on rank 0, and its group's connections ended")
    assert world.works()
    assert world.is_as_it_was()


def test_a_collective_issued_by_gloos_own_barrier_is_explained(world):
    verdict = hung(world, "if rank == 0: dist.monitored_barrier()")
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert "monitored_barrier" in verdict.summary


def test_a_group_that_only_other_ranks_have_come_to_is_explained_and_freed(world):
    world.session.run(
        "if rank == 1: dist.set_debug_level(dist.DebugLevel.DETAIL)"
    ).raise_for_error()
    try:
        verdict = hung(world, "group = dist.new_group()\ndist.barrier(group)")
        # The session makes its own groups all the same.
        assert world.works()
        world.session.reset()
    finally:
        world.session.run("dist.set_debug_level(dist.DebugLevel.OFF)").raise_for_error()
    assert (verdict.kind, verdict.ranks) == ("mismatch", (1,))
    assert re.search(
        r"Rank 1 waited in new_group of group \d+ \(cell \d+ line 1: group = dist\.new_group\(\)\)"
        r": it had ended on rank 0\.",
        verdict.summary,
    )
