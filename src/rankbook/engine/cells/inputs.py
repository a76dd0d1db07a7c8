"""The cells that have run on this rank, by the number that they have in the notebook.

``_i``, ``In``, ``%history``, ``%rerun``, ``%save`` and ``%macro`` find them. In a plain kernel the
numbers follow each other; here those are missing that ran elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from IPython.core.history import HistoryManager

__all__ = ["Inputs"]

_BACK = ("_i", "_ii", "_iii")
"""Names of the texts of the latest cells before the one that runs."""


_MOST = 1_000_000
"""The highest number of a cell that is kept: ``In`` has an entry for each below."""


class Inputs(HistoryManager):
    """A shell's history in memory, without a database.

    ``In`` has an empty text for each number that did not run here.
    """

    def __init__(self, shell: Any) -> None:
        """Take the place of the shell's history."""
        super().__init__(shell=shell, enabled=False)
        former, shell.history_manager = shell.history_manager, self
        for kept in ("input_hist_parsed", "input_hist_raw", "output_hist", "output_hist_reprs"):
            setattr(self, kept, getattr(former, kept))  # some are the shell's In and Out
        self.dir_hist = former.dir_hist
        self._order: list[int] = []
        """The numbers of the cells, the latest last, each once."""

    def begin(self, number: int, source: str, source_raw: str) -> None:
        """Take note of a cell that is about to run.

        Args:
            number: Its number in the notebook; 0, a program's, is not noted.
            source: What Python runs.
            source_raw: What was typed.
        """
        if 0 < number <= _MOST and source_raw.strip():
            self.store_inputs(number, source.lstrip("\n"), source_raw)

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        """Store a cell. What one cell of the notebook runs here piece by piece is one text."""
        typed = source if source_raw is None else source_raw
        parsed, raw = self.input_hist_parsed, self.input_hist_raw
        is_piece = self._order[-1:] == [line_num] and line_num < len(raw)
        for texts, text in (parsed, source.rstrip("\n")), (raw, typed.rstrip("\n")):
            texts.extend([""] * (line_num + 1 - len(texts)))
            if not is_piece or not texts[line_num]:
                texts[line_num] = text
            elif f"\n{texts[line_num]}".endswith(f"\n{text}"):
                pass  # again, in a loop
            else:
                texts[line_num] += f"\n{text}"
        if not is_piece:
            if line_num in self._order:  # another notebook's, or that of a kernel before
                self._order.remove(line_num)
            self._order.append(line_num)
        before = [self._text(number) for number in self._order[-2:-5:-1]]
        before += [""] * (len(_BACK) - len(before))
        names = dict(zip(_BACK, before, strict=True))
        self.shell.push({**names, f"_i{line_num}": raw[line_num]}, interactive=False)

    def reset(self, new_session: bool = True) -> None:  # noqa: FBT001, FBT002 - as IPython's
        """Forget outputs, and with ``new_session`` inputs."""
        super().reset(new_session)
        if new_session:
            self._order.clear()

    def get_range(self, *args: Any, **kwargs: Any) -> Iterable[Any]:
        """The cells of a range of numbers that ran here; see IPython's."""
        for session, line, entry in super().get_range(*args, **kwargs):
            if entry if isinstance(entry, str) else entry[0]:
                yield session, line, entry

    def get_tail(
        self,
        n: int | None = 10,
        raw: bool = True,  # noqa: FBT001, FBT002 - as IPython's
        output: bool = False,  # noqa: FBT001, FBT002
        include_latest: bool = False,  # noqa: FBT001, FBT002
    ) -> Iterable[Any]:
        """The last ``n`` cells; see IPython's."""
        numbers = [number for number in self._order if self._text(number)]
        end = len(numbers) if include_latest else len(numbers) - 1
        begin = max(0, end - (10 if n is None else n))
        return [self._entry(number, raw, output) for number in numbers[begin : max(0, end)]]

    def search(
        self,
        pattern: str = "*",
        raw: bool = True,  # noqa: FBT001, FBT002 - as IPython's
        search_raw: bool = True,  # noqa: FBT001, FBT002
        output: bool = False,  # noqa: FBT001, FBT002
        n: int | None = None,
        unique: bool = False,  # noqa: FBT001, FBT002
    ) -> Iterable[Any]:
        """The cells whose text matches a pattern with ``*`` and ``?``; see IPython's."""
        texts = {number: self._text(number, search_raw) for number in self._order}
        found = [number for number, text in texts.items() if text and fnmatchcase(text, pattern)]
        if unique:
            found = list({texts[number]: number for number in found}.values())
        found = found if n is None else found[-n:] if n > 0 else []
        return [self._entry(number, raw, output) for number in found]

    def _entry(self, number: int, raw: bool, output: bool) -> tuple[int, int, Any]:  # noqa: FBT001
        text = self._text(number, raw)
        return 0, number, (text, self.output_hist_reprs.get(number)) if output else text

    def _text(self, number: int, raw: bool = True) -> str:  # noqa: FBT001, FBT002
        """A cell's text; empty where ``%reset in`` has cut it off."""
        texts = self.input_hist_raw if raw else self.input_hist_parsed
        return texts[number] if number < len(texts) else ""
