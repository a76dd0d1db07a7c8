"""Looking at the ranks, and interrupting them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class

from rankbook.errors import InputError
from rankbook.magics.base import RankMagics
from rankbook.magics.options import FILES, SAVE, option
from rankbook.magics.running import end_background
from rankbook.magics.usage import parse, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.display.table import Table
    from rankbook.display.timeline import Chart
    from rankbook.display.verdict import Closely, Verdict

__all__ = ["LookMagics"]

_HUNG = "The last cell hung: %dist_why -v says why, and where its ranks stood."


@magics_class
class LookMagics(RankMagics):
    """``%dist_status``, ``%dist_why``, ``%dist_timeline``, ``%dist_interrupt``, ``%dashboard``."""

    @line_magic
    @takes()
    def dist_status(self, line: str) -> Table:
        """Show every rank: engine, host, pid, device, backend, state, collective, memory.

        It answers while a cell that was started with --no-wait runs or hangs. During other cells,
        look at the dashboard, or run `python -m rankbook status` in a terminal.
        """
        from rankbook.display.table import Table

        parse(self.dist_status, line)
        return Table(self.session().snapshot())

    @line_magic
    @takes(
        SAVE,
        option(
            "-v",
            "--verbose",
            action="store_true",
            help="With the stacks of the ranks as one tree, and the local variables of your "
            "functions; and with the frames of C++, where py-spy is installed.",
        ),
    )
    def dist_why(self, line: str) -> Verdict | Closely:
        """Say what the ranks do or wait for, and why: one sentence, then a line per rank.

        It answers while a cell that was started with --no-wait runs or hangs. During other cells,
        click Why? in the dashboard, or run `python -m rankbook why` in a terminal. With -v after a
        hang, it says where the ranks stood before they were freed. What looks like a secret is
        masked. --save DIR also saves the last calls of all ranks as torch's flight recorder does
        (after a hang, those from before it): `torchfrtrace DIR` analyses them.
        """
        from rankbook.display.verdict import Closely, Verdict

        args = parse(self.dist_why, line)
        session = self.session()
        if args.save:
            print(session.save_recording(args.save))
        if not args.verbose:
            found, hang = session.diagnose(), session.hang
            if found.kind == "idle" and hang is not None and hang.diagnosis is not None:
                found = replace(found, hint=_HUNG)
            return Verdict(found)
        diagnosis, standings = session.diagnose_closely()
        return Closely(diagnosis, standings, session.members.named_mesh)

    @line_magic
    @takes(
        option(
            "cell",
            nargs="?",
            metavar="CELL",
            completes=("all",),
            help="Number of a cell, or all: what the ranks still keep. Default: the last cell that "
            "has called a collective.",
        ),
        option("--save", metavar="FILE", completes=FILES, help="Write it as a picture, too: .svg."),
    )
    def dist_timeline(self, line: str) -> Chart:
        """Show what the ranks called, side by side, as a picture that the saved notebook keeps.

        A lane for each rank: hatched while it waited for others, full while data went. It answers
        while a cell runs or hangs. Each rank keeps its latest 4,096 calls.

        Examples::

            %dist_timeline
            %dist_timeline 4
            %dist_timeline all --save timeline.svg
        """
        args = parse(self.dist_timeline, line)
        if not (args.cell is None or args.cell == "all" or args.cell.isdecimal()):
            raise InputError(
                f"{args.cell!r} is not a cell: run %dist_timeline 4 for In [4], or "
                "%dist_timeline all."
            )
        chosen = int(args.cell) if args.cell and args.cell != "all" else args.cell
        chart = self.session().timeline(chosen)
        if args.save:
            try:
                chart.save(args.save)
            except OSError as error:
                raise InputError(f"{args.save} cannot be written: {error.strerror}.") from None
        return chart

    @line_magic
    @takes()
    def dist_interrupt(self, line: str) -> None:
        """Free the ranks, as the stop button does while a cell waits. Their variables stay.

        Python code gets a KeyboardInterrupt. A collective that waits is ended on every rank, and
        the process group is re-created.
        """
        parse(self.dist_interrupt, line)
        session = self.session()
        if session.interrupt():
            end_background(session)
            print("Interrupted.")
        else:
            print("Nothing runs on any rank.")

    @line_magic
    @takes()
    def dashboard(self, line: str) -> None:
        """Show the dashboard again."""
        parse(self.dashboard, line)
        self.session().dashboard().display()
