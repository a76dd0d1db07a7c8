"""Stops of a rank: ``breakpoint()``, ``pdb``, an exception, ``input()``."""

from __future__ import annotations

import bdb
import builtins
import getpass
import os
import pdb
import sys
import threading
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from rankbook.cellnames import cell_of
from rankbook.engine.debugging import own
from rankbook.engine.debugging.chains import error_line
from rankbook.engine.debugging.debugger import RankDebugger
from rankbook.engine.debugging.prompt import Prompt
from rankbook.engine.imports import when_imported
from rankbook.engine.looking.traces import passes_user_code

__all__ = ["Stops"]

_COMPILER = str(Path(torch.__file__).parent / "_dynamo")
"""The path of torch.compile's code, which calls functions that it does not compile."""

_COMPILED = ("__compiled_fn", "__resume_at")
"""The prefix of names in functions that torch.compile has rewritten."""


class Stops:
    """Replaces functions that would need a terminal by the rank's own.

    Attributes:
        at_failures: Whether a cell that fails opens the prompt (``%pdb on``).
    """

    def __init__(self, prompt: Prompt) -> None:
        """Replace them, once in a process.

        Args:
            prompt: Asks the notebook.
        """
        self.at_failures = False
        self._prompt = prompt
        self._local = threading.local()
        self._passed: dict[tuple[str, int], int] = {}
        sys.breakpointhook = self._breakpoint
        pdb.set_trace = self._set_trace
        pdb.post_mortem = self.post_mortem
        pdb.pm = self.look_back_at_last
        pdb.run = pdb.runctx = self.run  # type: ignore[assignment]
        pdb.runeval = self.run_expression  # type: ignore[assignment]
        pdb.runcall = self.run_call
        if hasattr(pdb, "set_trace_async"):  # from Python 3.14 on
            pdb.set_trace_async = self._set_trace_async
        own.take_over(self)
        when_imported("IPython.core.debugger", self._take_set_trace)
        when_imported("IPython.terminal.debugger", self._take_set_trace)
        when_imported("ipdb", self._take_ipdb)
        when_imported("torch._dynamo", self._leave_uncompiled)
        dist.breakpoint = self._dist_breakpoint
        builtins.input = self._input
        getpass.getpass = self._getpass

    def look_back(self, trace: TracebackType | None, error: BaseException | None = None) -> None:
        """Stop where an exception was raised, in the user's frame."""
        __tracebackhide__ = True
        self._debugger().look_back(trace, error)

    def look_back_at(self, error: BaseException | None) -> None:
        """Print an exception, and stop where it was raised."""
        __tracebackhide__ = True
        if error is None or error.__traceback__ is None:
            print("No cell has failed here.")
            return
        print(error_line(error))
        if not passes_user_code(error.__traceback__):  # a SyntaxError, for example
            print("No line of the cell had run: there is no frame to look at.")
            return
        self.look_back(error.__traceback__, error)

    def look_back_at_last(self) -> None:
        """Stop where the exception that last ended a cell was raised."""
        __tracebackhide__ = True
        self.look_back_at(getattr(sys, "last_value", None))

    def end_cell(self) -> None:
        """Stop tracing, and clear breakpoints: a cell has ended."""
        if getattr(self._local, "debugger", None) is None and not bdb.Breakpoint.bplist:
            return
        sys.settrace(None)
        self._debugger().clear_all_breaks()
        bdb.Breakpoint.clearBreakpoints()  # the next cell counts from 1
        self._local.debugger = None
        self._passed.clear()

    # -- replacements -----------------------------------------------------------------------

    def _breakpoint(self, *_args: Any, header: str | None = None, **_options: Any) -> None:
        __tracebackhide__ = True
        if os.environ.get("PYTHONBREAKPOINT") != "0":
            self.stop(_caller(sys._getframe(1)), header)

    def _set_trace(
        self,
        frame: FrameType | None = None,
        *_args: Any,
        header: str | None = None,
        **_options: Any,
    ) -> None:
        __tracebackhide__ = True
        self.stop(frame or _caller(sys._getframe(1)), header)

    async def _set_trace_async(
        self,
        *_args: Any,
        header: str | None = None,
        **_options: Any,
    ) -> None:
        __tracebackhide__ = True
        self.stop(sys._getframe(1), header)

    def run(
        self,
        statement: Any,
        globals: dict[str, Any] | None = None,  # noqa: A002 - as pdb.run has it
        locals: dict[str, Any] | None = None,  # noqa: A002
    ) -> None:
        """Step through a statement, from its first line on.

        Args:
            statement: A text, or code.
            globals: Its variables; by default those of ``__main__``.
            locals: Its local variables, if they differ from these.
        """
        __tracebackhide__ = True
        code = compile(statement, "<string>", "exec") if isinstance(statement, str) else statement
        self._new_debugger().follow(code, globals, locals)

    def run_expression(self, expression: str, *names: Any) -> Any:
        """Step through an expression; return its value."""
        __tracebackhide__ = True
        return self._new_debugger().follow(compile(expression, "<string>", "eval"), *names)

    def run_call(self, *args: Any, **options: Any) -> Any:
        """Step through a call, given as the function and its arguments; return its value."""
        return self._new_debugger().runcall(*args, **options)

    def _take_set_trace(self, module: ModuleType) -> None:
        module.set_trace = self._set_trace  # type: ignore[attr-defined]

    def _take_ipdb(self, module: Any) -> None:
        def set_trace(frame: Any = None, context: Any = None, cond: bool = True) -> None:  # noqa: FBT001, FBT002
            del context
            if cond:
                self._set_trace(frame or sys._getframe(1))

        module.set_trace = module.sset_trace = set_trace
        module.post_mortem = module.spost_mortem = self.post_mortem
        module.pm = self.look_back_at_last
        module.run, module.runcall = self.run, self.run_call
        module.runeval = self.run_expression

    def _leave_uncompiled(self, _module: ModuleType) -> None:
        # Otherwise torch.compile would compile the debugger.
        disable: Any = torch.compiler.disable
        if sys.breakpointhook == self._breakpoint:
            sys.breakpointhook = disable(self._breakpoint)
        pdb.set_trace = disable(self._set_trace)
        RankDebugger.trace_dispatch = disable(RankDebugger.trace_dispatch)  # type: ignore[method-assign]

    def post_mortem(self, t: Any = None) -> None:
        """Debug an exception or a traceback post-mortem; by default the one being handled."""
        __tracebackhide__ = True
        error = t if isinstance(t, BaseException) else None if t else sys.exc_info()[1]
        trace = error.__traceback__ if error is not None else t
        if trace is None:
            raise ValueError("A valid traceback must be passed if no exception is being handled")
        self.look_back(trace, error)

    def _dist_breakpoint(self, rank: int = 0, skip: int = 0, timeout_s: float = 0) -> None:
        """Stop on one rank, while the others wait for it, as torch.distributed.breakpoint does.

        Args:
            rank: The rank that stops.
            skip: How often to pass the same line first.
            timeout_s: Ignored: waiting at a prompt has no limit.
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
            self.stop(frame, None)
        dist.barrier()

    def _input(self, prompt: object = "", /) -> str:
        __tracebackhide__ = True
        return self._prompt.ask("input", str(prompt))

    def _getpass(self, prompt: str = "Password: ", *_args: Any, **_options: Any) -> str:
        __tracebackhide__ = True
        return self._prompt.ask("password", str(prompt))

    # ----------------------------------------------------------------------------------------

    def stop(self, frame: FrameType, header: str | None = None) -> None:
        """Stop at the present line of a frame.

        Args:
            frame: A frame of user code.
            header: Text to print first.
        """
        __tracebackhide__ = True
        self._prompt.refuse()
        if header:
            print(header)
        if any(name.startswith(_COMPILED) for name in frame.f_code.co_names):
            print(
                "torch.compile has rewritten this function: variables may be missing. To step "
                'through it as it is written, run torch.compiler.set_stance("force_eager") first.'
            )
        self._debugger().stop_at(frame)

    def _debugger(self) -> RankDebugger:
        """This thread's debugger, which keeps displays and the last command between stops."""
        known: RankDebugger | None = getattr(self._local, "debugger", None)
        if known is None or known.depth:
            new = self._new_debugger()
            if known is not None:
                return new  # an expression at the prompt has reached a breakpoint
            self._local.debugger = known = new
        return known

    def _new_debugger(self) -> RankDebugger:
        return RankDebugger(self._prompt, _name_of)


def _caller(frame: FrameType) -> FrameType:
    """The calling frame, past those of torch.compile."""
    while frame.f_code.co_filename.startswith(_COMPILER) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def _name_of(filename: str) -> str:
    """The user's name of a file of code: ``In [7]``, ``train.py``."""
    return cell_of(filename) or Path(filename).name
