"""What a script finds as in a process of its own."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import random
import signal
import sys
import time

import numpy as np
import pytest
import torch
from processes import let_pass
from steps import SOON

from rankbook.engine.cells import fresh


def in_a_script(act, folder):
    """Do something as a script does, in the task of a cell."""

    async def cell():
        await asyncio.sleep(0)
        with fresh.fresh({}, ["train.py"], [], str(folder), str(folder)):
            value = act()
        await asyncio.sleep(0)
        return value

    return asyncio.run(cell())


def test_a_script_can_run_an_event_loop_while_the_task_of_its_cell_runs(tmp_path):
    def act():
        return asyncio.run(asyncio.wait_for(asyncio.sleep(0, 7), SOON))

    assert in_a_script(act, tmp_path) == 7


@pytest.mark.parametrize("timer", [signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
def test_a_timer_that_a_script_has_set_does_not_end_the_rank_later(timer, tmp_path):
    in_a_script(lambda: signal.setitimer(timer, 100, 100), tmp_path)
    assert signal.getitimer(timer) == (0, 0)


def test_stacks_that_a_script_has_asked_for_later_are_not_written_after_it(tmp_path):
    stacks = tmp_path / "stacks"
    with stacks.open("w") as file:

        def act():
            faulthandler.dump_traceback_later(0.05, file=file, repeat=True)
            faulthandler.register(signal.SIGUSR2, file=file)

        in_a_script(act, tmp_path)
        assert not faulthandler.unregister(signal.SIGUSR2)
        written = stacks.stat().st_size  # a script may take as long as it likes
        let_pass(0.4)
        assert stacks.stat().st_size == written


def test_the_time_zone_is_that_of_before(tmp_path):
    before = time.tzname

    def act():
        os.environ["TZ"] = "Asia/Tokyo"
        time.tzset()
        return time.tzname

    assert in_a_script(act, tmp_path) != before
    assert time.tzname == before


def test_what_a_script_puts_in_place_of_the_environment_and_the_path_goes_with_it(tmp_path):
    environ, path, before = os.environ, sys.path, dict(os.environ)

    def act():
        os.environ.pop("PATH")
        os.environ = {**os.environ, "MINE": "1"}  # noqa: B003 - as scripts do
        sys.path = [*sys.path, "/nowhere"]

    for _ in range(2):
        in_a_script(act, tmp_path)
        assert os.environ is environ
        assert dict(environ) == before
        assert sys.path is path
        assert "/nowhere" not in path


def test_random_numbers_are_new_ones_in_each_script_and_go_on_after_it(tmp_path):
    def act():
        return {random.random(), np.random.rand(), torch.rand(1).item()}  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - as scripts do
    expected = [random.random(), random.random(), *np.random.rand(2)]  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    numbers = torch.rand(2)
    torch.manual_seed(1)
    drawn, number = [random.random(), np.random.rand()], torch.rand(1)  # noqa: NPY002
    seen = set()
    for _ in range(2):
        seen |= in_a_script(act, tmp_path)
    assert len(seen - {*expected, *numbers.tolist()}) == 6
    drawn += [random.random(), np.random.rand()]  # noqa: NPY002
    assert sorted(drawn) == sorted(expected)
    assert torch.equal(torch.cat([number, torch.rand(1)]), numbers)
