"""Running one cell on this rank's main thread, as IPython runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from rankbook.distributed import by_hand
from rankbook.engine.cells import script
from rankbook.engine.cells.capture import Capture
from rankbook.engine.cells.contexts import Variables
from rankbook.engine.cells.failures import Failures
from rankbook.engine.cells.inputs import Inputs
from rankbook.engine.cells.interrupting import interruptible
from rankbook.engine.cells.lastwords import LastWords
from rankbook.engine.cells.naming import Naming
from rankbook.engine.cells.tail import LOG_VARIABLE, Tail
from rankbook.engine.debugging import magics
from rankbook.engine.debugging.prompt import Prompt
from rankbook.engine.debugging.stops import Stops
from rankbook.engine.processes import children
from rankbook.models import CellOutcome
from rankbook.models.cells import Script
from rankbook.models.requests import Run
from rankbook.words import lost_before

if TYPE_CHECKING:
    from rankbook.engine.cells.outbox import Outbox
    from rankbook.engine.group.group import Group

__all__ = ["Runner"]

_REMEMBERED = 10_000
"""Cells of which it is remembered what they have defined."""


class Runner:
    """Runs cells in the engine's IPython shell.

    Attributes:
        capture: Takes their output.
        failures: Takes the exceptions that end them.
        prompt: Where a cell asks, and waits for the answer.
        stops: What stops a cell.
        cell: Number of the cell that runs, None if none does.
        started: When the last cell began, seconds since the epoch.
        ran: What the cell is called that runs, or ran last; empty before the first.
        is_script: Whether that is a script.
        last_error: One line about the exception that ended the last cell, empty if none did.
        failed_at: The line that raised it.
        cells: What the cells are called that were run, by their code, IPython's syntax replaced;
            the latest last, each once.
        task: Runs the cell, if it awaits.
    """

    def __init__(self, kernel: Any, group: Group, last_words: LastWords) -> None:
        self.shell = kernel.shell
        self._group = group
        self._last_words = last_words
        self.failures = Failures(self.shell)
        self._tail = Tail(os.environ.get(LOG_VARIABLE), last_words)
        self.capture = Capture(kernel, self.failures, self._tail)
        self._naming = Naming(self.shell)
        self._inputs = Inputs(self.shell)
        self._variables = Variables()
        self.prompt = Prompt(lambda: self.capture.outbox)
        self.stops = Stops(self.prompt)
        magics.register(self.shell, self.stops)
        self.cell: int | None = None
        self.started = 0.0
        self.ran = self.last_error = self.failed_at = ""
        self.is_script = False
        self.cells: dict[str, str] = {}
        self.task: asyncio.Task[Any] | None = None

    async def run(self, outbox: Outbox, cell: Run) -> CellOutcome:
        """Run one cell.

        Args:
            outbox: Where its output goes.
            cell: The cell.
        """
        self.shell.execution_count = cell.number
        # IPython 9 counts a cell before it runs, and its values accordingly.
        self.shell.execution_count += cell.number - self.shell.displayhook.prompt_count
        self.cell, self.started = cell.number, time.time()
        self.ran, self.last_error, self.failed_at = cell.name, "", ""
        self.is_script = cell.script is not None
        begin, pid = time.perf_counter(), os.getpid()
        code, left = None, ""
        if self._tail.has_more():
            self.capture.between.lose(self._tail.skip())
            self._tail.show(lambda text: self.capture.between.keep("stdout", text))
        self._last_words.begin(cell.number)
        outbox.last_words = self._last_words
        self.capture.begin(outbox)
        self.failures.begin(in_script=cell.script is not None)
        self._naming.begin(cell)
        self.prompt.begin()
        by_hand.tell_children()
        try:
            if cell.script is None:
                with self.capture.between.cell(cell.name):
                    raised = await self._execute(cell)
                if os.getpid() != pid:
                    children.end(raised)
            else:
                ended = self._run_script(cell.script, cell)
                raised, code, left = ended.error, ended.exit_code, ended.left
        finally:
            self.stops.end_cell()
            for name in ("__return__", "__exception__"):  # pdb leaves them where it stopped
                self.shell.user_ns.pop(name, None)
            self._show_rest(outbox)
            failure = self.failures.end()
            self.capture.end()
            self.capture.between.ended(cell.name)
            self._last_words.begin()
            self._naming.end()
            self.cell = None
        if failure is None and raised is not None:
            failure = self.failures.unshown(raised)
        if failure is not None and not failure.freed:  # an interrupt is not the cell's error
            self.last_error = f"{failure.ename}: {failure.evalue}".rstrip(": ")
            self.failed_at = failure.line
        if code and failure is not None and failure.freed:
            code = -signal.SIGINT
        return CellOutcome(failure, time.perf_counter() - begin, exit_code=code, left=left)

    async def _execute(self, cell: Run) -> BaseException | None:
        """Run a cell, or look back at an earlier one; return the exception that ended it."""
        try:
            if cell.post_mortem == "last":
                with interruptible():
                    self.stops.look_back_at_last()
                return None
            raised = await self._run(cell)
            if raised is not None and self._is_to_stop(cell):
                with interruptible():
                    self.stops.look_back_at(raised)
        except KeyboardInterrupt as interrupt:  # at the prompt
            return interrupt
        return raised

    def _is_to_stop(self, cell: Run) -> bool:
        """Whether to stop where the cell, or its script, has failed."""
        is_wanted = cell.post_mortem == "failure" or self.stops.at_failures
        return is_wanted and not self.failures.freed

    def show_beside(self, outbox: Outbox) -> None:
        """Send what the cell has written past Python, or into widgets; on the control thread."""
        while outbox.has_room and self._tail.show_piece(
            lambda text: outbox.write("stdout", text, waits=False)
        ):
            pass
        self.capture.outputs.show()

    def _show_rest(self, outbox: Outbox) -> None:
        """Send what the cell has written past Python; of an interrupted one the end."""

        def is_interrupted() -> bool:  # meanwhile, too: a thread may write faster than is read
            return bool(self.failures.freed) or outbox.is_hurried

        self._tail.show(lambda text: outbox.write("stdout", text), is_interrupted)
        if is_interrupted():
            if lost := self._tail.skip():
                outbox.write("stdout", lost_before(lost))
            self._tail.show(lambda text: outbox.write("stdout", text))

    def _run_script(self, wanted: Script, cell: Run) -> script.Ended:
        def show(error: BaseException, code: int) -> None:
            if isinstance(error, SystemExit):
                self.failures.exited(error, code)
            else:
                if not self.failures.is_end(type(error)):
                    script.call_hook(error)
                self.shell.showtraceback((type(error), error, error.__traceback__))
                if self._is_to_stop(cell):  # before its group and its variables go
                    with contextlib.suppress(KeyboardInterrupt):  # at the prompt
                        self.stops.look_back_at(error)

        with interruptible():
            return script.execute(wanted, self._group, self.shell.user_ns, show)

    def remember(self, cells: Mapping[str, str]) -> None:
        """Take note of cells that have run here, or whose definitions have.

        Args:
            cells: By their code, what they are called.
        """
        for cell, name in cells.items():
            self.cells.pop(cell, None)
            self.cells[cell] = name
        for cell in list(self.cells)[:-_REMEMBERED]:
            del self.cells[cell]

    async def _run(self, cell: Run) -> BaseException | None:
        """Run a cell as IPython's ``run_cell`` does, which would transform it once more."""
        shell, code = self.shell, cell.code
        error = None
        try:
            transformed = shell.transform_cell(code)
        except Exception:  # noqa: BLE001 - IPython shows it, as its own kernel does
            transformed, error = code, sys.exc_info()
        self.capture.cell = transformed
        self.remember({transformed: self.ran})
        self._inputs.begin(cell.number, transformed, code)
        told: dict[str, Any] = {"transformed_cell": transformed, "preprocessing_exc_tuple": error}
        running = shell.run_cell_async(code, store_history=False, silent=False, **told)
        context, result = self._variables.now(), None
        try:
            if shell.should_run_async(code, **told):
                result = await self._awaited(running)
            else:
                with interruptible():
                    result = context.run(_finished, running)
        finally:
            context.run(shell.events.trigger, "post_execute")  # figures are drawn here
            context.run(shell.events.trigger, "post_run_cell", result)
        raised: BaseException | None = result.error_before_exec or result.error_in_exec
        return raised

    async def _awaited(self, cell: Coroutine[Any, Any, Any]) -> Any:
        """Run a cell that awaits."""

        async def awaiting() -> Any:  # a stack that is shown ends above this frame
            return await cell

        self.task = task = self._variables.start(awaiting())
        with interruptible(task, self._on_cancel):
            try:
                return await task
            finally:
                self.task = None

    def _on_cancel(self) -> None:
        # An interrupt cancels a cell that awaits; to a user it is an interrupt as well.
        self.failures.freed = True


def _finished(cell: Coroutine[Any, Any, Any]) -> Any:
    """What a cell that does not await returns."""
    try:
        cell.send(None)
    except StopIteration as ended:
        return ended.value
    cell.close()
    raise RuntimeError("The cell awaits something, which IPython did not see in its code.")
