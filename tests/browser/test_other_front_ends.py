"""The dashboard in Jupyter Notebook 7 and in Voila."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from contextlib import contextmanager

import ports
import processes
import pytest
import screenshot
from front_ends import Notebook, watched
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

# Raised by an extension of JupyterLab's that Notebook 7 loads, with any notebook.
NOTEBOOKS_OWN = r"reading 'schema'"

# Voila's page asks for a font of a CDN, and JupyterLab's plugins of other packages fail in it.
VOILAS_OWN = r"ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|@jupyterlab/|shared module"

CELLS = ["%load_ext rankbook", "%dist_init gloo -n 2", "%dist dist.barrier()"]


@contextmanager
def served(command, path):
    """A server of notebooks on loopback; yields the URL that `path` is appended to."""
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with ports.reserved() as [port]:
        server = subprocess.Popen(
            [sys.executable, "-m", *command(port)], env=environ, cwd=path.parent
        )
        try:
            processes.wait_until(lambda: listens(port), timeout=60)
            yield f"http://127.0.0.1:{port}"
        finally:
            screenshot.end(server)


def listens(port):
    """Whether a server listens; asking Voila for its page would already run the notebook."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_notebook_7_shows_the_dashboard_and_its_buttons_act_in_a_hang(browser, tmp_path):
    path, token = tmp_path / "notebook.ipynb", secrets.token_hex(16)
    screenshot.write(path, CELLS)

    def command(port):
        return [
            "notebook",
            f"--ServerApp.port={port}",
            f"--IdentityProvider.token={token}",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.open_browser=False",
            "--ServerApp.allow_root=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
            "--log-level=ERROR",
        ]

    with served(command, path) as url, watched(browser, NOTEBOOKS_OWN) as page:
        page.goto(f"{url}/notebooks/{path.name}?token={token}")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_function(
            "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
            " === 'idle'"
        )
        screenshot.run_all(page)
        notebook = Notebook(page)
        notebook.wait_until_idle()
        expect(notebook.rows).to_have_count(2)
        notebook.hang()
        notebook.click("Why?")
        expect(notebook.message).to_contain_text("Why? Rank 0 never called barrier")
        notebook.click("Reset")
        expect(notebook.message).to_contain_text("Reset: gloo, 2 ranks, generation 2.")
        notebook.end()
        notebook.click("Shut down")
        expect(notebook.health).to_have_text("shut down")


def test_voila_shows_the_dashboard_and_its_buttons_act(browser, tmp_path):
    path = tmp_path / "notebook.ipynb"
    screenshot.write(path, CELLS)

    def command(port):
        return ["voila", path.name, f"--port={port}", "--no-browser", "--Voila.ip=127.0.0.1"]

    with served(command, path) as url, watched(browser, VOILAS_OWN) as page:
        page.goto(url)
        notebook = Notebook(page)
        notebook.wait_until_idle()
        expect(notebook.rows).to_have_count(2)
        notebook.click("Reset")
        expect(notebook.message).to_contain_text("Reset: gloo, 2 ranks, generation 2.")
        notebook.click("Shut down")
        expect(notebook.health).to_have_text("shut down")
