"""What a cell shows, from top to bottom, as a notebook shows it; for each rank on its own.

``clear_output`` of a rank takes back what that rank has shown: the rest is shown again. Otherwise
text is added at the end, and displays are replaced in place.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection
from functools import lru_cache
from itertools import count, groupby
from operator import attrgetter

from rankbook.display.cells.entries import Entry, Key, Line, Picture, Screen
from rankbook.display.cells.region import Region
from rankbook.models.events import Display
from rankbook.models.meshes import NamedMesh

__all__ = ["Named", "Page"]

_REDRAW = 0.1
"""The least seconds between two redraws."""

_PER_SECOND = 1_000_000
"""How many characters may be shown again in a second."""

_MOST = 20_000
"""How many lines, the latest ones, can be shown again."""

_FRAME = 20
"""Outputs after ``clear_output`` that keep their places from frame to frame."""

Named = dict[tuple[int, str], list[Picture]]
"""Displays by rank and by the name that a cell gave them; later cells may update them, too."""


@lru_cache(maxsize=1024)
def _one_set(ranks: tuple[int, ...]) -> frozenset[int]:
    """One set for all lines of the same ranks: a flood has many."""
    return frozenset(ranks)


class Page:
    """The output of one cell."""

    def __init__(self, screen: Screen, named: Named, mesh: NamedMesh | None = None) -> None:
        """Begin an empty page.

        Args:
            screen: Where it is shown.
            named: Displays of earlier cells, to which those of this cell are added.
            mesh: Its dimensions name the ranks, where that is possible.
        """
        self._screen = screen
        self._named = named
        self._mesh = mesh
        self._entries: list[Entry] = []
        self._new: list[Entry] = []
        self._region: Region | None = None
        self._waiting: set[int] = set()
        self._turns: dict[int, int] = {}
        self._numbers = count()
        self._left_out = 0
        self._is_stale = False
        self._next = self._next_bars = 0.0

    # -- adding ------------------------------------------------------------------------------

    def line(self, stream: str, text: str, ranks: Collection[int] = ()) -> None:
        """Add a line of text.

        Args:
            stream: ``stdout`` or ``stderr``.
            text: The line; it may contain line breaks.
            ranks: The ranks that printed it; none: the session.
        """
        self._close_region()
        self._add(Line(_one_set(tuple(ranks)), stream=stream, text=text))

    def show(self, display: Display, ranks: Collection[int] = ()) -> None:
        """Show a display; an update replaces the display of the same name."""
        if not display.update:
            self.begin(ranks)
        if display.display_id:
            ranks = self._replace(display, set(ranks))
            if not ranks:
                return
        self._close_region()
        picture = Picture(frozenset(ranks), data=display.data, metadata=display.metadata)
        self._add(picture)
        self._name(picture, display.display_id)

    def _replace(self, display: Display, ranks: set[int]) -> set[int]:
        """Replace the displays of its name; return the ranks that had none to replace."""
        left = set(ranks)
        named = {id(one): one for rank in ranks for one in self._of(rank, display)}
        for picture in named.values():
            sharers = picture.ranks & ranks
            if sharers == picture.ranks:
                picture.replace(display)
            else:
                self._split(picture, display, sharers)
            left -= sharers
        if not display.update:  # it is a further display of that name
            return ranks
        # What was taken back is not shown again by an update.
        return {rank for rank in left if (rank, display.display_id) not in self._named}

    def _of(self, rank: int, display: Display) -> list[Picture]:
        known = self._named.get((rank, display.display_id), [])
        return [picture for picture in known if rank in picture.ranks]

    def _name(self, picture: Picture, name: str) -> None:
        for rank in picture.ranks if name else ():
            known = self._named.get((rank, name), [])
            self._named[rank, name] = [*(one for one in known if rank in one.ranks), picture]

    def _split(self, picture: Picture, display: Display, ranks: frozenset[int]) -> None:
        """Give ranks their own display, besides the one that they shared with others."""
        own = Picture(ranks, picture.place, data=display.data, metadata=display.metadata)
        picture.ranks -= ranks
        self._name(own, display.display_id)
        if picture in self._entries and self._screen.can_clear:
            is_below = min(own.ranks) > min(picture.ranks)
            self._entries.insert(self._entries.index(picture) + is_below, own)
            self._is_stale = True
            return
        self._add(own)
        picture.draw_caption(self._mesh)

    def _add(self, entry: Entry) -> None:
        self.begin(entry.ranks)
        turn = self._turn(entry.ranks)
        if same := self._same_line(entry, turn):
            same.ranks |= entry.ranks
            self._is_stale |= same.is_drawn
            return
        number = next(self._numbers)
        if not entry.ranks:
            entry.place = self._entries[-1].place if self._entries else (0, number)
        elif turn > _FRAME:
            entry.place = (2, number)
        else:
            entry.place = (1, turn, min(entry.ranks), number) if turn else (0, number)
        if self._entries and entry.place < self._entries[-1].place:
            insort(self._entries, entry, key=attrgetter("place"))
            self._is_stale = self._screen.can_clear
        else:
            self._entries.append(entry)
        self._new.append(entry)

    def _turn(self, ranks: Collection[int]) -> int:
        """The number that the ranks' next output has since ``clear_output``; 0: none was called."""
        if not self._turns:
            return 0
        cleared = [rank for rank in ranks if rank in self._turns]
        for rank in cleared:
            self._turns[rank] += 1
        return max((self._turns[rank] for rank in cleared), default=0)

    def _same_line(self, entry: Entry, turn: int) -> Line | None:
        """The equal line of other ranks with the same number, however much earlier."""
        if not isinstance(entry, Line) or not 0 < turn <= _FRAME:
            return None
        alike = (
            one
            for one in self._entries
            if isinstance(one, Line) and one.place[:2] == (1, turn) and one.text == entry.text
        )
        others = (one for one in alike if not one.ranks & entry.ranks)
        return next((one for one in others if one.stream == entry.stream), None)

    # -- unfinished lines --------------------------------------------------------------------

    def is_due(self, now: float) -> bool:
        """Whether it is time to show how far unfinished lines have come."""
        return self._region is None or now >= self._next_bars

    def is_open(self, key: Key) -> bool:
        """Whether a line of this rank and stream is still being rewritten here."""
        return self._region is not None and key in self._region.open

    def put(self, key: Key, text: str) -> None:
        """Show, or rewrite, the unfinished line of a rank and stream."""
        self.begin({key[0]})
        if self._region is None:
            self._region = Region(frozenset({key[0]}))
            self._add(self._region)
        self._region.put(key, text)

    def end(self, key: Key, text: str) -> None:
        """End an unfinished line."""
        self.put(key, text)
        assert self._region is not None  # noqa: S101 - put has made it
        del self._region.open[key]

    def _close_region(self) -> None:
        """Close the region once its lines have ended: what follows is shown below them."""
        if self._region is not None and not self._region.open:
            self._finish_region()

    def _finish_region(self) -> None:
        if self._region is not None:
            region, self._region = self._region, None
            region.is_final = True
            if region.is_drawn and not self._is_stale:
                region.draw_again(self._screen, self._mesh)

    # -- taking back -------------------------------------------------------------------------

    def clear(self, ranks: Collection[int], *, wait: bool) -> None:
        """Take back what ranks have shown; with ``wait``, when they show something else."""
        if not self._screen.can_clear:
            return
        self._waiting.update(ranks)
        if not wait:
            self.begin(ranks)

    def begin(self, ranks: Collection[int]) -> None:
        """Take back what ranks have shown before they show something else."""
        if not self._waiting or not (ready := self._waiting.intersection(ranks)):
            return
        self._waiting -= ready
        self._turns.update(dict.fromkeys(ready, 0))
        for entry in self._entries:
            if entry.take_back(ready):
                self._is_stale |= entry.is_drawn
                entry.is_gone = not entry.ranks
        self._entries = [entry for entry in self._entries if not entry.is_gone]
        if self._region is not None and self._region.is_gone:
            self._region = None

    # -- drawing -----------------------------------------------------------------------------

    def draw(self, now: float, *, is_last: bool = False) -> float:
        """Bring the screen up to date.

        Args:
            now: Seconds, by any monotonic clock.
            is_last: Nothing more will be added.

        Returns:
            Seconds until something undrawn is due; infinity if nothing is.
        """
        if is_last:
            self._finish_region()
        if self._is_stale:
            if now < self._next and not is_last:
                return self._next - now
            self._next = now + max(_REDRAW, self._begin_again() / _PER_SECOND)
        self._draw_new()
        if is_last:
            self._settle()
        if self._region is None:
            return float("inf")
        if now >= self._next_bars:
            self._region.draw_again(self._screen, self._mesh)
            self._next_bars = now + _REDRAW
        return self._next_bars - now

    def _begin_again(self) -> int:
        """Empty the screen; return how many characters are to be shown again."""
        self._is_stale = False
        self._screen.clear(wait=bool(self._entries))
        self._new = list(self._entries)
        for entry in self._entries:
            entry.is_drawn = False
        return sum(entry.size for entry in self._entries)

    def _draw_new(self) -> None:
        new, self._new = [entry for entry in self._new if not entry.is_gone], []
        for stream, group in groupby(new, attrgetter("stream")):
            entries = list(group)
            if stream:  # in one piece: a flood has many lines
                lines = [entry.shown(self._mesh) for entry in entries if isinstance(entry, Line)]
                self._screen.write(stream, "\n".join(lines) + "\n")
            for entry in entries:
                if not stream:
                    entry.draw(self._screen, self._mesh)
                entry.is_drawn = True
        if len(self._entries) > 2 * _MOST:
            self._leave_out()

    def _settle(self) -> None:
        """Keep only what is needed to replace the displays later."""
        for entry in self._entries:
            if isinstance(entry, Picture):
                entry.data, entry.metadata = {}, {}
        self._entries = []

    def _leave_out(self) -> None:
        """Drop the oldest lines, which then cannot be shown again."""
        lines = [entry for entry in self._entries if entry.stream][:-_MOST]
        self._left_out += len(lines) - bool(self._left_out)
        for line in lines:
            line.is_gone = True
        note = Line(frozenset(), stream="stdout", text=f"({self._left_out:,} lines above left out)")
        note.is_drawn = True
        self._entries = [note, *(entry for entry in self._entries if not entry.is_gone)]
