"""A real notebook in a real Chromium: `open_notebook` opens one in JupyterLab."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import screenshot
from front_ends import Notebook, watched
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="package")
def browser(chromium):
    """One Chromium for all of them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=screenshot.BROWSER_OPTIONS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_notebook(browser, tmp_path_factory):
    """Opens cells in a JupyterLab and runs them; on leaving nothing runs any more."""

    @contextmanager
    def open_notebook(cells, theme="light"):
        path = tmp_path_factory.mktemp("lab") / "notebook.ipynb"
        screenshot.write(path, cells)
        with screenshot.lab(path) as url, watched(browser) as page:
            page.goto(url)
            screenshot.prepare(page, theme)
            screenshot.run_all(page)
            notebook = Notebook(page)
            yield notebook
            notebook.run("import rankbook\nif rankbook.session(): rankbook.session().shutdown()")

    return open_notebook
