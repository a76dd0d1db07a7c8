"""Running cells on ranks, or here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import (
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)

from rankbook.errors import InputError
from rankbook.magics.base import RankMagics
from rankbook.magics.lines import below, in_line
from rankbook.magics.mode import Mode
from rankbook.magics.options import (
    NO_WAIT,
    ON_HANG,
    OUT,
    PDB,
    RANKS,
    SELECTION,
    TIMEOUT_SECONDS,
    TRACE,
    option,
)
from rankbook.magics.running import run_cell
from rankbook.magics.usage import parse, parse_with_code, takes

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["CellMagics"]


@magics_class
class CellMagics(RankMagics):
    """``%%dist``, ``%%rank``, ``%%local``, ``%dist_mode``."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.mode = Mode()

    def attach(self) -> None:
        """Look at every cell from now on, for ``%dist_mode``."""
        self.mode.attach(self.shell)

    def detach(self) -> None:
        """Stop looking at cells."""
        self.mode.detach(self.shell)

    @no_var_expand  # ranks expand {x}, not the notebook
    @line_cell_magic
    @takes(
        RANKS,
        OUT,
        TIMEOUT_SECONDS,
        ON_HANG.but(help="See %%dist_init; for this cell only."),
        PDB,
        option(
            "--keep-values",
            action="store_true",
            help="Keep what the cell's collectives put in and get out, up to 1 MB each; "
            "%%dist_show --collectives draws it.",
        ),
        TRACE,
        NO_WAIT,
        option("expression", nargs="*", help="For %%dist: what to run."),
    )
    def dist(self, line: str, cell: str | None = None) -> None:
        """Run a cell (%%dist) or a line (%dist EXPR) on all ranks or on some.

        What IPython understands in a cell works on the ranks: !shell, line magics, await, a
        trailing semicolon. Every rank finds torch, dist, rank, world_size, local_rank, device
        and dist_info. A cell that fails on a rank fails here, too.

        Examples::

            %%dist -r 0,2 -o result
            x = torch.ones(2, device=device) * rank
            dist.all_reduce(x)
            x

            %dist x.sum()

            %%dist --profile=step.json.gz
            train_step()
        """
        if cell is None:
            args, text = parse_with_code(self.dist, line)
            code = in_line(self.shell, text)
        else:
            args = parse(self.dist, line)
            if args.expression:
                raise InputError(
                    f"{' '.join(args.expression)!r} is not an option of %%dist: write code on the "
                    "lines below it."
                )
            code = below(self.shell, cell)
        if not code.text.strip():
            raise InputError("There is nothing to run: write code below %%dist, or %dist EXPR.")
        run_cell(
            self.shell,
            self.session(),
            code,
            args.ranks,
            timeout=args.timeout,
            out=args.out,
            on_hang=args.on_hang,
            wait=not args.no_wait,
            post_mortem="failure" if args.pdb else "",
            keep_values=args.keep_values,
            profile=args.profile,
        )

    @cell_magic
    @takes(SELECTION)
    def rank(self, line: str, cell: str) -> None:
        """Run a cell on some ranks: short for %%dist -r RANKS."""
        # Not argparse: it would take the ranks -2,-1 for an option.
        run_cell(self.shell, self.session(), below(self.shell, cell), line.strip())

    @cell_magic
    def local(self, line: str, cell: str) -> None:
        """Run a cell here, in the notebook's own process, while %dist_mode is on."""
        # In a notebook, Mode has removed the line %%local; this is for run_cell_magic.
        del line
        self.shell.run_cell(cell)

    @line_magic
    @takes(option("mode", choices=["on", "off"], help="on: plain cells run on all ranks."))
    def dist_mode(self, line: str) -> None:
        """Run every plain cell on all ranks, until turned off.

        Magics stay here, and so do cells that start with %%local.
        """
        self.mode.on = parse(self.dist_mode, line).mode == "on"
        if self.mode.on:
            print(
                "Plain cells now run on all ranks. %%local keeps one here; "
                "%dist_mode off turns this off."
            )
