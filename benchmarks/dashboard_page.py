"""A notebook in JupyterLab in Chromium, as the benchmarks of the dashboard see it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path += [str(HERE.parent / "scripts"), str(HERE.parent / "tests")]

import screenshot  # noqa: E402 - the tests and the pictures open notebooks in the same way
from conftest import find_chromium  # noqa: E402
from front_ends import Notebook  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

__all__ = ["HERE", "Tab", "chromium", "opened"]

_PATIENCE = 300_000
"""Milliseconds for what takes long with many ranks."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=screenshot.BROWSER_OPTIONS
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, cells: Sequence[str]) -> Iterator[Tab]:
    """A notebook of these cells, all of which have run; its kernel ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "notebook.ipynb")
        screenshot.write(path, list(cells))
        with screenshot.lab(path) as url:
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            page.set_default_timeout(_PATIENCE)
            page.add_init_script(path=HERE / "dashboard_page.js")
            page.goto(url)
            screenshot.prepare(page, "light")
            screenshot.run_all(page)
            yield Tab(page)
            page.close()


class Tab(Notebook):
    """A notebook, and what is read off it."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("HeapProfiler.enable")
        self._devtools.send("Performance.enable")

    def js(self, code: str, argument: Any = None) -> Any:
        """Evaluate code in the page; what it promises is waited for."""
        return self.page.evaluate(code, argument)

    def run(self, code: str) -> str:
        """Run code beside the notebook's cells; return what it prints.

        Raises:
            RuntimeError: It did not print anything that could be its result.
        """
        said = str(super().run(code))
        if "Error" in said:
            raise RuntimeError(said)
        return said

    def run_cell(self, index: int) -> None:
        """Run a cell of the notebook."""
        self.js(
            """async (index) => {
                window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
                await window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            index,
        )

    def clear(self, index: int) -> None:
        """Take away what a cell has shown."""
        self.js(
            """(index) => window.jupyterapp.shell.currentWidget.content.widgets[index]
                .outputArea.model.clear()""",
            index,
        )

    def pid(self) -> int:
        """The kernel's process."""
        return int(self.run("import os; print(os.getpid())"))

    def engines(self) -> list[int]:
        """The ranks' processes."""
        code = "import rankbook; print(*[s.pid for s in rankbook.session().snapshot().states])"
        return [int(pid) for pid in self.run(code).split()]

    def heap(self) -> int:
        """Bytes that the page's objects, elements and buffers take, after a collection."""
        for _ in range(2):
            self._devtools.send("HeapProfiler.collectGarbage")
        used = self._devtools.send("Runtime.getHeapUsage")
        parts = ("usedSize", "embedderHeapUsedSize", "backingStorageSize")
        return int(sum(used.get(part, 0) for part in parts))

    def spent(self) -> dict[str, float]:
        """Seconds that the page has computed so far, by what for."""
        metrics = self._devtools.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in metrics}
