"""A notebook in a real front end, in a real Chromium, as a test sees and uses it."""

from __future__ import annotations

import re
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, expect

SOON = 15_000  # ms for what is over in a second on a machine that does nothing else
expect.set_options(timeout=SOON)


class Notebook:
    """A notebook in JupyterLab, its kernel, and the dashboard in it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    # -- the dashboard -----------------------------------------------------------------------

    @property
    def board(self) -> Locator:
        """The dashboard that was shown last."""
        return self.page.locator(".rankbook:visible").filter(has=self.page.locator(".rb-head")).last

    @property
    def health(self) -> Locator:
        return self.board.locator(".rb-health .rb-words")

    @property
    def message(self) -> Locator:
        return self.board.get_by_role("status")

    @property
    def rows(self) -> Locator:
        return self.board.locator(".rb-rows tbody tr")

    def fact(self, name: str) -> Locator:
        return self.board.locator(f".rb-facts .rb-{name.replace(' ', '-')} dd")

    def region(self, name: str) -> Locator:
        return self.board.get_by_role("region", name=name, exact=True)

    def button(self, name: str) -> Locator:
        return self.board.get_by_role("button", name=name, exact=True)

    def open_form(self) -> None:
        """Open the form of a new group, if it is folded."""
        fold = self.board.locator("details.rb-setup:not([open]) > summary")
        if fold.count():
            fold.click()

    def pid(self, row: int) -> int:
        """The process of a rank, which its details tell."""
        return int(self.rows.nth(row).locator(".rb-pid").text_content() or 0)

    def click(self, name: str) -> None:
        self.button(name).click()

    def wait_until_idle(self) -> None:
        expect(self.health).to_have_text("all idle", timeout=SOON)

    # -- its kernel --------------------------------------------------------------------------

    def run(self, code: str) -> str:
        """Run code beside the notebook's cells; return what it prints, or its error."""
        self.start(code)
        return self.end()

    def start(self, code: str) -> None:
        """Begin to run code beside the notebook's cells."""
        self.page.evaluate(
            """(code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code });
                let text = '';
                future.onIOPub = (m) => {
                    if (m.header.msg_type === 'stream') text += m.content.text;
                    if (m.header.msg_type === 'error') text += m.content.evalue;
                };
                window.runs = true;
                window.ended = future.done.then(() => { window.runs = false; return text; });
            }""",
            code,
        )

    @property
    def runs(self) -> bool:
        """Whether what was begun has not ended."""
        return self.page.evaluate("() => window.runs")

    def end(self) -> str:
        """Wait for what was begun; return what it printed, or its error."""
        return self.page.evaluate("() => window.ended")

    def hang(self) -> None:
        """Run a cell in which rank 1 waits for rank 0 without end, and see it stuck."""
        self.start("%%dist --on-hang wait\nif rank == 1: dist.barrier()")
        expect(self.health).to_contain_text("stuck", timeout=SOON)

    def busy(self) -> None:
        """Run a cell that takes two minutes, and see it run."""
        self.start("%%dist\nimport time\nfor _ in range(1200):\n    time.sleep(0.1)")
        expect(self.health).to_have_text("ranks 0-1 running", timeout=SOON)

    def generation(self) -> int:
        return int(self.fact("generation").inner_text())


@contextmanager
def watched(browser, others="(?!)"):
    """A page of the browser; any error that it prints or raises fails the test.

    Args:
        browser: Whose page.
        others: Pattern of errors that are somebody else's.
    """
    errors = []
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda m: errors.append(f"{m.text} {m.location}") if m.type == "error" else 0
    )
    yield page
    page.close()
    ours = [error for error in errors if not re.search(others, error)]
    assert not ours, f"errors in the page's console: {ours}"
