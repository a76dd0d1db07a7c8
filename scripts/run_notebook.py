"""Run a notebook in a real kernel of this Python and print its transcript as it comes.

Exits with 1, after the traceback, when a cell raises.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode
from solutions import solve

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RULE = "─" * 72


class Transcript:
    """Writes cells and their outputs to stdout, each as soon as it is known."""

    def __init__(self) -> None:
        self.at_line_start = True
        self.shown: dict[str, str] = {}  # display id -> the text printed for it
        self.changed: dict[str, str] = {}  # display id -> what it turned into since

    def cell(self, cell: NotebookNode, number: int) -> None:
        """Write a cell's source, called when it starts."""
        if not cell.source.strip():
            return
        if cell.cell_type == "code":
            heading = f"── [{number}] "
            self.line(f"\n{heading}{RULE[len(heading) :]}\n{cell.source}\n{RULE}")
        else:
            self.line(f"\n{cell.source}")

    def message(self, kind: str, content: dict[str, Any]) -> None:
        """Write what one message of the kernel shows, if it shows anything."""
        if kind == "stream":
            self.write(content["text"])
        elif kind == "error":
            self.line("\n".join(content["traceback"]))
        elif kind in ("display_data", "execute_result"):
            text = plain(content["data"])
            self.line(text)
            if display_id := (content.get("transient") or {}).get("display_id"):
                self.shown[display_id] = text
        elif kind == "update_display_data":
            self.update(content["transient"]["display_id"], plain(content["data"]))

    def update(self, display_id: str, text: str) -> None:
        """Write what a display gained; a display that was redrawn waits for the cell's end."""
        before = self.shown.get(display_id, "")
        if text.startswith(before):
            if gained := text[len(before) :].lstrip("\n"):
                self.line(gained)
            self.shown[display_id] = text
            self.changed.pop(display_id, None)
        else:
            self.changed[display_id] = text

    def end_of_cell(self) -> None:
        """Write the last state of the displays that were redrawn while the cell ran."""
        for display_id, text in self.changed.items():
            self.line(text)
            self.shown[display_id] = text
        self.changed.clear()

    def line(self, text: str) -> None:
        """Write whole lines."""
        self.write(("" if self.at_line_start else "\n") + text.rstrip("\n") + "\n")

    def write(self, text: str) -> None:
        """Write text at once, without colours where nobody could see them."""
        if not text:
            return
        sys.stdout.write(text if sys.stdout.isatty() else ANSI.sub("", text))
        sys.stdout.flush()
        self.at_line_start = text.endswith("\n")


def plain(data: dict[str, Any]) -> str:
    """Return a MIME bundle's text, or the name of its first type where it has none."""
    if "text/plain" in data:
        return str(data["text/plain"])
    return f"[{next(iter(data), 'nothing')}]"


class LiveClient(NotebookClient):  # type: ignore[misc]
    """An nbclient that hands each message on before it stores it."""

    transcript: Transcript

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Show a message, then let nbclient do its work."""
        self.transcript.message(msg["msg_type"], msg["content"])
        return super().process_message(msg, cell, cell_index)


def run(path: Path, timeout: float, *, solved: bool = False, save: Path | None = None) -> int:
    """Run the notebook at a path.

    Args:
        path: The notebook. Its folder is the kernel's working directory.
        timeout: Seconds that one cell may take.
        solved: Fill in the solutions of a lesson first. It then runs in an empty folder: the
            progress that a lesson keeps beside its notebook is the reader's.
        save: Where the notebook is written with its outputs; None: nowhere.

    Returns:
        The exit status: 0, or 1 if a cell raised, took too long or killed the kernel.
    """
    notebook = nbformat.read(path, as_version=4)
    if solved:
        solve(notebook)
    run_cells = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip()
    ]
    numbers = {index: number for number, index in enumerate(run_cells, start=1)}

    # With no folder to search, "python3" can only be the kernel of the Python that runs this;
    # a user's own kernelspec of that name may belong to any other.
    kernel = AsyncKernelManager(
        kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[])
    )
    transcript = Transcript()
    client = LiveClient(
        notebook,
        km=kernel,
        timeout=timeout,
        extra_arguments=["--log-level=ERROR"],  # else it says that loopback is not encrypted
        on_cell_start=lambda cell, cell_index: transcript.cell(cell, numbers.get(cell_index, 0)),
        on_cell_executed=lambda **_: transcript.end_of_cell(),
    )
    client.owns_km = True  # so that it ends the kernel, too
    client.transcript = transcript
    # What cells write arrives as messages. What the kernel says past them, of its sockets as it
    # ends perhaps, is only worth reading if it has died of something.
    with TemporaryFile() as said, TemporaryDirectory() as empty:
        folder = empty if solved else str(path.resolve().parent)
        client.resources["metadata"] = {"path": folder}
        try:
            client.execute(stderr=said)
        except (CellControlSignal, DeadKernelError) as error:
            if isinstance(error, DeadKernelError):
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace"))
            # A traceback that the cell raised is on the screen already; other ends are not.
            reason = getattr(error, "ename", "") or str(error)
            print(f"\n{path}: stopped: {reason}", file=sys.stderr)
            return 1
        finally:
            if save is not None:
                nbformat.write(notebook, save)
    return 0


def main() -> int:
    """Parse the command line and run the notebook it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument(
        "--timeout", type=float, default=300, help="seconds one cell may take (default: 300)"
    )
    parser.add_argument("--solved", action="store_true", help="with a lesson's solutions")
    parser.add_argument("--save", type=Path, help="write the notebook with its outputs there")
    args = parser.parse_args()
    if not args.notebook.is_file():
        parser.error(f"there is no notebook {args.notebook}")
    return run(args.notebook, args.timeout, solved=args.solved, save=args.save)


if __name__ == "__main__":
    sys.exit(main())
