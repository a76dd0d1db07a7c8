"""Debugging ranks: after a failure, and at breakpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from IPython.core.magic import line_magic, magics_class

from rankbook import api
from rankbook.errors import InputError, RankError
from rankbook.magics.base import RankMagics
from rankbook.magics.lines import in_line
from rankbook.magics.options import SELECTION, option
from rankbook.magics.running import run_cell
from rankbook.magics.usage import parse, takes

__all__ = ["DebugMagics"]

_ATTACH = 'print(__import__("rankbook.engine.debugging.attach", fromlist=["attach"]).attach())'
"""An expression alone: it leaves no name among the person's."""


@magics_class
class DebugMagics(RankMagics):
    """``%dist_debug``, and ``%debug`` and ``%pdb on`` after a cell has failed on ranks."""

    _debugger_here: Callable[..., Any] | None = None

    def attach(self) -> None:
        """Have ``%debug`` and ``%pdb`` debug the ranks where the ranks have failed."""
        shell: Any = self.shell
        self._debugger_here, shell.debugger = shell.debugger, self._look_back

    def detach(self) -> None:
        """Undo :meth:`attach`."""
        shell: Any = self.shell
        if self._debugger_here is not None:
            shell.debugger, self._debugger_here = self._debugger_here, None

    def _look_back(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - as IPython calls it
        """Open a debugger; replaces the shell's own method."""
        assert self._debugger_here is not None  # noqa: S101 - attach has set it
        session = api.session()
        is_of_ranks = isinstance(getattr(sys, "last_value", None), RankError)
        if is_of_ranks and session is not None and session.failed:
            if force or self.shell.call_pdb:
                look_back: Any = self.dist_debug
                look_back("")
        else:
            self._debugger_here(force=force)

    @line_magic
    @takes(
        SELECTION.but(
            help=f"{SELECTION.settings['help']} Default: those on which a cell failed first."
        ),
        option(
            "--attach",
            action="store_true",
            help="Stop nowhere: print, for every rank, where an editor's debugger attaches.",
        ),
    )
    def dist_debug(self, line: str) -> None:
        """Debug with pdb, post-mortem, where the last cell failed on ranks.

        The cell becomes a prompt. What you type goes to all stopped ranks, or to some: 2: p x. It
        takes the commands of pdb (where, up, down, list, p, pp, n, s, c, until, b, display,
        !statement), except interact. In addition, ranks shows where every rank is; q ends it.

        breakpoint(), pdb.set_trace() and torch.distributed.breakpoint(rank) in a cell open the
        same prompt; %%dist --pdb opens it where a cell fails. There q ends the cell on all ranks
        and frees those that wait. While a rank is at a prompt, no rank that waits for it counts as
        stuck, and the cell's --timeout does not run.

        Examples::

            %dist_debug
            %dist_debug 2
            %dist_debug --attach
        """
        is_attach = "--attach" in line.split()
        # Not argparse alone: it would take the ranks -2,-1 for an option.
        ranks = " ".join(word for word in line.split() if word != "--attach")
        if ranks.startswith("--"):
            parse(self.dist_debug, line)
        session = self.session()
        if is_attach:
            code = in_line(self.shell, _ATTACH)
            run_cell(self.shell, session, code, ranks or "all", title="attaching a debugger")
            return
        chosen = ranks or ",".join(map(str, session.failed))
        if not chosen:
            raise InputError("No cell has failed on any rank.")
        run_cell(self.shell, session, in_line(self.shell, ""), chosen, post_mortem="last")
