"""Take the picture of the README: the quickstart in a real JupyterLab, in Chromium.

    python scripts/screenshot.py [--out docs/_static] [--theme light|dark]

Chromium is the system's; playwright only drives it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page, sync_playwright
from solutions import solve

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import ports

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "notebooks" / "00_quickstart.ipynb"
SECOND_SECTION = 16
"""Number of the cell with which the quickstart's second section begins."""

BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def main() -> None:
    """Run the quickstart and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "_static")
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    parser.add_argument("--notebook", type=Path, default=QUICKSTART)
    parser.add_argument("--height", type=int, default=1130, help="of the window, pixels")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        lab(solved(args.notebook, folder)) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=BROWSER_OPTIONS,
        )
        page = browser.new_page(
            viewport={"width": 1100, "height": args.height}, device_scale_factor=2
        )
        page.goto(url)
        prepare(page, args.theme)
        suffix = "" if args.theme == "light" else "-dark"
        run_above(page, SECOND_SECTION)  # the last cell of all stops the ranks
        page.wait_for_timeout(1500)  # until the dashboard has looked again: only the picture minds
        scroll_to_top(page)
        path = args.out / f"quickstart{suffix}.png"
        page.locator(".jp-NotebookPanel-notebook").screenshot(path=path)
        run_all(page)
        browser.close()


def solved(path: Path, folder: str) -> Path:
    """Write a notebook with its solutions into a folder."""
    notebook = nbformat.read(path, as_version=4)
    solve(notebook)
    nbformat.write(notebook, Path(folder, path.name))
    return Path(folder, path.name)


def write(path: Path, cells: list[str]) -> None:
    """Write a notebook of code cells."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = new_notebook(
        cells=[new_code_cell(source) for source in cells], metadata={"kernelspec": kernel}
    )
    nbformat.write(written, path)


@contextmanager
def lab(notebook: Path) -> Iterator[str]:
    """A JupyterLab on a copy of a notebook; yields the URL that opens it."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as directory, ports.reserved() as [port]:
        shutil.copy(notebook, directory)
        options = [
            f"--ServerApp.port={port}",
            f"--IdentityProvider.token={token}",
            f"--ServerApp.root_dir={directory}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.open_browser=False",
            "--ServerApp.port_retries=0",
            "--ServerApp.allow_root=True",
            "--LabApp.expose_app_in_browser=True",
            "--log-level=ERROR",
        ]
        settings = Path(directory, ".settings", "@jupyterlab", "apputils-extension")
        settings.mkdir(parents=True)
        quiet = json.dumps({"fetchNews": "false", "checkForUpdates": False})
        (settings / "notification.jupyterlab-settings").write_text(quiet)
        environ = {
            **os.environ,
            "JUPYTERLAB_SETTINGS_DIR": f"{directory}/.settings",
            "JUPYTERLAB_WORKSPACES_DIR": f"{directory}/.workspaces",
        }
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environ)
        try:
            wait_until_up(f"http://127.0.0.1:{port}/api?token={token}")
            yield f"http://127.0.0.1:{port}/lab/tree/{notebook.name}?token={token}"
        finally:
            end(server)


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server of notebooks, also one that does not listen to the first signal."""
    server.terminate()
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def wait_until_up(url: str, timeout: float = 60) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own server
        except (urllib.error.URLError, ConnectionError):  # noqa: PERF203 - it waits anyway
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def prepare(page: Page, theme: str) -> None:
    """Wait for the notebook and its kernel, and leave only the notebook on screen."""
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    if theme == "dark":
        command(page, "apputils:change-theme", {"theme": "JupyterLab Dark"})
    page.evaluate("window.jupyterapp.shell.collapseLeft()")
    page.evaluate("window.jupyterapp.shell.mode = 'single-document'")
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )


def command(page: Page, name: str, args: dict[str, str] | None = None) -> None:
    """Run one of JupyterLab's commands."""
    page.evaluate(
        "([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, args or {}]
    )


def run_all(page: Page) -> None:
    """Run all cells, and wait until they have run."""
    run_above(page, None)


def run_above(page: Page, end: int | None) -> None:
    """Run those cells above one that have not run yet, and wait until they have.

    Args:
        page: Shows the notebook.
        end: Number of the cell to stop before, counted from the end if negative; None runs all.
    """
    page.evaluate(
        """async (end) => {
            const panel = window.jupyterapp.shell.currentWidget;
            const cells = panel.content.widgets.slice(0, end === null ? undefined : end);
            for (const cell of cells) {
                if (cell.model.type === 'code' && cell.model.executionCount === null) {
                    panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
                    await window.jupyterapp.commands.execute('notebook:run-cell');
                }
            }
            panel.content.activeCellIndex = panel.content.widgets.length - 1;
        }""",
        end,
    )
    page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )


def scroll_to_top(page: Page) -> None:
    """Bring the first cell to the top of the window."""
    page.evaluate("window.jupyterapp.shell.currentWidget.content.scrollToItem(0, 'start')")


if __name__ == "__main__":
    main()
