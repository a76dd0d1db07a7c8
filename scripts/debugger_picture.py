"""Take the picture of the debugger's prompt, in a real JupyterLab, in Chromium.

python scripts/debugger_picture.py [--out docs/_static]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from screenshot import BROWSER_OPTIONS, ROOT, lab, prepare, run_above, write

CELLS = [
    "%load_ext rankbook\n%dist_init gloo -n 4 --no-dashboard",
    "%%dist\nx = torch.ones(2) * rank\nif rank != 3:\n    breakpoint()\ndist.all_reduce(x)",
]
LINES = ["p x", "2: p rank", "n", "ranks"]


def main() -> None:
    """Run the cells, type the lines, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "_static")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "debug.ipynb"
        write(path, CELLS)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=BROWSER_OPTIONS,
        )
        for theme in ("light", "dark"):
            with lab(path) as url:
                page = browser.new_page(
                    viewport={"width": 900, "height": 640}, device_scale_factor=2
                )
                page.goto(url)
                prepare(page, theme)
                run_above(page, 1)
                page.evaluate(
                    """() => {
                        const panel = window.jupyterapp.shell.currentWidget;
                        panel.content.activeCellIndex = 1;
                        window.jupyterapp.commands.execute('notebook:run-cell');
                    }"""
                )
                field = page.locator("input.jp-Stdin-input, textarea.jp-Stdin-input")
                for line in LINES:
                    field.wait_for(timeout=20_000)
                    field.fill(line)
                    field.press("Enter")
                    page.wait_for_timeout(1_200)  # until the answer is drawn
                field.wait_for(timeout=20_000)
                page.locator(".jp-NotebookPanel-notebook").screenshot(
                    path=out / f"debugger-{theme}.png"
                )
                field.fill("q")
                field.press("Enter")
                page.wait_for_timeout(1_500)
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
