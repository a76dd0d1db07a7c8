"""The debugger of a rank: the standard library's, which asks the notebook."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from rankbook.engine.debugging import lines
from rankbook.engine.debugging.chains import chain_of, error_line
from rankbook.engine.debugging.displays import Displays
from rankbook.engine.debugging.evaluating import evaluate, run_statement
from rankbook.engine.debugging.prompt import Prompt
from rankbook.engine.debugging.stepping import Stepping, is_statement, runs_cells
from rankbook.engine.looking import owners
from rankbook.engine.values.attributes import attributes
from rankbook.engine.values.expressions import harmless_item, value_of

__all__ = ["RankDebugger", "place"]

_AT = re.compile(r"(?<= at )(.+\.py):(\d+)")
"""The place of a breakpoint in pdb's words."""

_OFTEN = 5
"""How often ``where`` shows a line, which a recursion may reach a thousand times."""


class _End(BaseException):
    """Ends the cell. Not a ``KeyboardInterrupt``, after which pdb would ask again."""


class RankDebugger(Stepping):
    """pdb, whose commands come from the notebook and whose answers are output of the cell.

    It differs where a rank does: it stops at the line of ``breakpoint()`` itself, in every version
    of Python; it calls a line of a cell ``In [7] line 4``; it leaves out the frames that run the
    cell; and ``interact`` and ``run`` refuse.
    """

    def __init__(self, prompt: Prompt, name_of: Callable[[str], str]) -> None:
        """Make a debugger.

        Args:
            prompt: Asks for the next command.
            name_of: Returns the user's name of a file of code: ``In [7]``, ``train.py``.
        """
        super().__init__(stdin=lines.Lines(self._command), stdout=sys.stdout)
        self.prompt = ""
        self.depth = 0
        """How many questions are open: more than one where an expression stops as well."""
        self._prompt = prompt
        self._name_of = name_of
        self._displays = Displays(lambda text: evaluate(text, *self._names()), self.message)
        self._exceptions: list[BaseException] = []
        """The exceptions under inspection, the first one raised first."""

    @property
    def prompt(self) -> str:
        """Empty: the notebook shows the place of each rank, which pdb would show here."""
        return ""

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._asks_for = text.strip()

    def look_back(self, trace: TracebackType | None, error: BaseException | None = None) -> None:
        """Inspect the frames that an exception came through, and the exceptions behind it."""
        self.reset()
        self._exceptions = chain_of(error)
        if len(self._exceptions) > 1:
            self.message(f"from {error_line(self._exceptions[-2])} (exceptions lists all)")
        self.interaction(None, trace)

    def interaction(self, frame: FrameType | None, *args: Any) -> None:
        """Ask for commands until one lets the program go on."""
        with self._asking():
            super().interaction(frame, *args)

    def bp_commands(self, frame: FrameType) -> bool:
        """Run the commands of a breakpoint, which may ask; return whether to ask for more."""
        with self._asking():
            return bool(super().bp_commands(frame))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        self.depth += 1
        self.until = 0
        try:
            with self._prompt.held():
                yield
        except _End:
            sys.settrace(None)
            raise KeyboardInterrupt from None
        finally:
            self.depth -= 1

    def _command(self) -> str:
        return self._ask(self._asks_for)

    def _ask(self, text: str = "") -> str:
        sys.stdout.flush()
        try:
            return self._prompt.ask("debugger", text, self._place())
        except KeyboardInterrupt:
            raise _End from None

    def _place(self) -> str:
        frame, line = self.stack[self.curindex]
        return place(self._name_of(frame.f_code.co_filename), line)

    # -- what it shows -----------------------------------------------------------------------

    def get_stack(
        self, f: FrameType | None, t: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames from the cell's own on, and the one to begin with: one of user code."""
        stack, index = super().get_stack(f, t)
        if t is not None:
            owned = [i for i, (frame, _) in enumerate(stack) if owners.is_user_code(frame.f_code)]
            index = owned[-1] if owned else index
        first = self._first_of_the_cell(stack, index)
        return stack[first:], index - first

    def _first_of_the_cell(self, stack: list[tuple[FrameType, int]], index: int) -> int:
        for i, (frame, _) in enumerate(stack[: index + 1]):
            if owners.is_cell(frame.f_code.co_filename):
                return i
        machinery = [i for i, (frame, _) in enumerate(stack[:index]) if runs_cells(frame)]
        return machinery[-1] + 1 if machinery else 0

    def format_stack_entry(self, frame_lineno: tuple[FrameType, int], lprefix: str = ": ") -> str:
        """A frame in the user's terms: ``In [7] line 4 in step()``, then the line."""
        frame, number = frame_lineno
        code = frame.f_code
        scope = "" if code.co_name == "<module>" else f" in {code.co_name}()"
        text = f"{place(self._name_of(code.co_filename), number)}{scope}"
        if "__return__" in frame.f_locals:
            text += f" -> {frame.f_locals['__return__']!r:.200}"
        line = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        return f"{text}{lprefix}{line}" if line else text

    def message(self, msg: str) -> None:
        """Print a message, with the place of a breakpoint in the user's terms."""
        super().message(_AT.sub(lambda at: place(self._name_of(at[1]), int(at[2])), msg))

    def print_stack_trace(self, count: int | None = None) -> None:
        """Show the frames, or ``count`` of them (Python 3.14); of a recursion, a few."""
        if count is not None:
            super().print_stack_trace(*[count])
            return
        shown: Counter[tuple[Any, int]] = Counter()
        for at, entry in enumerate(self.stack):
            shown[entry[0].f_code, entry[1]] += 1
            if shown[entry[0].f_code, entry[1]] <= _OFTEN or at == self.curindex:
                self.print_stack_entry(entry)
        if left_out := sum(max(0, times - _OFTEN) for times in shown.values()):
            self.message(f"  ({left_out:,} more frames stand in these lines.)")

    def preloop(self) -> None:
        """Before the first command of a stop, show displayed expressions that have changed."""
        self._displays.show_changes(self._names()[0])

    # -- what is typed -----------------------------------------------------------------------

    def parseline(self, line: str) -> tuple[str | None, str | None, str]:
        """Tell commands from Python: ``n.shape`` and ``c = 5`` are not commands."""
        name, rest, line = super().parseline(line)
        if name and hasattr(self, f"do_{name}") and lines.is_python(name, line[len(name) :]):
            return None, None, f"!{line}"
        return name, rest, line

    def default(self, line: str) -> None:
        """Run a statement of Python, which may take several lines."""
        text = line.removeprefix("!").lstrip()
        if value := lines.asks_for_attributes(text):
            self._list_attributes(value)
            return
        while lines.is_unfinished(text):
            text += f"\n{self._ask('...')}"
        try:
            run_statement(text, *self._names(), self.displayhook)
        except _End:
            raise
        except BaseException as error:  # noqa: BLE001 - it is the user's
            self._tell(error)

    def _list_attributes(self, value: str) -> None:
        """List the attributes of ``model.``, as Tab would, which an input field lacks."""
        frame, local_names = self._names()
        try:
            found = value_of(value, {**frame.f_globals, **local_names}, harmless_item)
            self.message("  ".join(attributes(found)))
        except Exception as error:  # noqa: BLE001 - it is the user's
            self._tell(error)

    # pdb's own look no further than its statement: in [x + y for x in xs], y must be global.

    def _getval(self, arg: str) -> Any:
        while lines.is_unfinished(arg):
            arg += f"\n{self._ask('...')}"
        try:
            return evaluate(arg, *self._names())
        except _End:
            raise
        except BaseException as error:
            self._tell(error)
            raise

    def _names(self) -> tuple[FrameType, Any]:
        """The selected frame, and its local variables."""
        assert self.curframe is not None  # noqa: S101 - commands run in a frame only
        # Before Python 3.13 these are a copy, which Pdb keeps; from 3.14 on it warns about that.
        is_kept = sys.version_info < (3, 13)
        return self.curframe, self.curframe_locals if is_kept else self.curframe.f_locals

    def _tell(self, error: BaseException) -> None:
        self.error(traceback.format_exception_only(error)[-1].strip())

    # -- commands ----------------------------------------------------------------------------

    def do_display(self, arg: str) -> None:
        """Show an expression at each stop at which it has changed (display EXPR)."""
        self._displays.add(self._names()[0], arg)

    def do_undisplay(self, arg: str) -> None:
        """Stop showing an expression (undisplay EXPR), or all (undisplay)."""
        if not self._displays.remove(self._names()[0], arg):
            self.error(f"{arg} is not displayed.")

    def do_exceptions(self, arg: str) -> None:
        """List the exceptions behind the present one, or go to one (exceptions N)."""
        if not self._exceptions:
            self.error("No exception is being debugged.")
        elif arg.isdecimal() and int(arg) < len(self._exceptions):
            self.setup(None, self._exceptions[int(arg)].__traceback__)
            self.print_stack_entry(self.stack[self.curindex])
        else:
            for number, error in enumerate(self._exceptions):
                self.message(f"{number} {error_line(error)}")

    def do_jump(self, arg: str) -> bool | None:
        """Set the next line to run (jump LINE): in a function, or within a statement of a cell."""
        frame, _ = self._names()
        reached = {line for *_, line in frame.f_code.co_lines()}
        if is_statement(frame) and arg.isdigit() and int(arg) not in reached:
            self.error("A cell runs statement by statement: jump only works within one.")
        elif self.is_inside_line:
            # Python jumps only from before a line.
            self.cmdqueue.insert(0, f"jump {arg}")
            self.set_next(frame)
            return True
        else:
            super().do_jump(arg)
        return None

    do_j = do_jump

    def do_debug(self, arg: str) -> None:
        """Step through an expression or statement (debug CODE), then come back here."""
        before = sys.gettrace()
        sys.settrace(None)
        inner = RankDebugger(self._prompt, self._name_of)
        frame, local_names = self._names()
        self.message("Debugging the expression: c comes back here.")
        try:
            sys.call_tracing(inner.run, (arg, frame.f_globals, local_names))
        except KeyboardInterrupt:
            raise _End from None
        except Exception as error:  # noqa: BLE001 - it is the user's
            self.error(f"{type(error).__name__}: {error}")
        self.message("Back from the expression.")
        sys.settrace(before)
        self.lastcmd = inner.lastcmd

    def do_interact(self, arg: str) -> None:
        """Refuse: every line that is not a command runs as Python anyway."""
        del arg
        self.error("interact does not work on a rank: type the statement, or ! and the statement.")

    def do_run(self, arg: str) -> None:
        """Refuse: run the cell again instead."""
        del arg
        self.error("run does not work on a rank: end the cell with q, then run it again.")

    do_restart = do_run


def place(name: str, line: int) -> str:
    """A place in words: ``In [7] line 4``."""
    return f"{name} line {line}"
