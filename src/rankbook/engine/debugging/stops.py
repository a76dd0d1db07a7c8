"""What stops a rank: ``breakpoint()``, ``pdb``, an exception, ``input()``."""

from __future__ import annotations

import bdb
import builtins
import getpass
import os
import pdb
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch.distributed as dist

from rankbook.cellnames import cell_of
from rankbook.engine.debugging.debugger import RankDebugger
from rankbook.engine.debugging.prompt import Prompt

__all__ = ["Stops"]


class Stops:
    """Puts a rank's own functions in the place of those that would need a terminal."""

    def __init__(self, prompt: Prompt) -> None:
        """Put them there, once in a process.

        Args:
            prompt: Asks the notebook.
        """
        self._prompt = prompt
        self._local = threading.local()
        self._passed: dict[tuple[str, int], int] = {}
        sys.breakpointhook = self._breakpoint
        pdb.set_trace = self._set_trace
        pdb.post_mortem = self._post_mortem
        dist.breakpoint = self._dist_breakpoint
        builtins.input = self._input
        getpass.getpass = self._getpass

    def look_back(self, trace: TracebackType | None) -> None:
        """Stop where an exception was raised, in the person's frame."""
        __tracebackhide__ = True
        self._debugger().look_back(trace)

    def end_cell(self) -> None:
        """A cell has ended: nothing is traced any more, and its breakpoints are gone."""
        if getattr(self._local, "debugger", None) is None and not bdb.Breakpoint.bplist:
            return
        sys.settrace(None)
        self._debugger().clear_all_breaks()
        self._local.debugger = None
        self._passed.clear()

    # -- in the place of others --------------------------------------------------------------

    def _breakpoint(self, *_args: Any, header: str | None = None, **_options: Any) -> None:
        __tracebackhide__ = True
        if os.environ.get("PYTHONBREAKPOINT") != "0":
            self._stop(sys._getframe(1), header)

    def _set_trace(self, *, header: str | None = None, **_options: Any) -> None:
        __tracebackhide__ = True
        self._stop(sys._getframe(1), header)

    def _post_mortem(self, t: Any = None) -> None:
        __tracebackhide__ = True
        trace = t.__traceback__ if isinstance(t, BaseException) else t
        if trace is None:
            error = sys.exc_info()[1]
            trace = error.__traceback__ if error is not None else None
        if trace is None:
            raise ValueError("A valid traceback must be passed if no exception is being handled")
        self.look_back(trace)

    def _dist_breakpoint(self, rank: int = 0, skip: int = 0, timeout_s: float = 0) -> None:
        """Stop on one rank, while the others wait for it, as torch.distributed.breakpoint does.

        Args:
            rank: The rank that stops.
            skip: How often the same line is passed first.
            timeout_s: Of no use here: a rank that stands at a prompt has all the time it needs.
        """
        __tracebackhide__ = True
        del timeout_s
        if rank not in range(dist.get_world_size()):
            raise ValueError(f"rank={rank}: this group has {dist.get_world_size()} ranks, from 0.")
        frame = sys._getframe(1)
        at = frame.f_code.co_filename, frame.f_lineno
        self._passed[at] = self._passed.get(at, 0) + 1
        if self._passed[at] <= skip:
            return
        if dist.get_rank() == rank:
            self._stop(frame, None)
        dist.barrier()

    def _input(self, prompt: object = "", /) -> str:
        __tracebackhide__ = True
        return self._prompt.ask("input", str(prompt))

    def _getpass(self, prompt: str = "Password: ", *_args: Any, **_options: Any) -> str:
        __tracebackhide__ = True
        return self._prompt.ask("password", str(prompt))

    # ----------------------------------------------------------------------------------------

    def _stop(self, frame: FrameType, header: str | None) -> None:
        __tracebackhide__ = True
        self._prompt.refuse()
        if header:
            print(header)
        self._debugger().stop_at(frame)

    def _debugger(self) -> RankDebugger:
        """This thread's debugger: what it displays, and what was typed last, outlive one stop."""
        known: RankDebugger | None = getattr(self._local, "debugger", None)
        if known is None or known.depth:
            new = RankDebugger(self._prompt, _name_of)
            if known is not None:
                return new  # an expression at the prompt has come to a breakpoint
            self._local.debugger = known = new
        return known


def _name_of(filename: str) -> str:
    """What a person calls a file of code: ``In [7]``, ``train.py``."""
    return cell_of(filename) or Path(filename).name
