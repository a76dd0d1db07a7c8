"""Execute the notebooks with their solutions, and write them as pages of the documentation.

``docs/lessons/rendered/NAME.html`` is what stands below the heading of ``docs/lessons/NAME.md``.
Who changes a notebook runs it again, and looks at the pages.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from pygments import highlight
from pygments.formatters import HtmlFormatter
from run_notebook import run

ROOT = Path(__file__).parents[1]
RENDERED = ROOT / "docs" / "lessons" / "rendered"

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
from cells import CellLexer  # noqa: E402 - it lies with what builds the documentation

_FOLDER = "~/lessons"
"""What the pages call the folder in which a notebook ran, and one that it made."""


def coloured(source: str, **_: object) -> str:
    """The code of a cell as HTML, in the colours of the documentation's other cells."""
    return highlight(source, CellLexer(), HtmlFormatter(cssclass="highlight hl-ipython3"))


def render(path: Path) -> str:
    """Return the body of a page for an executed notebook, without its heading."""
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    first.source = re.sub(r"\A# .*\n+", "", first.source)
    exporter = HTMLExporter(template_name="basic", filters={"highlight_code": coloured})
    body, _ = exporter.from_notebook_node(notebook)
    # Links between notebooks are links between pages here.
    body = re.sub(r'href="(\w+)\.ipynb"', r'href="\1.html"', body)
    made = re.escape(str(Path(tempfile.gettempdir(), "tmp")))
    body = re.sub(rf"{made}\w+", _FOLDER, body)
    return "\n".join(line.rstrip() for line in body.strip().splitlines()) + "\n"


def main() -> int:
    """Render the notebooks that are named, or all that have a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="without .ipynb; default: all with a page")
    pages = {page.stem for page in (ROOT / "docs" / "lessons").glob("[0-9]*.md")}
    names = parser.parse_args().names or sorted(pages)
    RENDERED.mkdir(exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder))
            done = path.with_suffix(".done.ipynb")
            if status := run(path, 120, solved=True, save=done):
                return status
            (RENDERED / f"{name}.html").write_text(render(done), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
