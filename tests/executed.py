"""Notebooks of the project, run in a real kernel, and what their cells have shown."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

from rankbook.display.text import plain

__all__ = ["NOTEBOOKS", "cell_with", "error_of", "execute", "shown"]

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def execute(name, timeout=60):
    """Run a notebook to its end, as it is, in an empty folder, and return its code cells.

    Args:
        name: Of the file.
        timeout: Seconds that a cell may take.

    Raises:
        CellExecutionError: A cell failed that is not tagged ``raises-exception``.
        CellTimeoutError: A cell took longer.
    """
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    with TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cell_with(executed, text, nth=0):
    """The cell, or the nth of several, in which a text occurs."""
    return [cell for cell in executed if text in cell.source][nth]


def shown(cell):
    """What a cell shows as text, its exception left out."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type != "error":
            texts.append(output.data.get("text/plain", "") + "\n")
    return "".join(texts)


def error_of(cell):
    """Class, message and traceback of the exception that ended a cell."""
    [error] = [output for output in cell.outputs if output.output_type == "error"]
    return error.ename, error.evalue, plain("\n".join(error.traceback))
