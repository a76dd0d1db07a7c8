"""Take the pictures of the dashboard that the documentation shows: healthy, hung with its verdict.

    python scripts/dashboard_pictures.py [--out docs/_static] [--ranks 2 8 64] [--theme light dark]

Real ranks, a real JupyterLab, in Chromium.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path

import screenshot
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

TRAINING = """%%dist
import time
gradients = torch.ones(200_000)
for step in range(6):
    time.sleep(0.02 + 0.03 * (rank == world_size // 2))  # one rank is slower
    dist.all_reduce(gradients)
    if step % 3 == 2:
        losses = [torch.zeros(1) for _ in range(world_size)]
        dist.all_gather(losses, torch.ones(1))"""

HANG = """%%dist --on-hang wait
loss = torch.ones(1) * rank
if rank != 1:
    dist.all_reduce(loss)"""

SHOWN = {2: ["hung"], 8: ["healthy", "hung"], 64: ["hung"]}
"""By number of ranks, which pictures there are."""

ALARM = {"light": "#b83a00", "dark": "#ff9a62"}
"""What the timeline marks late ranks with: it has followed the theme when it draws with this."""

LONG = 120_000  # ms for 64 ranks on two cores


def main() -> None:
    """Take all pictures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=screenshot.ROOT / "docs" / "_static")
    parser.add_argument("--ranks", type=int, nargs="+", choices=[*SHOWN], default=[*SHOWN])
    parser.add_argument("--theme", choices=["light", "dark"], nargs="+", default=["light", "dark"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as directory:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=screenshot.BROWSER_OPTIONS,
        )
        for ranks in args.ranks:
            notebook = Path(directory, f"{ranks}.ipynb")
            # The hang lasts until both themes are taken, on a busy machine, too.
            start = f"%dist_init gloo -n {ranks} --timeout 10"
            cells = ["%load_ext rankbook", start, TRAINING]
            screenshot.write(notebook, cells)
            with screenshot.lab(notebook) as url:
                page = browser.new_page(
                    viewport={"width": 1180, "height": 1800}, device_scale_factor=1.5
                )
                page.set_default_timeout(LONG)
                page.goto(url)
                take(page, args.out, ranks, args.theme)
                page.close()
        browser.close()


def take(page: Page, out: Path, ranks: int, themes: list[str]) -> None:
    """Bring the dashboard into both states, and take each that is shown in every theme."""
    screenshot.prepare(page, "light")
    screenshot.run_all(page)
    health = page.locator(".rb-health")
    expect(health).to_contain_text("all idle", timeout=LONG)
    if "healthy" in SHOWN[ranks]:
        settle(page)
        picture(page, out, f"healthy-{ranks}", themes)
    page.evaluate(
        """(code) => {
            const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
            window.ended = kernel.requestExecute({ code }).done;
        }""",
        HANG,
    )
    expect(health).to_contain_text("stuck", timeout=LONG)
    expect(page.locator(".rb-does").first).to_contain_text(re.compile(r"all_reduce, \d+ s"))
    settle(page)
    picture(page, out, f"hung-{ranks}", themes)
    page.locator(".rankbook").get_by_role("button", name="Interrupt").click()
    page.evaluate("() => window.ended")
    page.locator(".rankbook").get_by_role("button", name="Shut down").click()
    expect(health).to_contain_text("shut down", timeout=LONG)


def settle(page: Page) -> None:
    """Wait until the timeline shows what has been recorded lately; only the picture minds."""
    page.wait_for_timeout(2500)


def picture(page: Page, out: Path, name: str, themes: list[str]) -> None:
    """Take the dashboard, in each theme."""
    for theme in themes:
        title = "JupyterLab Dark" if theme == "dark" else "JupyterLab Light"
        screenshot.command(page, "apputils:change-theme", {"theme": title})
        shown = page.locator(f'body[data-jp-theme-name="{title}"]')
        expect(shown).to_have_count(1, timeout=LONG)
        page.wait_for_function(
            "(colour) => [...document.querySelectorAll('.rbt')].every("
            "(each) => each.style.getPropertyValue('--rbt-alarm') === colour)",
            arg=ALARM[theme],
        )
        page.mouse.move(0, 0)
        page.wait_for_timeout(300)  # until its transitions have ended
        board = page.locator(".jp-OutputArea-output").filter(has=page.locator(".rb-head"))
        path = out / f"dashboard-{name}-{theme}.png"
        board.last.screenshot(path=path)
        # A third of the size, and looks the same: a dashboard has few colours.
        taken = Image.open(path).convert("RGB")
        taken.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)


if __name__ == "__main__":
    main()
