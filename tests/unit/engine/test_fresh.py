"""What a script finds as in a process of its own."""

from __future__ import annotations

import asyncio

from steps import SOON

from rankbook.engine.cells import fresh


def test_a_script_can_run_an_event_loop_while_the_task_of_its_cell_runs():
    async def cell():
        task = asyncio.current_task()
        with fresh._event_loop():
            value = asyncio.run(asyncio.wait_for(asyncio.sleep(0, 7), SOON))
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        return value

    assert asyncio.run(cell()) == 7
