"""A page that takes so long to load a widget that anywidget gives it up: it shows, but is deaf."""

from __future__ import annotations

import pytest
import screenshot
from front_ends import Notebook, watched
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

# As if the page were busy for more than two seconds while its first widgets load: as many as
# `sessionStorage.slow` says.
SLOW = """
const timeout = AbortSignal.timeout.bind(AbortSignal);
const slow = Number(sessionStorage.slow ?? 0);
window.loaded = 0;
AbortSignal.timeout = (ms) => {
  if (ms !== 2000) return timeout(ms);
  window.loadedAt = performance.now();
  if (window.loaded++ >= slow) return timeout(ms);
  return { addEventListener: (_, giveUp) => giveUp() };
};
"""

GIVEN_UP = "[anywidget] Failed to initialize model."


@pytest.fixture
def given_up():
    """What the page says of widgets that it does not let hear anything."""
    return []


@pytest.fixture
def notebook(browser, tmp_path, given_up):
    path = tmp_path / "notebook.ipynb"
    screenshot.write(path, ["%load_ext rankbook", "%dist_init gloo -n 2"])
    with screenshot.lab(path) as url, watched(browser, others=r"^\[anywidget\] Failed to") as page:
        page.on("pageerror", lambda error: given_up.append(str(error)))
        page.add_init_script(SLOW)
        page.goto(url)
        screenshot.prepare(page, "light")
        screenshot.run_all(page)
        notebook = Notebook(page)
        yield notebook
        notebook.run("rankbook.session().shutdown()")


def test_views_that_a_slow_page_does_not_hear_are_replaced(notebook, given_up):
    page = notebook.page
    # Views that are heard are never replaced; deaf ones would be after 7 s.
    assert_alive(notebook)
    page.wait_for_function("performance.now() - window.loadedAt > 9000")
    assert page.evaluate("window.loaded") == 2
    assert given_up == []
    # The panel and the timeline are too slow, what takes their place is not.
    screenshot.command(page, "docmanager:save")
    page.evaluate("sessionStorage.slow = 2")
    page.reload()
    screenshot.prepare(page, "light")
    page.wait_for_function("window.loaded === 4")
    assert_alive(notebook)
    assert set(given_up) == {GIVEN_UP}


def assert_alive(notebook):
    """Both parts move with the ranks, once each, and a click acts."""
    expect(notebook.page.locator(".rb-panel:visible")).to_have_count(1)
    expect(notebook.page.locator(".rbt:visible")).to_have_count(1)
    notebook.wait_until_idle()
    notebook.hang()
    expect(notebook.page.locator(".rbt-flying")).to_contain_text("1 in flight")
    notebook.click("Interrupt")
    # Whether the click or the verdict came first, it says who is missing.
    assert "rank 0 never called barrier" in notebook.end().lower()
    notebook.wait_until_idle()
