"""``%dist_mode``: plain cells that run on all ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Mode"]


class Mode:
    """Sends plain cells to the ranks while it is on; an input transformer of IPython."""

    def __init__(self) -> None:
        self.on = False
        self._depth = 0

    def attach(self, shell: InteractiveShell) -> None:
        """Begin to look at every cell."""
        shell.input_transformers_cleanup.append(self.transform)
        shell.events.register("pre_execute", self._enter_cell)
        shell.events.register("post_execute", self._leave_cell)

    def detach(self, shell: InteractiveShell) -> None:
        """Undo :meth:`attach`."""
        shell.input_transformers_cleanup.remove(self.transform)
        shell.events.unregister("pre_execute", self._enter_cell)
        shell.events.unregister("post_execute", self._leave_cell)

    def transform(self, lines: list[str]) -> list[str]:
        """Put ``%%dist`` above a plain cell; take ``%%local`` off one that stays here."""
        if self._depth:  # a cell inside a cell, such as the body of %%capture
            return lines
        code = (i for i, line in enumerate(lines) if line.strip() and line.lstrip()[0] != "#")
        at = next(code, None)
        if at is None:
            return lines
        first = lines[at].strip()
        if first.split()[0] == "%%local":
            return [*lines[:at], "\n", *lines[at + 1 :]]  # an empty line keeps the numbers right
        if not self.on or first[0] in "%!?":
            return lines
        return ["%%dist\n", *lines]

    def _enter_cell(self) -> None:
        self._depth += 1

    def _leave_cell(self) -> None:
        self._depth = max(0, self._depth - 1)
