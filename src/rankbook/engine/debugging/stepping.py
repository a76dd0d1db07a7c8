"""Where a rank's debugger stops: in user code, and where the user expects it in a cell."""

from __future__ import annotations

import dis
import inspect
import pdb
import sys
from types import CodeType, FrameType
from typing import Any

from rankbook.engine.looking import owners

__all__ = ["Stepping", "is_statement", "runs_cells"]

_MACHINERY = ("IPython", "ipykernel", "ipyparallel", "rankbook", "tornado", "traitlets")
"""Packages that run a cell, which the user does not step through."""


class Stepping(pdb.Pdb):
    """pdb that steps over the code that runs a cell.

    IPython runs every statement of a cell as separate code. To the user the cell is one: the end
    of a statement is not a stop, and ``until 9`` means the cell's line 9.

    Attributes:
        is_inside_line: Whether it has stopped within a line, at ``breakpoint()``, not before one.
        until: The line of the cell up to which it goes on; 0 if not requested.
    """

    def __init__(self, **options: Any) -> None:
        """Make one; options as pdb takes them."""
        packages = [pattern for each in _MACHINERY for pattern in (each, f"{each}.*")]
        super().__init__(skip=packages, nosigint=True, readrc=False, **options)
        self.until = 0
        self.is_inside_line = False
        self._followed: CodeType | None = None
        """Code that it runs itself, with a stop at the first line."""
        self._stopped_before: tuple[FrameType, int] | None = None
        """The line before which it last stopped."""

    def user_line(self, frame: FrameType) -> None:
        """Stop before a line."""
        self._stopped_before = frame, frame.f_lineno
        super().user_line(frame)

    def stop_at(self, frame: FrameType) -> None:
        """Stop at the present line of a frame, then go on as the user says."""
        is_stepped = self._stopped_before == (frame, frame.f_lineno)
        self._stopped_before = None
        if is_stepped and sys.gettrace() is not None and self.stopframe in (None, frame):
            return  # the user has just seen ``breakpoint()``, and stepped over it
        sys.settrace(None)  # the rest is the debugger's own code
        self.reset()
        caller: FrameType | None = frame
        while caller is not None:
            caller.f_trace = self.trace_dispatch
            self.botframe = caller
            caller = caller.f_back
        self.is_inside_line = True
        try:
            self.interaction(frame, None)
        finally:
            self.is_inside_line = False
        if self.quitting:
            raise KeyboardInterrupt
        if self.stopframe is not self.botframe or self.breaks:
            sys.settrace(self.trace_dispatch)

    def follow(self, code: CodeType, *names: dict[str, Any] | None) -> Any:
        """Step through code, from its first line on; return its value, if it is an expression."""
        self._followed = code
        return self.runeval(code, *names)

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop where a function returns; the end of a statement of a cell is not a stop."""
        if not is_statement(frame):
            super().user_return(frame, return_value)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop where a function begins; a statement of a cell begins with its line."""
        if not is_statement(frame):
            super().user_call(frame, argument_list)

    # A coroutine, or a generator, returns each time that it is suspended. pdb waits for the
    # exception at its end, which only the code that runs the cell may see.

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """Go on where a function has returned, or a coroutine has ended."""
        is_awaited = frame is self.stopframe and bool(frame.f_code.co_flags & _SUSPENDED)
        trace = super().dispatch_return(frame, arg)
        if is_awaited and frame is self.stopframe and not _is_suspended(frame):
            self.set_step()
        return trace

    def user_exception(self, frame: FrameType, exc_info: Any) -> None:
        """Stop where an exception passes; the end of a coroutine is none of a person's."""
        if owners.is_user_code(frame.f_code) or exc_info[0] is not StopIteration:
            super().user_exception(frame, exc_info)

    def set_return(self, frame: FrameType) -> None:
        """Go on until a function returns, or to the end of the cell."""
        if is_statement(frame):
            self.set_continue()
        else:
            super().set_return(frame)

    def set_until(self, frame: FrameType, lineno: int | None = None) -> None:
        """Go on to a line."""
        if lineno is not None and is_statement(frame):
            self.until = lineno
        super().set_until(frame, lineno)

    def stop_here(self, frame: FrameType) -> bool:
        """Whether to stop in a frame."""
        if self.until:
            return is_statement(frame) and frame.f_lineno >= self.until
        return bool(super().stop_here(frame)) and not self._serves_cells(frame)

    def _serves_cells(self, frame: FrameType) -> bool:
        """Whether the code that runs cells called a frame, and not user code."""
        caller: FrameType | None = frame
        while caller is not None and not owners.is_user_code(caller.f_code):
            if caller.f_code is self._followed:
                return False
            if runs_cells(caller):
                return True
            caller = caller.f_back
        return False

    def break_anywhere(self, frame: FrameType) -> bool:
        """Whether to trace the lines of a frame; called when the frame begins."""
        return bool(self.until and is_statement(frame)) or bool(super().break_anywhere(frame))


_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
"""Flags of code that can return before its end."""


def _is_suspended(frame: FrameType) -> bool:
    """Whether a coroutine or generator that returns does so to be resumed."""
    code, at = frame.f_code.co_code, frame.f_lasti
    before, here, after = (
        dis.opname[code[i]] if i < len(code) else "" for i in (at - 2, at, at + 2)
    )
    if here == "RESUME":  # Python 3.13.0 is already there
        return before == "YIELD_VALUE"
    # Python 3.10 is before the awaiting instruction.
    return here in ("YIELD_VALUE", "SEND", "YIELD_FROM") or after == "YIELD_FROM"


def is_statement(frame: FrameType) -> bool:
    """Whether a frame runs a statement of a cell, not a function."""
    code = frame.f_code
    return owners.is_cell(code.co_filename) and code.co_name.startswith(("<module>", "<cell line"))


def runs_cells(frame: FrameType) -> bool:
    """Whether a frame belongs to the code that runs cells."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY
