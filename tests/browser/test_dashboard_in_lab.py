"""The dashboard in a real JupyterLab, in a real Chromium, on real engines: clicked, and read."""

from __future__ import annotations

import re

import nbformat
import pytest
import screenshot
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect, sync_playwright

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext rankbook",
    "%dist_init gloo -n 2",
    "%%dist\nkept = torch.ones(2) * rank\nprint('all say this')\nprint('rank', rank)",
]


@pytest.fixture
def page(tmp_path, chromium):
    path = tmp_path / "dashboard.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_code_cell(source) for source in CELLS]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    errors = []
    with screenshot.lab(path) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=screenshot.BROWSER_OPTIONS
        )
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        screenshot.prepare(page, "light")
        screenshot.run_all(page)
        yield page
        run(page, "%dist_shutdown" if has_session(page) else "1")
        browser.close()
    assert errors == []


def run(page, code):
    """Run code in the notebook's kernel, beside its cells; return what it prints."""
    return page.evaluate(
        """async (code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const future = kernel.requestExecute({ code });
            let text = '';
            future.onIOPub = (m) => {
                if (m.header.msg_type === 'stream') text += m.content.text;
            };
            await future.done;
            return text;
        }""",
        code,
    )


def has_session(page):
    return run(page, "import rankbook; print(rankbook.session() is not None)") == "True\n"


def test_the_buttons_act_and_the_table_follows(page):
    table = page.locator(".jp-OutputArea table:visible")
    caption = table.locator("caption")
    expect(caption).to_have_text("gloo · 2 ranks · generation 1 · all idle")
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table).to_contain_text("cpu")

    page.get_by_role("button", name="Reset").click()
    expect(caption).to_have_text("gloo · 2 ranks · generation 2 · all idle", timeout=15_000)
    expect(page.get_by_role("status")).to_have_text("Reset: done.")

    page.get_by_label("Ranks").fill("3")
    page.get_by_label("Ranks").press("Tab")
    page.get_by_role("button", name="Initialise").click()
    expect(caption).to_have_text("gloo · 3 ranks · generation 3 · all idle", timeout=15_000)
    expect(table.locator("tbody tr")).to_have_count(3)
    assert run(page, "%dist 'kept' in globals()\n%dist_pull -r 0,1 kept\nprint(kept[1])").endswith(
        "tensor([1., 1.])\n"
    )

    page.get_by_role("button", name="Shut down").click()
    expect(caption).to_have_text("gloo · 3 ranks · generation 3 · shut down", timeout=15_000)
    expect(page.get_by_role("button", name="Reset")).to_be_disabled()
    assert not has_session(page)


def test_the_table_follows_a_cell_that_runs_and_an_error_that_it_leaves(page):
    caption = page.locator(".jp-OutputArea table:visible caption")
    row = page.locator(".jp-OutputArea table:visible tbody tr").first
    page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const code = "%%dist\\nimport time\\ntime.sleep(4)\\n1 / 0";
            kernel.requestExecute({ code });
        }"""
    )
    expect(caption).to_contain_text("running: 0-1", timeout=10_000)
    expect(row).to_contain_text("time.sleep(4)")
    expect(page.get_by_role("button", name="Reset")).to_be_disabled()
    expect(caption).to_have_text("gloo · 2 ranks · generation 1 · all idle", timeout=15_000)
    expect(page.locator(".jp-OutputArea table:visible")).to_contain_text("ZeroDivisionError")
    expect(page.get_by_role("button", name="Reset")).to_be_enabled()


def test_the_ranks_of_a_cell_that_hangs_are_explained_and_freed_by_a_click(page):
    page.evaluate(
        """() => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            const code = "%%dist --on-hang wait\\nif rank == 1: dist.barrier()";
            window.hung = kernel.requestExecute({ code }).done.then((m) => m.content.evalue);
        }"""
    )
    caption = page.locator(".jp-OutputArea table:visible caption")
    expect(caption).to_contain_text("in a collective: 1", timeout=10_000)
    status = page.get_by_role("status")
    page.get_by_role("button", name="Why?").click()
    expect(status).to_contain_text("Rank 0 never called barrier", timeout=5_000)
    outputs = page.locator(".jp-OutputArea")  # the toolbar has a button of that name, too
    outputs.get_by_role("button", name="Interrupt").click()
    expect(status).to_have_text("Interrupted.", timeout=10_000)
    assert "Rank 0 never called barrier" in page.evaluate("() => window.hung")
    expect(caption).to_have_text("gloo · 2 ranks · generation 2 · all idle", timeout=10_000)


def test_what_the_ranks_print_is_on_the_page(page):
    output = page.locator(".jp-CodeCell").nth(2).locator(".jp-OutputArea-output")
    expect(output.first).to_have_text(
        re.compile(r"\[0-1\] all say this\s+\[0\] rank 0\s+\[1\] rank 1")
    )
