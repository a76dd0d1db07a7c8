"""Make the README's animation: a cell that hangs, its verdict, and the next cell, in JupyterLab.

    python scripts/animation.py [--out docs/_static/hang.webp]

What is seen happens: a real notebook in Chromium, photographed several times a second. Frames in
which nothing changes are shown longer instead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import screenshot
from PIL import Image, ImageChops
from playwright.sync_api import Page, sync_playwright

OUT = screenshot.ROOT / "docs" / "_static" / "hang.webp"
SIZE = {"width": 860, "height": 640}
LIMIT = 2_000_000
"""Bytes that the animation may take."""

START = "%load_ext rankbook\n%dist_init gloo -n 4 --no-dashboard"
MAKE = (
    "%%dist\n"
    "model = torch.nn.Linear(3, 1)\n"
    "shard = torch.randn(99, 3).tensor_split(4)[rank]     # 25, 25, 25, 24 samples"
)
HANG = (
    "%%dist\n"
    "for batch in shard.split(8):\n"
    "    loss = model(batch).square().mean()\n"
    "    dist.all_reduce(loss)"
)
NEXT = "%%dist\nloss = loss.detach(); dist.all_reduce(loss); 'we go on'"

READ_MS = 4000
"""Milliseconds that the last frame of a scene stays, for reading."""


class Film:
    """Frames of a page with the time for which each was seen."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._seen: list[float] = []

    def shoot(self, seconds: float) -> None:
        """Take pictures for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.take()
            self._page.wait_for_timeout(60)

    def take(self) -> None:
        """Take a picture; one that shows what the last one shows only lengthens that."""
        picture = self._page.locator(".jp-NotebookPanel-notebook").screenshot()
        frame = Image.open(BytesIO(picture)).convert("RGB")
        if not self._frames or ImageChops.difference(frame, self._frames[-1]).getbbox():
            self._frames.append(frame)
            self._seen.append(time.monotonic())

    def hold(self, milliseconds: int) -> None:
        """Let what is seen now stay."""
        self._page.wait_for_timeout(milliseconds)
        self.take()

    def save(self, path: Path) -> int:
        """Write an animated WebP that repeats; return its bytes."""
        ends = [*self._seen[1:], self._seen[-1] + READ_MS / 1000]
        lasts = [int(1000 * (b - a)) for a, b in zip(self._seen, ends, strict=True)]
        first, *others = self._frames
        first.save(
            path, save_all=True, append_images=others, duration=lasts, loop=0, quality=60, method=6
        )
        return path.stat().st_size


def type_cell(page: Page, film: Film, source: str) -> None:
    """Write a cell below the others, as a user would."""
    screenshot.command(page, "notebook:insert-cell-below")
    screenshot.command(page, "notebook:enter-edit-mode")
    for line in source.splitlines(keepends=True):
        page.keyboard.insert_text(line)
        film.take()
        page.wait_for_timeout(250)
    film.take()


def run_cell(page: Page, film: Film, most: float) -> None:
    """Run the cell that is being written; film it for at most some seconds."""
    screenshot.command(page, "notebook:run-cell")
    end = time.monotonic() + most
    film.shoot(0.3)
    while time.monotonic() < end:
        film.shoot(0.1)
        status = page.evaluate(
            "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status"
        )
        if status == "idle":
            break
    page.evaluate(
        "() => { const n = window.jupyterapp.shell.currentWidget.content;"
        " n.scrollToItem(n.widgets.length - 1, 'end') }"
    )
    film.shoot(0.5)


def main() -> int:
    """Run the cells and film them; 1 if the animation is too large."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "hang.ipynb")
        screenshot.write(notebook, [START, MAKE])
        with screenshot.lab(notebook) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=screenshot.BROWSER_OPTIONS,
            )
            page = browser.new_page(viewport=SIZE)
            page.goto(url)
            screenshot.prepare(page, "light")
            screenshot.run_all(page)
            screenshot.scroll_to_top(page)
            film = Film(page)
            film.hold(800)
            type_cell(page, film, HANG)
            run_cell(page, film, 20)
            film.hold(READ_MS)
            type_cell(page, film, NEXT)
            run_cell(page, film, 10)
            size = film.save(args.out)
            browser.close()
    print(f"{args.out}: {size / 1e6:.2f} MB")
    return 0 if size <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
