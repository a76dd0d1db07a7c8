"""Comparing values across ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class, no_var_expand

from rankbook import api
from rankbook.errors import InputError, RankbookError
from rankbook.magics.base import RankMagics
from rankbook.magics.options import RANKS, option
from rankbook.magics.usage import parse_with_expression, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.display.diffs import DiffView
    from rankbook.models.diffs import Diff

__all__ = ["DiffMagics"]

_LISTED = 3
"""How many parts are named."""


@magics_class
class DiffMagics(RankMagics):
    """``%dist_diff``."""

    def attach(self) -> None:
        """Compare after every cell, for ``--every``."""
        self._watched: dict[str, str] = {}
        self._told: dict[str, _Told] = {}
        self.shell.events.register("post_run_cell", self._after_cell)

    def detach(self) -> None:
        """Stop comparing."""
        self.shell.events.unregister("post_run_cell", self._after_cell)

    @no_var_expand
    @line_magic
    @takes(
        RANKS,
        option(
            "--every",
            action="store_true",
            help="Watch EXPR: compare it again after each cell, and report when the result "
            "changes. Without EXPR: stop watching.",
        ),
        option("expression", nargs="*", metavar="EXPR", help="What is evaluated on each rank."),
    )
    def dist_diff(self, line: str) -> DiffView | None:
        """Compare a value across ranks: one sentence, then a table of what differs.

        EXPR can be a tensor, a module, an optimizer, a state_dict(), a DTensor (equal shards are
        compared), the state of a random generator, or anything that Python nests. Every bit
        counts, but one NaN equals another. No collective is issued, and only what differs travels.

        Examples::

            %dist_diff model
            %dist_diff -r 0-3 optimizer.state_dict()
            %dist_diff torch.random.get_rng_state()
            %dist_diff --every model
        """
        from rankbook.display.diffs import DiffView

        args, expression = parse_with_expression(self.dist_diff, line)
        if args.every and not expression:
            watched = ", ".join(self._watched)
            self._watched.clear()
            print(
                f"No longer compared after each cell: {watched}."
                if watched
                else "Nothing is watched: %dist_diff --every EXPR compares EXPR after each cell."
            )
            return None
        if not expression:
            raise InputError("There is nothing to compare: %dist_diff EXPR.")
        found = self.session().diff(expression, args.ranks)
        if args.every:
            self._watched[expression] = args.ranks
            self._told[expression] = _told(found)
            print(
                f"{expression} is compared after each cell from now on, and changes are reported. "
                "Run %dist_diff --every to stop."
            )
        return DiffView(found)

    def _after_cell(self, *_: object) -> None:
        """Compare what is watched; say what has changed."""
        session = api.session()
        if not self._watched or session is None or session.doing or not session.groups:
            return
        for expression, ranks in self._watched.items():
            try:
                told = _told(session.diff(expression, ranks))
            except RankbookError as error:
                told = _Told(str(error))
            before = self._told.get(expression)
            if told != before:
                self._told[expression] = told
                print(f"{expression}: {told.summary}{_added(told, before)}")


@dataclass(frozen=True)
class _Told:
    """What was said last of a watched value."""

    summary: str
    departs: tuple[str, ...] = ()
    """The parts that differ."""


def _told(found: Diff) -> _Told:
    departs = dict.fromkeys(leaf.path for leaf in found.leaves if leaf.departures)
    return _Told(found.summary, tuple(departs))


def _added(told: _Told, before: _Told | None) -> str:
    """The parts that differ now and did not before, with a space before them.

    The summary names the first part that differs, which may have differed before.
    """
    if before is None or not before.departs:
        return ""
    added = [path for path in told.departs if path not in before.departs]
    if not added:
        return ""
    more = f" and {len(added) - _LISTED} more" if len(added) > _LISTED else ""
    return f" Since this cell: {', '.join(added[:_LISTED])}{more}."
