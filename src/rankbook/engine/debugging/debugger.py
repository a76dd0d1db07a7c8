"""The debugger of a rank: the standard library's, which asks the notebook."""

from __future__ import annotations

import pprint
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from rankbook.engine.debugging import lines
from rankbook.engine.debugging.chains import chain_of, error_line
from rankbook.engine.debugging.displays import Displays
from rankbook.engine.debugging.evaluating import evaluate, run_statement
from rankbook.engine.debugging.prompt import Prompt
from rankbook.engine.debugging.showing import Showing, place
from rankbook.engine.debugging.stepping import is_statement
from rankbook.engine.values.attributes import attributes
from rankbook.engine.values.expressions import harmless_item, value_of

__all__ = ["RankDebugger"]

_MORE_HELP = (
    "Also: ranks shows where each rank is; 2: p x gives a command to rank 2 alone; "
    "q ends the cell on all ranks."
)


class _End(BaseException):
    """Ends the cell. Not a ``KeyboardInterrupt``, after which pdb would ask again."""


class RankDebugger(Showing):
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
        super().__init__(name_of, stdin=lines.Lines(self._command), stdout=sys.stdout)
        self.prompt = ""
        self.depth = 0
        """How many questions are open: more than one where an expression stops as well."""
        self._prompt = prompt
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

    def preloop(self) -> None:
        """Before the first command of a stop, show displayed expressions that have changed."""
        self._displays.show_changes(self._names()[0])

    # -- what is typed -----------------------------------------------------------------------

    def onecmd(self, line: str) -> bool:
        """Run a command; the failure of one is told at the prompt, and does not end the cell."""
        try:
            return super().onecmd(line)
        except Exception as error:  # noqa: BLE001 - a command of pdb's may fail for odd objects
            self._tell(error)
            return False

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

    # pdb's own p and pp are silent where repr raises, and swallow Ctrl-C at an unfinished line.

    def do_p(self, arg: str) -> None:
        """Print the value of an expression (p EXPR)."""
        self._print(arg, repr)

    def do_pp(self, arg: str) -> None:
        """Pretty-print the value of an expression (pp EXPR)."""
        self._print(arg, pprint.pformat)

    def _print(self, arg: str, text_of: Callable[[object], str]) -> None:
        try:
            value = self._getval(arg)
        except _End:
            raise
        except BaseException:  # noqa: BLE001 - it is the user's, and was told
            return
        self.message(text_of(value))

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

    def do_help(self, arg: str) -> bool | None:
        """List the commands (help), or explain one (help COMMAND)."""
        result = super().do_help(arg)
        if not arg:
            self.message(_MORE_HELP)
        return result

    do_h = do_help

    def do_interact(self, arg: str) -> None:
        """Refuse: every line that is not a command runs as Python anyway."""
        del arg
        self.error("interact does not work on a rank: type the statement, or ! and the statement.")

    def do_run(self, arg: str) -> None:
        """Refuse: run the cell again instead."""
        del arg
        self.error("run does not work on a rank: end the cell with q, then run it again.")

    do_restart = do_run
