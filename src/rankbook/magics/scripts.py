"""Running scripts on the ranks, as torchrun would."""

from __future__ import annotations

import shlex
from argparse import REMAINDER
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class

from rankbook.errors import InputError
from rankbook.magics.base import RankMagics
from rankbook.magics.lines import number_of
from rankbook.magics.options import (
    NO_WAIT,
    ON_HANG,
    OUT,
    PDB,
    RANKS,
    SCRIPTS,
    TIMEOUT_SECONDS,
    option,
)
from rankbook.magics.running import show
from rankbook.magics.usage import parse_with_code, takes
from rankbook.words import ranks_do, sentence_start

if TYPE_CHECKING:
    from rankbook.display.cells.cell import LiveOutput
    from rankbook.sessions.cells.results import CellResult

__all__ = ["RunMagics"]


@magics_class
class RunMagics(RankMagics):
    """``%dist_run``."""

    @line_magic
    @takes(
        RANKS.but(help=f"{RANKS.settings['help']} The script's world size is their number."),
        option("-m", action="store_true", help="SCRIPT is a module, as for python -m."),
        option(
            "--clean",
            action="store_true",
            help="End the threads and processes that the script leaves behind, and keep no names.",
        ),
        OUT,
        TIMEOUT_SECONDS,
        ON_HANG.but(help="See %%dist_init; for this script only."),
        PDB,
        NO_WAIT,
        option(
            "script",
            nargs=REMAINDER,
            completes=SCRIPTS,
            help="The script and its own arguments.",
        ),
    )
    def dist_run(self, line: str) -> None:
        """Run a script on the ranks as torchrun would, without starting processes.

        The script finds __main__, its arguments, its folder in sys.path and a launcher's variables.
        It makes its own process group and destroys it; the session's, with all that holds it, is
        there again afterwards. Its names stay on the ranks; what holds the script's group, such as
        a DDP module, says how to make it again when it is used. Your own modules, beside it or
        not installed, are read again at every run, so edit them and run again. An exit code that
        is not 0 fails the cell.

        Options of this magic stand before SCRIPT; what follows is the script's.

        Examples::

            %dist_run train.py --epochs 1
            %dist_run -r 0,1 train.py
            %dist_run -m mypackage.train --lr 0.1
            %dist_run --pdb train.py
        """
        args, rest = parse_with_code(self.dist_run, line)
        try:
            words = shlex.split(rest)
        except ValueError as error:
            raise InputError(f"{error} in {rest!r}: close the quotation mark.") from None
        if not words:
            raise InputError("There is nothing to run: give a script, %dist_run train.py.")
        session = self.session()
        chosen = session.select(args.ranks)

        def run(output: LiveOutput) -> CellResult:
            result = session.run_script(
                words[0],
                words[1:],
                list(chosen),
                args.timeout,
                module=args.m,
                clean=args.clean,
                on_hang=args.on_hang,
                output=output,
                number=number_of(self.shell),
                post_mortem="failure" if args.pdb else "",
            )
            for kind, ranks in _left(result).items():
                they = sentence_start(ranks_do(ranks, "still runs", "still run"))
                what_to_do = (
                    "nothing ends that from outside; %dist_restart gives new processes"
                    if args.clean
                    else "run it with --clean to end what it leaves"
                )
                output.note(f"{they} {kind} of {words[0]}: {what_to_do}.")
            return result

        show(self.shell, session, chosen, run, out=args.out, wait=not args.no_wait)


def _left(result: CellResult) -> dict[str, list[int]]:
    """The ranks, by what a script left behind on them."""
    found: dict[str, list[int]] = {}
    for rank, of_rank in result.items():
        if of_rank.left:
            found.setdefault(of_rank.left, []).append(rank)
    return found
