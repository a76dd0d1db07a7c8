"""The dashboard in several places, after a reload, saved, in light and dark, to a screen reader."""

from __future__ import annotations

import json
import shutil

import nbformat
import pytest
import screenshot
from axe_playwright_python.sync_playwright import Axe
from front_ends import watched
from nbconvert import HTMLExporter
from playwright.sync_api import expect
from processes import waits_for

THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(open_notebook):
    with open_notebook(["%load_ext rankbook", "%dist_init gloo -n 2", "%dashboard"]) as notebook:
        yield notebook


@pytest.fixture
def notebook(opened):
    opened.wait_until_idle()
    yield opened
    opened.wait_until_idle()


def test_two_views_show_the_same_and_both_act(notebook):
    healths = notebook.page.locator(".rb-health .rb-words")
    expect(healths).to_have_text(["all idle", "all idle"])
    next_one = notebook.generation() + 1
    resets = notebook.page.locator(".rankbook").get_by_role("button", name="Reset")
    resets.first.click()
    generations = notebook.page.locator(".rb-facts .rb-generation dd")
    expect(generations).to_have_text([str(next_one)] * 2)
    resets.last.click()
    expect(generations).to_have_text([str(next_one + 1)] * 2)
    # One that is cleared away takes nothing from the other.
    notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.widgets[1].outputArea.model.clear()"
    )
    expect(healths).to_have_count(1)
    notebook.click("Reset")
    expect(generations).to_have_text([str(next_one + 2)])


def test_a_reloaded_page_shows_the_present_state_and_its_buttons_act(notebook):
    screenshot.command(notebook.page, "docmanager:save")
    notebook.page.reload()
    screenshot.prepare(notebook.page, "light")
    notebook.wait_until_idle()
    next_one = notebook.generation() + 1
    notebook.click("Reset")
    expect(notebook.fact("generation")).to_have_text(str(next_one))
    notebook.hang()
    notebook.click("Interrupt")
    expect(notebook.message).to_contain_text("the ranks are free")
    assert "rank 0 never called barrier" in notebook.end().lower()


def test_the_stop_button_brings_the_dashboard_back_after_a_reload_in_a_hang(notebook):
    """The kernel answers a page that has just come only when its cell has ended."""
    notebook.hang()
    screenshot.command(notebook.page, "docmanager:save")
    notebook.page.reload()
    notebook.page.wait_for_selector(".jp-Notebook .jp-Cell")
    notebook.page.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    )
    screenshot.command(notebook.page, "notebook:interrupt-kernel")
    notebook.wait_until_idle()
    verdict = notebook.region("Why the last cell could not end")
    expect(verdict).to_contain_text("Rank 0 never called barrier")


def test_opened_typed_and_focused_parts_survive_an_update(notebook, tmp_path):
    over = tmp_path / "over"
    notebook.open_form()
    notebook.board.get_by_label("Timeout").fill("7")
    notebook.button("Why?").focus()
    first = notebook.rows.first.element_handle()
    notebook.start(f"%%dist\n{waits_for(over)}")
    expect(notebook.health).to_have_text("ranks 0-1 running")
    over.touch()
    notebook.end()
    notebook.wait_until_idle()
    expect(notebook.button("Why?")).to_be_focused()
    expect(notebook.board.get_by_label("Timeout")).to_have_value("7")
    assert first.evaluate("row => row.isConnected")
    # What the group has become goes over what was typed.
    notebook.run("%dist_init --timeout 3")
    expect(notebook.board.get_by_label("Timeout")).to_have_value("3")


@pytest.mark.parametrize("theme", THEMES)
def test_the_dashboard_is_usable_with_a_screen_reader_and_weak_eyes(notebook, theme):
    screenshot.command(notebook.page, "apputils:change-theme", {"theme": theme})
    expect(notebook.page.locator(f'body[data-jp-theme-name="{theme}"]')).to_have_count(1)
    assert_accessible(notebook.page)
    notebook.hang()
    notebook.click("Stacks")
    expect(notebook.region("Stacks")).to_be_visible()
    assert_accessible(notebook.page)
    notebook.click("Interrupt")
    notebook.end()
    notebook.click("Close")


def assert_accessible(page):
    found = Axe().run(page, context=".jp-OutputArea").response
    assert found["passes"]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []


