"""Answering clicks while a cell runs."""

from __future__ import annotations

from typing import Any

__all__ = ["answer_beside_cells"]


def answer_beside_cells(widget: Any) -> None:
    """Have a widget's messages handled in the thread that the front end asks for.

    JupyterLab sends them to a subshell, a thread beside the running cell. ipykernel 7.4 handles
    them in the thread that last sent a message of the widget instead, which for one made in a cell
    is the cell's own: a click would wait for the cell's end. Earlier versions have no such detour
    (7.0 to 7.3) or no subshells (6). The attribute is private;
    ``tests/unit/test_private_api.py`` fails if it is removed.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, asked_for: asked_for
