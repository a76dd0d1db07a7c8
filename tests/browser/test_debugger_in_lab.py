"""The debugger's prompt in a real JupyterLab: typed, answered, and ended with the stop button."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

TRIANGLE = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
CELLS = [
    "%load_ext rankbook",
    "%dist_init gloo -n 2 --no-dashboard",
    "1 + 1",
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def notebook(open_notebook):
    with open_notebook(CELLS) as notebook:
        yield notebook


class Prompt:
    """The input field below the cell that runs."""

    def __init__(self, page):
        self.page = page
        # The field of a line that was taken stays for half a second and hears nothing, before the
        # next one comes, too.
        taken = ".jp-OutputArea-stdin-hiding"
        self.field = page.locator(f".jp-OutputArea-stdin-item:not({taken}) .jp-Stdin-input")

    def says(self, line):
        """Wait for the field, and type a line into it."""
        expect(self.field).to_be_visible()
        self.field.fill(line)
        self.field.press("Enter")


def run(page, code):
    """Put code into the last cell and run it, without waiting for its end."""
    page.evaluate(
        """(code) => {
            const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = panel.content.widgets.length - 1;
            panel.content.activeCell.model.sharedModel.setSource(code);
            window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        code,
    )


def outputs(page):
    return page.locator(".jp-Cell").last.locator(".jp-OutputArea-output")


def test_a_cell_stops_is_stepped_and_ends(notebook):
    page, prompt = notebook.page, Prompt(notebook.page)
    run(page, "%%dist\nx = rank + 40\nbreakpoint()\ny = x + 1\nprint('sum', y)")
    expect(page.get_by_text(f"[0-1] In [4] line 3 {TRIANGLE}").first).to_be_visible()
    prompt.says("p x")
    expect(outputs(page).get_by_text("[1] 41")).to_be_visible()
    prompt.says("n")
    expect(page.get_by_text(f"[0-1] In [4] line 4 {TRIANGLE}").first).to_be_visible()
    prompt.says("c")
    expect(outputs(page).get_by_text("[1] sum 42")).to_be_visible()
    expect(prompt.field).to_have_count(0)


def test_the_stop_button_ends_a_cell_at_the_prompt(notebook):
    page, prompt = notebook.page, Prompt(notebook.page)
    run(page, "%%dist\nif rank == 0: breakpoint()\ndist.barrier()")
    expect(prompt.field).to_be_visible()
    page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(outputs(page).get_by_text("Interrupted at a prompt").first).to_be_visible()
    assert notebook.run("%dist rank") == ""
