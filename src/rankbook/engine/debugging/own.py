"""Debuggers that user code makes: ``pdb.Pdb()``, IPython's, a class derived from them.

They would read from a terminal, which a rank does not have, so they use the notebook's prompt.
"""

from __future__ import annotations

import functools
import pdb
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, Protocol

from rankbook.engine.debugging.debugger import RankDebugger
from rankbook.engine.imports import when_imported

__all__ = ["take_over"]

_MAIN = (
    "pdb cannot run a script on a rank. %dist_run --pdb SCRIPT stops where it fails; "
    "breakpoint() in it stops there."
)


class Prompting(Protocol):
    """What opens the notebook's prompt, in the ways in which ``pdb`` is called."""

    def stop(self, frame: FrameType) -> None:
        """Stop at the present line of a frame."""

    def post_mortem(self, t: Any = None) -> None:
        """Look back at an exception or a traceback."""

    def run(self, statement: Any, *names: Any) -> None:
        """Step through a statement."""

    def run_expression(self, expression: str, *names: Any) -> Any:
        """Step through an expression."""

    def run_call(self, *args: Any, **options: Any) -> Any:
        """Step through a call."""


def take_over(stops: Prompting) -> None:
    """Have debuggers that user code makes stop at the prompt, too; once in a process.

    A debugger with its own streams, for another process or a socket, keeps them.

    Args:
        stops: Opens the prompt.
    """

    def set_trace(frame: FrameType | None = None, **_options: Any) -> None:
        __tracebackhide__ = True
        stops.stop(frame or sys._getframe(2))

    def interaction(frame: FrameType | None, trace: Any = None) -> None:
        __tracebackhide__ = True
        if trace is not None:
            stops.post_mortem(trace)
        elif frame is not None:
            stops.stop(frame)

    _replace("set_trace", set_trace)
    _replace("interaction", interaction)
    _replace("run", stops.run)
    _replace("runctx", stops.run)
    _replace("runeval", stops.run_expression)
    _replace("runcall", stops.run_call)
    pdb.main = _main
    when_imported("IPython.terminal.debugger", _need_no_terminal)


def _replace(name: str, act: Callable[..., Any]) -> None:
    """Replace a method of ``pdb.Pdb`` for debuggers that user code makes."""
    original = getattr(pdb.Pdb, name)

    @functools.wraps(original)
    def method(self: pdb.Pdb, *args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        is_ours = isinstance(self, RankDebugger)
        has_streams = self.stdin not in (sys.stdin, sys.__stdin__)
        return original(self, *args, **options) if is_ours or has_streams else act(*args, **options)

    setattr(pdb.Pdb, name, method)


def _main() -> None:
    """``python -m pdb`` on a rank, as ``%dist_run -m pdb`` runs it."""
    raise SystemExit(_MAIN)


def _need_no_terminal(module: ModuleType) -> None:
    """Allow IPython's terminal debugger to be made without a terminal."""

    def pt_init(_self: Any, _options: Any = None) -> None:
        """Open no terminal prompt."""

    module.TerminalPdb.pt_init = pt_init
