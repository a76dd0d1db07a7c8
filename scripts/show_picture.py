"""Take the pictures of %dist_mesh, %dist_show and %dist_why -v, in a real JupyterLab, in Chromium.

python scripts/show_picture.py [--out docs/_static]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from screenshot import BROWSER_OPTIONS, ROOT, lab, prepare, write

CELLS = {
    "setup": "%load_ext rankbook\n%dist_init gloo -n 4 --no-dashboard",
    "mesh": "%dist_mesh dp=2 tp=2",
    "shards": "%%dist\nfrom torch.distributed.tensor import Replicate, Shard, distribute_tensor\n"
    "w = distribute_tensor(torch.arange(-8.0, 8.0).reshape(4, 4), mesh, [Shard(0), Shard(1)])\nw",
    "heat": "%%dist\ngrad = torch.linspace(-3, 3, 4096).sin().reshape(64, 64) * (rank + 1)",
    "large": "%dist_show grad",
    "keep": "%%dist --keep-values\nx = torch.ones(3) * rank\ndist.all_reduce(x)",
    "collectives": "%dist_show --collectives",
    "hang": "%%dist\nstep = 3\nif rank: dist.all_reduce(x)",
    "why": "%dist_why -v",
}
PICTURES = ("mesh", "shards", "large", "collectives", "why")


def main() -> None:
    """Run the cells, take a picture of each output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "_static")
    parser.add_argument("--only", nargs="*", default=["shards"], help=", ".join(PICTURES))
    args = parser.parse_args()
    names = list(CELLS)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "show.ipynb"
        write(path, list(CELLS.values()))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=BROWSER_OPTIONS,
        )
        for theme in ("light", "dark"):
            with lab(path) as url:
                page = browser.new_page(
                    viewport={"width": 900, "height": 1800}, device_scale_factor=2
                )
                page.goto(url)
                prepare(page, theme)
                for cell in range(len(names)):
                    page.evaluate(
                        """async (index) => {
                            const panel = window.jupyterapp.shell.currentWidget;
                            panel.content.activeCellIndex = index;
                            await window.jupyterapp.commands.execute('notebook:run-cell');
                        }""",
                        cell,
                    )
                    page.wait_for_timeout(300)  # until the output is drawn
                for name in args.only:
                    cell = page.locator(".jp-CodeCell").nth(names.index(name))
                    cell.scroll_into_view_if_needed()
                    cell.screenshot(path=args.out / f"show-{name}-{theme}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main()