def test_a_saved_dashboard_is_a_table_where_widgets_cannot_live(notebook, browser, tmp_path):
    screenshot.command(notebook.page, "docmanager:save")
    path = notebook.run("import os; print(os.getcwd())").strip() + "/notebook.ipynb"
    saved = nbformat.read(path, as_version=4)
    static, live = saved.cells[-1].outputs
    assert "application/vnd.jupyter.widget-view+json" in live["data"]
    assert static["data"]["text/plain"].startswith("gloo · 2 ranks · generation ")
    table = "".join(static["data"]["text/html"])
    assert "<table" in table
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(saved)
    (tmp_path / "saved.html").write_text(html)
    page = browser.new_page()
    page.route("http*://**", lambda route: route.abort())  # without a network
    page.goto(f"file://{tmp_path}/saved.html")
    expect(page.locator("table caption").last).to_be_visible()
    expect(page.locator("table tbody tr:visible").first).to_contain_text("idle")
    page.close()
    assert json.dumps(saved.metadata.get("widgets", {})).count("rb-panel") <= 1


def test_an_untrusted_saved_notebook_shows_the_table(notebook, browser, tmp_path):
    screenshot.command(notebook.page, "docmanager:save")
    path = notebook.run("import os; print(os.getcwd())").strip() + "/notebook.ipynb"
    saved = nbformat.read(path, as_version=4)
    for cell in saved.cells:  # as it comes from elsewhere: its signature is unknown here
        cell.metadata.pop("trusted", None)
        cell.source += "  # changed"
    copy = tmp_path / "notebook.ipynb"
    nbformat.write(saved, copy)
    with screenshot.lab(copy) as url, watched(browser) as page:
        page.goto(url)
        screenshot.prepare(page, "light")
        table = page.locator(".jp-OutputArea table").last
        expect(table.locator("caption")).to_contain_text("gloo · 2 ranks · generation ")
        expect(table.locator("tbody tr")).to_have_count(2)
        expect(table).to_contain_text("● idle")


def test_a_notebook_that_is_opened_again_shows_the_table_and_no_error(notebook, browser, tmp_path):
    """JupyterLab puts an error in the place of a widget that no kernel has."""
    screenshot.command(notebook.page, "docmanager:save")
    path = notebook.run("import os; print(os.getcwd())").strip() + "/notebook.ipynb"
    copy = tmp_path / "notebook.ipynb"
    shutil.copy(path, copy)
    theirs = "widget model not found"
    with screenshot.lab(copy) as url, watched(browser, theirs) as page:
        page.goto(url)
        screenshot.prepare(page, "light")
        expect(page.locator(".jp-OutputArea table").last).to_be_visible()
        error = page.get_by_text("Error displaying widget")
        expect(error.last).to_be_attached()
        expect(error.filter(visible=True)).to_have_count(0)


def test_the_timeline_follows_the_theme(notebook):
    """Whose style sheets come in several steps, while nothing else is drawn."""
    notebook.run("%dist dist.all_reduce(torch.ones(1))")
    expect(notebook.page.locator(".rbt-count").last).to_contain_text("collectives")
    colours = {"JupyterLab Dark": "#ff9a62", "JupyterLab Light": "#b83a00"}
    for theme in [*colours] * 2:
        screenshot.command(notebook.page, "apputils:change-theme", {"theme": theme})
        expect(notebook.page.locator(f'body[data-jp-theme-name="{theme}"]')).to_have_count(1)
        notebook.page.wait_for_function(
            "(colour) => [...document.querySelectorAll('.rbt')].every("
            "(each) => each.style.getPropertyValue('--rbt-alarm') === colour)",
            arg=colours[theme],
        )
        # JupyterLab raises an error of its own where the next one comes before this has gone.
        expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)


def test_closing_an_answer_gives_the_focus_back(notebook):
    notebook.click("Stacks")
    notebook.button("Close").focus()
    notebook.page.keyboard.press("Enter")
    expect(notebook.region("Stacks")).to_have_count(0)
    expect(notebook.button("Stacks")).to_be_focused()


def test_the_dashboard_of_a_restarted_kernel_says_so(notebook):
    """The last one: the kernel that the others share is another one then."""
    notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()"
    )
    expect(notebook.health).to_have_text("no kernel")
    expect(notebook.board.get_by_role("alert")).to_contain_text("was restarted")
    assert notebook.button("Reset").evaluate("button => button.closest('[inert]') !== null")
    # The next one is alive, in the same place or another.
    screenshot.prepare(notebook.page, "light")
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    notebook.wait_until_idle()
    notebook.click("Reset")
    expect(notebook.fact("generation")).to_have_text("2")
