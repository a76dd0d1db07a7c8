"""Running code on the ranks of a session: cells and scripts."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rankbook import folders
from rankbook.errors import InputError, SessionError
from rankbook.models.cells import Script
from rankbook.sessions.cells import scripts
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.cells.collecting import CellOutput
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.view import SessionView
from rankbook.words import ON_HANG

__all__ = ["SessionCode"]


class SessionCode(SessionView):
    """The part of a session that runs cells and scripts."""

    def run(  # noqa: PLR0913 - what can be typed after %%dist
        self,
        code: str,
        ranks: str | int | list[int] = "all",
        timeout: float | None = None,
        *,
        on_hang: str | None = None,
        output: CellOutput | None = None,
        number: int = 0,
        first_line: int = 1,
        post_mortem: str = "",
        keep_values: bool = False,
        profile: str | os.PathLike[str] | None = None,
        title: str = "",
    ) -> CellResult:
        """Run a cell on ranks and wait for it. IPython syntax works as in a notebook.

        Ctrl-C interrupts it on the ranks. When it is proven that some rank waits in vain, the
        ranks are freed, their variables stay, and the group is re-created.

        Args:
            code: The cell.
            ranks: A selection such as ``"0,2"``, ``1``, ``[0, 2]`` or ``"tp=0"``, see
                :meth:`Session.mesh`.
            timeout: Seconds after which the cell is interrupted; None waits.
            on_hang: ``free`` the ranks of a hang, ``report`` it and go on waiting, or just
                ``wait``; None takes the session's ``on_hang``.
            output: Shows the output of the ranks as it arrives; None shows nothing.
            number: The number of the notebook's cell, which names it ``In [4]``; 0: the session
                counts its cells itself, ``cell 3``.
            first_line: The line of the editor in which ``code`` begins.
            post_mortem: ``failure``: stop where it fails; ``last``: debug the last that failed.
            keep_values: Keep the inputs and outputs of its collectives, for :meth:`exchanges`.
            profile: Record it with torch's profiler on every rank, and write one trace there, for
                Perfetto; compressed if the name ends in ``.gz``. The result's ``profile`` says
                where the time went.
            title: What it does, for code that no person has typed: ``evaluating``. It stands in
                timelines where else the first line of the code does.

        Returns:
            What it did on each rank. An exception there is in the result, never raised here, and
            so is the diagnosis of a hang.

        Raises:
            SessionError: The session is busy, or has no group.
            StuckError: An interrupt did not end the cell on some ranks.
            InputError: There are no such ranks.
            ClusterError: The controller is gone.
        """
        chosen = self.select(ranks)
        cell = Cell(
            code,
            chosen,
            number,
            first_line=first_line,
            timeout=timeout,
            on_hang=on_hang or "",
            post_mortem=post_mortem,
            keep_values=keep_values,
            title=title,
        )
        return self._run(cell, output, profile)

    def run_script(  # noqa: PLR0913 - what can be typed after %dist_run
        self,
        script: str | os.PathLike[str],
        args: Sequence[object] = (),
        ranks: str | int | list[int] = "all",
        timeout: float | None = None,
        *,
        module: bool = False,
        clean: bool = False,
        on_hang: str | None = None,
        output: CellOutput | None = None,
        number: int = 0,
        post_mortem: str = "",
    ) -> CellResult:
        """Run a script on ranks as torchrun would, and wait for it.

        It finds ``__main__``, ``sys.argv``, ``__file__``, its folder in ``sys.path``, a launcher's
        variables and no process group: it makes and destroys its own. The ranks that run it form
        its world, numbered from 0. Afterwards the session's group, variables and signal
        handlers are there again, and the script's names are in place on the ranks.

        Args:
            script: Its path, or with ``module`` its dotted name.
            args: Its command-line arguments.
            ranks: A selection such as ``"0,2"``, ``1`` or ``[0, 2]``.
            timeout: Seconds after which it is interrupted; None waits.
            module: Run it as ``python -m`` does.
            clean: End the threads and processes that it leaves behind, and keep none of its names.
            on_hang: See :meth:`run`.
            output: Shows the output of the ranks as it arrives; None shows nothing.
            number: The number of the cell that runs it.
            post_mortem: ``failure``: stop where it fails.

        Returns:
            What it did on each rank, ``exit_code`` included. One that is not 0 is an error there.

        Raises:
            InputError: There is no such script, or it has a syntax error. Nothing was run.
            SessionError: See :meth:`run`.
            StuckError: See :meth:`run`.
            ClusterError: See :meth:`run`.
        """
        wanted = Script(
            os.fspath(script), tuple(map(str, args)), module, clean, folder=folders.here()
        )
        chosen, placement = self.select(ranks), self.members.placed()
        if placement.is_local:
            scripts.check(wanted)
        each = scripts.for_ranks(wanted, placement, chosen)
        cell = Cell(
            scripts.line(wanted),
            chosen,
            number,
            timeout=timeout,
            on_hang=on_hang or "",
            scripts=each,
            post_mortem=post_mortem,
        )
        return self._run(cell, output)

    def _run(
        self,
        cell: Cell,
        output: CellOutput | None = None,
        profile: str | os.PathLike[str] | None = None,
    ) -> CellResult:
        cell = replace(cell, on_hang=cell.on_hang or self.on_hang)
        if cell.on_hang not in ON_HANG:
            raise InputError(f"on_hang={cell.on_hang!r} is not one of {', '.join(ON_HANG)}.")
        kind = "a script" if cell.scripts else "a cell"
        with self._turns.take(f"running {kind} on {self.members.in_words(cell.ranks)}"):
            if profile is None:
                return self._cells.run(cell, output)
            # It needs numpy, whose import would delay every start.
            from rankbook.sessions.profiling import Profiling

            profiling = Profiling(self.members, cell.ranks, profile)
            try:
                result = self._cells.run(cell, output)
            except BaseException:
                profiling.drop()
                raise
            result.profile = profiling.finish(result)
            return result

    def select(self, ranks: str | int | list[int]) -> tuple[int, ...]:
        """Read a selection of ranks that can all run a cell.

        Raises:
            SessionError: There is no group, or a selected rank has ended.
            InputError: There are no such ranks.
        """
        self._turns.refuse_closed()
        if not (self.groups or self._group.is_owed):
            self.members.refuse_dead()
            raise SessionError("There is no process group: make one with %dist_init.")
        chosen = self.members.select(ranks)
        self.members.refuse_dead(chosen)
        return chosen

    def in_background(self, work: Callable[[], Any]) -> threading.Thread:
        """Do ``work`` in a thread and return as soon as it has made the session busy."""
        begun = threading.Event()
        stop = self.changes.subscribe(begun.set)

        def run() -> None:
            try:
                work()
            finally:
                begun.set()

        thread = threading.Thread(target=run, name="rankbook-cell", daemon=True)
        thread.start()
        begun.wait()
        stop()
        return thread
