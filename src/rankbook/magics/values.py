"""Moving values between the notebook and the ranks."""

from __future__ import annotations

from IPython.core.magic import line_magic, magics_class

from rankbook.errors import InputError
from rankbook.magics.base import RankMagics
from rankbook.magics.options import NAMES, NAMES_HERE, RANKS
from rankbook.magics.usage import parse, takes

__all__ = ["ValueMagics"]


@magics_class
class ValueMagics(RankMagics):
    """``%dist_pull``, ``%dist_push``."""

    @line_magic
    @takes(NAMES.but(help="Variables of the ranks."), RANKS)
    def dist_pull(self, line: str) -> None:
        """Bring variables here: NAME becomes {rank: value}. Tensors arrive on the CPU."""
        args = parse(self.dist_pull, line)
        session = self.session()
        # All or nothing: a missing name must not leave half of them changed here.
        self.shell.push({name: session.pull(name, args.ranks) for name in args.names})

    @line_magic
    @takes(NAMES.but(help="Variables of this notebook.", completes=NAMES_HERE), RANKS)
    def dist_push(self, line: str) -> None:
        """Send variables of this notebook to the ranks, under the same names."""
        args = parse(self.dist_push, line)
        session = self.session()
        missing = [name for name in args.names if name not in self.shell.user_ns]
        if missing:
            raise InputError(f"There is no {missing[0]!r} in this notebook: assign it first.")
        session.push(args.ranks, **{name: self.shell.user_ns[name] for name in args.names})
