"""Pulling, pushing, comparing and showing the values of ranks, and naming a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankbook import values
from rankbook.sessions.cells.cell import Cell
from rankbook.sessions.code import SessionCode
from rankbook.sessions.group import stuck
from rankbook.sessions.group.repair import Event
from rankbook.sessions.members import values as member_values

# Methods import what few sessions use: the start must stay quick.
if TYPE_CHECKING:
    from rankbook.models.diffs import Diff
    from rankbook.models.exchanges import Exchanges
    from rankbook.models.meshes import NamedMesh
    from rankbook.models.shown import Shown

__all__ = ["SessionValues"]


class SessionValues(SessionCode):
    """The part of a session that deals with the ranks' values."""

    def pull(self, name: str, ranks: str | int | list[int] = "all") -> dict[int, Any]:
        """Bring a variable here.

        Args:
            name: Its name on the ranks.
            ranks: A selection of ranks.

        Returns:
            Its value by rank. Tensors arrive on the CPU.

        Raises:
            InputError: Some rank does not have it, or it cannot be pickled.
        """
        chosen = self.select(ranks)
        with self._evaluating(f"pulling {name}"):
            return member_values.pull(self.members.ranks(chosen), name, self.members.named_mesh)

    def push(self, ranks: str | int | list[int] = "all", /, **variables: Any) -> None:
        """Send variables to ranks.

        Args:
            ranks: A selection of ranks.
            **variables: Names and values.

        Raises:
            InputError: A value cannot be pickled. Nothing was sent.
        """
        chosen = self.select(ranks)
        data = {name: values.dumps(value, name) for name, value in variables.items()}
        with self._evaluating(f"pushing {', '.join(variables)}"):
            member_values.push(self.members.ranks(chosen), data)

    def diff(self, expression: str, ranks: str | int | list[int] = "all") -> Diff:
        """Compare a value across ranks; see ``%dist_diff``. No collective is issued.

        Args:
            expression: Evaluated on each rank.
            ranks: A selection of ranks.

        Raises:
            InputError: It cannot be evaluated on any of them.
        """
        from rankbook.sessions.members import diffs

        chosen = self.select(ranks)
        with self._evaluating(f"comparing {expression}"):
            return diffs.diff(self.members.ranks(chosen), expression, self.members.named_mesh)

    @contextmanager
    def _evaluating(self, doing: str) -> Iterator[None]:
        """Be busy while ranks run a person's code, to pickle a value, for example.

        Ctrl-C ends it there as well: the next cell would wait for it.
        """
        with self._turns.take(doing):
            try:
                yield
            except KeyboardInterrupt:
                freed = self._repair.free()
                if freed.busy:
                    raise self._repair.stuck(stuck.of(freed)) from None
                self._repair.after(Event.INTERRUPT_ENDS)
                raise

    def show(self, expression: str, ranks: str | int | list[int] = "all") -> Shown:
        """Find which ranks hold which parts of a value, to draw it; see ``%dist_show``.

        No collective is issued, and no user code runs. It answers while a cell runs or hangs.

        Args:
            expression: A name on the ranks, with attributes and indices: ``model.fc.weight``.
            ranks: A selection of ranks.

        Returns:
            An object that shows itself as a picture, or as text without a rich front end.

        Raises:
            InputError: No rank that answers has such a value.
        """
        from rankbook.sessions.members import showing

        party = self.members.living().only(self._to_look_at(ranks))
        return showing.shown(party, expression, self.members.named_mesh)

    def _to_look_at(self, ranks: str | int | list[int]) -> tuple[int, ...]:
        """The live ranks of a selection: their values can be looked at when others have died."""
        living = self.members.living()
        return tuple(rank for rank in self.members.select(ranks) if rank in living) or (
            self.select(ranks)
        )

    def exchanges(self, ranks: str | int | list[int] = "all") -> Exchanges:
        """Get the inputs and outputs of every rank in each collective of a cell.

        The cell is the latest that was run with ``keep_values``.

        Args:
            ranks: A selection of ranks.

        Returns:
            An object that shows itself as pictures, or as text without a rich front end.

        Raises:
            InputError: Nothing was kept.
        """
        from rankbook.sessions.members import exchanges

        party = self.members.living().only(self._to_look_at(ranks))
        return exchanges.exchanges(party, self.members.named_mesh)

    def mesh(self, name: str = "mesh", number: int = 0, /, **dims: int) -> NamedMesh:
        """Make a device mesh on the ranks; its names then select ranks: ``"tp=0"``.

        It goes on after a hang or a reset, as other objects do. Without dimensions, the mesh that
        the ranks already hold under that name is used.

        Args:
            name: The variable's name on the ranks. Only a mesh that an earlier call made is
                overwritten.
            number: See :meth:`run`.
            **dims: Names and sizes; one size may be -1, inferred from the others.

        Returns:
            The mesh, with each rank's place.

        Raises:
            InputError: The product of the sizes is not the world size, or the name is taken.
            RankError: It could not be made.
        """
        from rankbook.sessions.members import meshes

        chosen = self.select("all")
        size = len(chosen)
        sizes = meshes.check(dims, size) if dims else {}
        party = self.members.ranks(chosen)
        with self._turns.take(f"making the mesh {name}" if dims else f"looking for {name}"):
            held = meshes.held(party, name)
            if dims and not meshes.is_there(held, sizes):
                meshes.refuse_taken(held, name, self.members.mesh)
                device = self.groups[0].device.partition(":")[0]
                line = meshes.code(name, sizes, device)
                title = f"making the mesh {meshes.shown(dims)}"
                cell = Cell(line, chosen, number, title=title, on_hang="free")
                self._cells.run(cell, None).raise_for_error()
                held = meshes.held(party, name)
            self.members.mesh = meshes.named(held, name, size)
        self.changes.notify()
        return self.members.mesh
