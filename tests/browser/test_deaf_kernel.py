"""A kernel that hears of clicks only when its cell has ended, as ipykernel 6 does.

Here messages of the widget go to the thread that runs cells, whichever the front end asks for.
"""

from __future__ import annotations

import time

import processes
import pytest
from playwright.sync_api import expect
from steps import SOON

from rankbook.widgets.clicks import LATEST

DEAF = """
import rankbook
comm = rankbook.session().dashboard().panel.comm
comm._reply_subshell_for = lambda data, asked_for: None
"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(open_notebook):
    with open_notebook(["%load_ext rankbook", "%dist_init gloo -n 2", DEAF]) as notebook:
        yield notebook


@pytest.fixture
def notebook(opened):
    opened.wait_until_idle()
    yield opened
    opened.wait_until_idle()


@pytest.fixture
def unheard(notebook):
    return notebook.board.get_by_role("alert")


def test_a_click_on_a_deaf_kernel_is_announced_and_not_carried_out_later(
    notebook, unheard, tmp_path
):
    over = tmp_path / "over"
    generation = notebook.generation()
    notebook.start(f"%%dist\n{processes.waits_for(over)}")
    expect(notebook.health).to_have_text("ranks 0-1 running")
    for _ in range(3):
        notebook.click("Reset")
    clicked = time.monotonic()
    expect(unheard).to_contain_text("interrupt the kernel")
    processes.wait_until(lambda: time.monotonic() - clicked > LATEST, SOON)
    over.touch()
    notebook.end()
    notebook.wait_until_idle()
    expect(notebook.message).to_contain_text("Reset: not done")
    expect(unheard).to_have_count(0)
    assert notebook.generation() == generation
    notebook.click("Reset")
    expect(notebook.fact("generation")).to_have_text(str(generation + 1))


def test_interrupt_presses_the_stop_button_of_the_notebook(notebook, unheard):
    notebook.hang()
    notebook.click("Interrupt")
    assert "rank 0 never called barrier" in notebook.end().lower()
    notebook.wait_until_idle()
    expect(notebook.message).to_contain_text("Interrupt: the cell had ended already.")
