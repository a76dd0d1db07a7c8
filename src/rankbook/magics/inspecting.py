"""Tab, Shift-Tab and ``?`` in code for ranks; a table of the ranks' variables."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class

from rankbook import api
from rankbook.errors import RankbookError
from rankbook.magics import missing
from rankbook.magics.base import RankMagics
from rankbook.magics.cursor import ForRanks, InMagic, name_at, target, wanted
from rankbook.magics.offers import offers
from rankbook.magics.options import NAMES_THERE, RANKS
from rankbook.magics.usage import parse, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.display.variables import Variables
    from rankbook.models.meshes import NamedMesh
    from rankbook.sessions.members.party import Party

__all__ = ["InspectMagics"]

_HELP = re.compile(r"(\s*%dist\s+(?:-\S+\s+\S+\s+)*)([\w.\[\]'\"]+)(\?\??)\s*")
"""``%dist x?``, which IPython would take for a question about this notebook's ``x``."""


class _Nothing(list[Any]):
    """An empty list that is true, so that IPython asks no other source of completions.

    This notebook's own names must not stand in for those of ranks that do not answer.
    """

    def __len__(self) -> int:
        return 1


@magics_class
class InspectMagics(RankMagics):
    """``%dist_who``, and what the front end asks for while the user types."""

    _inspect_here: Callable[..., dict[str, Any]] | None = None
    _complete_here: Callable[..., dict[str, Any]] | None = None
    """The kernel's own method, for IPython before 8.6, which has no matchers."""
    _shown: BaseException | None = None
    """The exception shown last when the latest cell ended."""

    def attach(self) -> None:
        """Answer completion and inspection from now on, where code is for ranks."""
        # IPython before 8.6 gives matchers a word without its cell. There only the kernel's
        # method sees the cell.
        with suppress(ImportError):
            from IPython.core.completer import context_matcher

            # A function: attributes cannot be set on a method.
            match: Any = lambda at: self._match(at)  # noqa: E731, PLW0108
            self._matcher = context_matcher(identifier="rankbook")(match)
            self.shell.Completer.custom_matchers.append(self._matcher)
        kernel = getattr(self.shell, "kernel", None)
        if kernel is not None:
            if not hasattr(self, "_matcher"):
                self._complete_here = kernel.do_complete
                kernel.do_complete = self._complete_request
            self._inspect_here = kernel.do_inspect
            kernel.do_inspect = self._inspect
        self.shell.input_transformers_cleanup.append(self._ask_ranks)
        self.shell.events.register("post_run_cell", self._tell_of_missing)

    def detach(self) -> None:
        """Undo :meth:`attach`."""
        matchers = getattr(self.shell.Completer, "custom_matchers", [])
        if getattr(self, "_matcher", None) in matchers:
            matchers.remove(self._matcher)
        kernel: Any = getattr(self.shell, "kernel", None)
        if self._complete_here is not None:
            kernel.do_complete, self._complete_here = self._complete_here, None
        if self._inspect_here is not None:
            kernel.do_inspect, self._inspect_here = self._inspect_here, None
        self.shell.input_transformers_cleanup.remove(self._ask_ranks)
        self.shell.events.unregister("post_run_cell", self._tell_of_missing)

    @line_magic
    @takes(RANKS)
    def dist_who(self, line: str) -> Variables:
        """List the variables of the ranks: type, shape, dtype, device, size, and who has the same.

        It answers while a cell runs or hangs.
        """
        from rankbook.display.variables import Variables
        from rankbook.sessions.members.inspecting import variables

        args = parse(self.dist_who, line)
        session = self.session()
        chosen = session.members.select(args.ranks)
        party = session.members.living().only(chosen) or session.members.living().only(
            session.select(args.ranks)  # raises, with what has become of the ranks
        )
        return Variables(variables(party), chosen, session.members.named_mesh)

    # -- what a front end asks for -----------------------------------------------------------

    def _match(self, context: Any) -> dict[str, Any]:
        """Complete, as one of IPython's matchers."""
        from IPython.core.completer import SimpleCompletion

        lines = context.full_text.split("\n")
        before = [
            *lines[: context.cursor_line],
            lines[context.cursor_line][: context.cursor_position],
        ]
        cursor = len("\n".join(before))
        found = self._complete(context.full_text, cursor)
        if found is None:
            return {"completions": [], "suppress": False}
        start, ways = found
        return {
            "completions": [SimpleCompletion(text, type=kind) for text, kind in ways] or _Nothing(),
            "matched_fragment": context.full_text[start:cursor],
            "suppress": True,
            "ordered": True,
        }

    def _complete_request(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Answer Tab; replaces the kernel's own method."""
        assert self._complete_here is not None  # noqa: S101 - attach has set it
        found = self._complete(code, cursor_pos)
        if found is None:
            return self._complete_here(code, cursor_pos)
        start, ways = found
        types = [
            {"start": start, "end": cursor_pos, "text": text, "type": kind} for text, kind in ways
        ]
        return {
            "matches": [text for text, _ in ways],
            "cursor_start": start,
            "cursor_end": cursor_pos,
            "metadata": {"_jupyter_types_experimental": types},
            "status": "ok",
        }

    def _complete(self, cell: str, cursor: int) -> tuple[int, list[tuple[str, str]]] | None:
        """Where a completion begins, and the completions; None: the notebook completes."""
        at = self._target(cell, cursor)
        if at is None:
            return None
        if isinstance(at, InMagic):
            return self._complete_option(at, cursor)
        party = self._party(at.ranks)
        if party is None:
            return cursor, []
        from rankbook.sessions.members.inspecting import complete

        found = complete(party, at.code, at.cursor)
        ways = [(one.text, one.kind) for one in found.found]
        if at.is_line:  # an IPython magic cannot be there
            ways = [way for way in ways if not way[0].startswith("%")]
        return at.begin + found.start, ways

    def _complete_option(self, at: InMagic, cursor: int) -> tuple[int, list[tuple[str, str]]]:
        session = api.session()
        typed, words = offers(
            wanted(self._magics()[at.magic], at.words),
            at.words[:-1],
            ranks=lambda: session.members.selections() if session is not None else [],
            here=self._names_here,
            there=self._names_there,
        )
        return cursor - len(typed), [(word, "param") for word in words]

    def _names_here(self) -> list[str]:
        hidden: Any = self.shell.user_ns_hidden
        return [name for name in self.shell.user_ns if name[0] != "_" and name not in hidden]

    def _names_there(self, typed: str) -> list[str]:
        party = self._party("all")
        if party is None or "." in typed:
            return []
        from rankbook.sessions.members.inspecting import complete

        found = [one.text for one in complete(party, typed, len(typed)).found]
        return [
            name
            for name in found
            if name.isidentifier() and not hasattr(builtins, name) and not iskeyword(name)
        ]

    def _inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        """Answer Shift-Tab and ``?``; replaces the kernel's own method."""
        assert self._inspect_here is not None  # noqa: S101 - attach has set it
        at = self._target(code, cursor_pos)
        if isinstance(at, InMagic):
            at = self._named(at, code, cursor_pos)
        party = self._party(at.ranks) if isinstance(at, ForRanks) else None
        if not isinstance(at, ForRanks) or party is None:
            return self._inspect_here(code, cursor_pos, detail_level, omit_sections)
        from rankbook.display import inspected
        from rankbook.sessions.members.inspecting import inspect

        name = name_at(at.code, at.cursor)
        found = inspect(party, name, detail_level) if name else {}
        is_found = any(one.is_found for one in found.values())
        data = {"text/plain": inspected.to_text(name, found, self._mesh())} if is_found else {}
        return {"status": "ok", "found": is_found, "data": data, "metadata": {}}

    def _named(self, at: InMagic, code: str, cursor: int) -> ForRanks | None:
        """The variable of the ranks that an argument names: ``%dist_pull x``."""
        is_name = wanted(self._magics()[at.magic], at.words).ways == NAMES_THERE
        return ForRanks("all", code, cursor, 0) if is_name else None

    def _ask_ranks(self, lines: list[str]) -> list[str]:
        """Have ``%dist x?`` ask the ranks."""
        return [
            f"{found[1]}%pinfo{'2' if found[3] == '??' else ''} {found[2]}\n"
            if (found := _HELP.fullmatch(line))
            else line
            for line in lines
        ]

    def _tell_of_missing(self, result: Any) -> None:
        """Say what to type where a plain cell lacked a name that ranks have."""
        shown = getattr(sys, "last_value", None)
        is_new, self._shown = shown is not self._shown, shown
        name = missing.lacking(result)
        advice = missing.was_meant_for_ranks(result, shown if is_new else None)
        session = api.session()
        party = self._party("all") if name else None
        if session is not None and party is not None:
            missing.tell(name, party, session.world_size)
        if session is not None and advice:
            print(advice, file=sys.stderr)

    # ----------------------------------------------------------------------------------------

    def _target(self, cell: str, cursor: int) -> ForRanks | InMagic | None:
        cells: Any = self.shell.magics_manager.registry.get("CellMagics")
        return target(cell, cursor, self._magics(), mode=bool(cells and cells.mode.on))

    def _magics(self) -> dict[str, Any]:
        """By name, the options of each of our magics."""
        registry = self.shell.magics_manager.registry.values()
        families = [family for family in registry if isinstance(family, RankMagics)]
        return {
            name: getattr(magic, "options", ())
            for family in families
            for named in family.magics.values()
            for name, magic in named.items()
        }

    def _mesh(self) -> NamedMesh | None:
        session = api.session()
        return session.members.named_mesh if session else None

    def _party(self, selection: str) -> Party | None:
        """The live ranks of a selection; None if there is no session, or no such rank."""
        session = api.session()
        if session is None or not session.groups:
            return None
        try:
            chosen = session.members.select(selection)
        except RankbookError:
            return None
        return session.members.living().only(chosen) or None
