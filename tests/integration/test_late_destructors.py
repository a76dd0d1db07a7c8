"""A destructor that waits for other ranks when Python collects garbage, cells later.

On ranks of its own: after a hang, a thread of the engine collects garbage, too.
"""

from __future__ import annotations

import re

import pytest
from world import World

_LOAD = """
class Closer:
    def __del__(self): dist.barrier()
def load():
    closer = Closer()
    raise ValueError('no data')
if rank == 0: load()
"""

_SOON = 20.0


@pytest.mark.usefixtures("eager")
def test_a_destructor_that_waits_cells_later_is_reported_by_the_exception_that_kept_it():
    world = World(2, seed=1)
    try:
        run = world.session.run
        run("import gc; often = gc.get_threshold(); gc.set_threshold(0)")  # not by chance
        run(_LOAD)
        run("if rank == 0: 1 / 0")  # IPython keeps this exception now, not that one
        collect = "gc.set_threshold(*often)\ngc.collect()\ndist.all_reduce(torch.ones(2))"
        running = world.in_background(lambda: run(collect))
        assert running.join(_SOON), "it was not freed"
        verdict = running.value.diagnosis
        assert world.works()
        assert world.is_as_it_was()
    finally:
        world.close()
    assert (verdict.proven, verdict.kind, verdict.ranks) == (True, "raised", (0,))
    assert re.search(
        r"Rank 0 raised ValueError: no data \(cell \d+ line 6: raise ValueError\('no data'\)\) "
        r"and then waited in barrier",
        verdict.summary,
    )
