"""The debugger of a rank: the standard library's, which asks the notebook."""

from __future__ import annotations

import io
import linecache
import pdb
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from rankbook.engine import owners
from rankbook.engine.debugging.prompt import Prompt

__all__ = ["RankDebugger", "place"]

_MACHINERY = ("IPython", "ipykernel", "ipyparallel", "rankbook", "tornado", "traitlets")
"""Packages that run a cell: a person does not step through them."""


class _End(BaseException):
    """The cell is to end. Not a ``KeyboardInterrupt``: after that, pdb would ask again."""


class _Lines(io.TextIOBase):
    """What pdb reads its commands from."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def readline(self, _size: int | None = -1, /) -> str:  # type: ignore[override]
        return self._read() + "\n"


class RankDebugger(pdb.Pdb):
    """pdb, whose commands come from the notebook and whose answers are output of the cell.

    It differs where a rank does: it stops at the line of ``breakpoint()`` itself, in every version
    of Python; it says ``In [7] line 4`` of a cell; it leaves out the frames that run the cell; and
    ``interact`` and ``run`` say that they are not there.
    """

    def __init__(self, prompt: Prompt, name_of: Callable[[str], str]) -> None:
        """Make a debugger.

        Args:
            prompt: Asks for the next command.
            name_of: What a person calls a file of code: ``In [7]``, ``train.py``.
        """
        packages = [pattern for each in _MACHINERY for pattern in (each, f"{each}.*")]
        super().__init__(
            stdin=_Lines(self._command),  # type: ignore[arg-type]
            stdout=sys.stdout,
            skip=packages,
            nosigint=True,
            readrc=False,
        )
        self.prompt = ""  # the notebook shows where each rank stands
        self.depth = 0
        """How many questions are open: more than one where an expression stops as well."""
        self._prompt = prompt
        self._name_of = name_of
        self._until = 0
        """The line of the cell up to which it goes on; 0: that is not asked for."""

    # -- where it stops ----------------------------------------------------------------------

    def stop_at(self, frame: FrameType) -> None:
        """Stop at the line where a frame stands now, then go on as the person says."""
        sys.settrace(None)  # what follows is the debugger's own
        self.reset()
        caller: FrameType | None = frame
        while caller is not None:
            caller.f_trace = self.trace_dispatch
            self.botframe = caller
            caller = caller.f_back
        self.interaction(frame, None)
        if self.quitting:
            raise KeyboardInterrupt
        if self.stopframe is not self.botframe or self.breaks:
            sys.settrace(self.trace_dispatch)

    def look_back(self, trace: TracebackType | None) -> None:
        """Look at the frames that an exception came through; nothing of it is run again."""
        self.reset()
        self.interaction(None, trace)

    def interaction(self, frame: FrameType | None, *args: Any) -> None:
        """Ask for commands until one lets the program go on."""
        self.depth += 1
        self._until = 0
        try:
            super().interaction(frame, *args)
        except _End:
            sys.settrace(None)
            raise KeyboardInterrupt from None
        finally:
            self.depth -= 1

    # IPython runs every statement of a cell as code of its own. To a person they are one: the end
    # of a statement is no stop, and ``until 9`` means the cell's line 9.

    def user_return(self, frame: FrameType, return_value: Any) -> None:
        """Stop where a function returns; a statement of a cell does not."""
        if not _is_statement(frame):
            super().user_return(frame, return_value)

    def user_call(self, frame: FrameType, argument_list: None) -> None:
        """Stop where a function begins; a statement of a cell begins with its line."""
        if not _is_statement(frame):
            super().user_call(frame, argument_list)

    def set_return(self, frame: FrameType) -> None:
        """Go on until a function returns, or to the end of the cell."""
        if _is_statement(frame):
            self.set_continue()
        else:
            super().set_return(frame)

    def set_until(self, frame: FrameType, lineno: int | None = None) -> None:
        """Go on to a line."""
        if lineno is not None and _is_statement(frame):
            self._until = lineno
        super().set_until(frame, lineno)

    def stop_here(self, frame: FrameType) -> bool:
        """Whether to stop in a frame."""
        if self._until:
            return _is_statement(frame) and frame.f_lineno >= self._until
        return bool(super().stop_here(frame)) and not _serves_cells(frame)

    def break_anywhere(self, frame: FrameType) -> bool:
        """Whether the lines of a frame are to be looked at, which is asked as it begins."""
        return bool(self._until and _is_statement(frame)) or bool(super().break_anywhere(frame))

    def _command(self) -> str:
        sys.stdout.flush()
        try:
            return self._prompt.ask("debugger", place=self._place())
        except KeyboardInterrupt:
            raise _End from None

    def _place(self) -> str:
        frame, line = self.stack[self.curindex]
        return place(self._name_of(frame.f_code.co_filename), line)

    # -- what it shows -----------------------------------------------------------------------

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames from the cell's own on, and the one to begin with: a person's."""
        stack, index = super().get_stack(f, t)
        if t is not None:
            owned = [i for i, (frame, _) in enumerate(stack) if owners.is_of_a_person(frame.f_code)]
            index = owned[-1] if owned else index
        first = self._first_of_the_cell(stack, index)
        return stack[first:], index - first

    def _first_of_the_cell(self, stack: list[tuple[FrameType, int]], index: int) -> int:
        for i, (frame, _) in enumerate(stack[: index + 1]):
            if owners.is_cell(frame.f_code.co_filename):
                return i
        machinery = [i for i, (frame, _) in enumerate(stack[:index]) if _runs_cells(frame)]
        return machinery[-1] + 1 if machinery else 0

    def format_stack_entry(self, frame_lineno: tuple[FrameType, int], lprefix: str = ": ") -> str:
        """A frame as a person knows it: ``In [7] line 4 in step()``, then the line."""
        frame, number = frame_lineno
        code = frame.f_code
        scope = "" if code.co_name == "<module>" else f" in {code.co_name}()"
        text = f"{place(self._name_of(code.co_filename), number)}{scope}"
        if "__return__" in frame.f_locals:
            text += f" -> {frame.f_locals['__return__']!r:.200}"
        line = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        return f"{text}{lprefix}{line}" if line else text

    # -- commands ----------------------------------------------------------------------------

    def do_debug(self, arg: str) -> None:
        """Step through an expression or statement (debug CODE), then come back here."""
        before = sys.gettrace()
        sys.settrace(None)
        inner = RankDebugger(self._prompt, self._name_of)
        names = self.curframe.f_globals if self.curframe else {}
        self.message("Debugging the expression: c or q comes back here.")
        try:
            sys.call_tracing(inner.run, (arg, names, self.curframe_locals))
        except Exception as error:  # noqa: BLE001 - it is the person's
            self.error(f"{type(error).__name__}: {error}")
        self.message("Back from the expression.")
        sys.settrace(before)
        self.lastcmd = inner.lastcmd

    def do_interact(self, arg: str) -> None:
        """Say that this is not there: every line that is no command is run as Python anyway."""
        del arg
        self.error("interact is not there on a rank: type the statement, or ! before it.")

    def do_run(self, arg: str) -> None:
        """Say that this is not there: a cell is run again instead."""
        del arg
        self.error("run is not there on a rank: q ends the cell, then run it again.")

    do_restart = do_run


def place(name: str, line: int) -> str:
    """Where something stands: ``In [7] line 4``."""
    return f"{name} line {line}"


def _is_statement(frame: FrameType) -> bool:
    code = frame.f_code
    return owners.is_cell(code.co_filename) and code.co_name.startswith(("<module>", "<cell line"))


def _serves_cells(frame: FrameType) -> bool:
    """Whether a frame was called by what runs cells, and not by the person's code."""
    caller: FrameType | None = frame
    while caller is not None and not owners.is_of_a_person(caller.f_code):
        if _runs_cells(caller):
            return True
        caller = caller.f_back
    return False


def _runs_cells(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY
