"""Capturing the output of a cell: streams, rich displays, the last value.

All of it goes into the outbox of the running job. While no job runs, ipykernel sends it as usual,
so that ``%%px`` and other clients of the same engine are unaffected.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
import tokenize
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.engine.cells.between import Between
from rankbook.engine.cells.outputs import Outputs
from rankbook.engine.cells.streams import CapturedStream, StandardInput
from rankbook.interrupts import delay_ctrl_c
from rankbook.models.events import Clear, Display, Result

if TYPE_CHECKING:
    from rankbook.engine.cells.failures import Failures
    from rankbook.engine.cells.outbox import Outbox
    from rankbook.engine.cells.tail import Tail

__all__ = ["Capture", "ends_in_semicolon"]

_OFTEN = 0.0003
"""Seconds between two looks for what was written past Python. No subprocess takes less, and a look
at each of many prints would let another thread go first each time."""

_PATIENCE = 0.2
"""Seconds to wait for another thread that sends what was written past Python."""


class Capture:
    """Installed once per engine.

    Attributes:
        outbox: Where output goes now; None: where ipykernel sends it.
        muted: Threads whose output is dropped.
        between: Output while no cell runs.
        outputs: The output widgets that capture text.
        cell: The running code, with IPython syntax replaced.
    """

    def __init__(self, kernel: Any, failures: Failures, tail: Tail) -> None:
        """Insert it between a kernel and its publishing; the tail has what goes past Python."""
        self.outbox: Outbox | None = None
        self.muted: set[int] = set()
        self.between = Between()
        self.outputs = Outputs(failures)
        self.cell = ""
        self._tail = tail
        self._looks_again = 0.0
        self._shell = shell = kernel.shell
        self._streams = (
            CapturedStream("stdout", sys.stdout, self),
            CapturedStream("stderr", sys.stderr, self),
        )
        sys.stdout, sys.stderr = self._streams
        sys.stdin = StandardInput()
        os.register_at_fork(after_in_child=self._in_child)
        # Private in ipykernel: its hooks belong to one thread, but other threads show things, too.
        shell.display_pub._thread_local = _Hooks(self._on_display)
        hook = shell.displayhook
        self._finish_result, hook.finish_displayhook = hook.finish_displayhook, self._on_result
        self._quiet, hook.quiet = hook.quiet, self._is_quiet

    def _in_child(self) -> None:
        """Make the output of a forked child visible: nothing empties its outbox."""
        self.outbox = None
        self.outputs.leave()
        for stream in self._streams:
            stream.go_past_python()

    def begin(self, outbox: Outbox) -> None:
        """Send output into an outbox from now on."""
        self.outbox, self.cell = outbox, ""
        for stream, text in self.between.take():
            outbox.write(stream, text)
        self.between.begun()

    def end(self) -> None:
        """Send output to the former destination."""
        self.outputs.show()
        self.outbox = None

    def catch_up(self, outbox: Outbox) -> None:
        """Send first what was written past Python before: by a subprocess, for example."""
        if time.monotonic() < self._looks_again:
            return
        has_grown, self._looks_again = self._tail.has_grown, time.monotonic() + _OFTEN
        if not has_grown:
            return
        with delay_ctrl_c():  # it would leave the tail locked
            while self._tail.show_piece(partial(outbox.write, "stdout"), _PATIENCE):
                pass

    def _is_quiet(self) -> bool:
        """Whether the cell ends in a semicolon; not all are in IPython's history, which it asks."""
        if self.outbox is None:
            return bool(self._quiet())
        return ends_in_semicolon(self.cell)

    def _on_result(self) -> None:
        """Send the last value of a cell where ipykernel would publish it."""
        hook = self._shell.displayhook
        if self.outbox is None:
            self._finish_result()
            return
        if hook.msg and hook.msg["content"]["data"]:
            content = hook.msg["content"]
            # There may be several: then none is the cell's.
            shown = Display if self._shell.ast_node_interactivity == "all" else Result
            self.catch_up(self.outbox)
            self.outbox.put(shown(content["data"], content["metadata"]))
        hook.msg = None

    def _on_display(self, msg: dict[str, Any]) -> dict[str, Any] | None:
        display = _display(msg["header"]["msg_type"], msg["content"])
        if self.outputs.display(display):
            return None
        if self.outbox is None:
            return msg
        self.catch_up(self.outbox)
        self.outbox.put(display)
        return None


class _Hooks(threading.local):
    """ipykernel's display hooks, the same in every thread."""

    def __init__(self, hook: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self.hooks = [hook]


def ends_in_semicolon(cell: str) -> bool:
    """Whether a cell ends in a semicolon, ignoring comments, which hides its value.

    IPython has a function for this from 8.10 on, which raises where a cell is not Python.

    Args:
        cell: The cell, with IPython syntax replaced.
    """
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(cell).readline))
    except (tokenize.TokenError, SyntaxError):
        return cell.rstrip().endswith(";")
    last = next((token for token in reversed(tokens) if token.type not in beside), None)
    return last is not None and last.type == tokenize.OP and last.string == ";"


def _display(kind: str, content: Mapping[str, Any]) -> Display | Clear:
    """The display of a cell, from the message that ipykernel would send."""
    if kind == "clear_output":
        return Clear(content["wait"])
    return Display(
        content["data"],
        content["metadata"],
        content.get("transient", {}).get("display_id", ""),
        update=kind == "update_display_data",
    )
