"""Where ranks are, as one tree: frames that several ranks share are shown once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rankbook.display import html
from rankbook.models.frames import Frame, Standing
from rankbook.models.meshes import NamedMesh
from rankbook.ranks import label
from rankbook.words import in_words, sentence_start

__all__ = ["to_html", "to_text"]

_STEP = "  "

_WIDE = 80
"""How many characters of a variable's values by rank fit in one line."""


@dataclass(frozen=True)
class _Line:
    """A line of the tree."""

    depth: int
    text: str
    is_code: bool = False
    """Whether it is a frame; else it says something about one."""


def to_text(standings: Mapping[int, Standing], mesh: NamedMesh | None = None) -> str:
    """The tree for a terminal, nbconvert's text, or a screen reader."""
    return "\n".join(f"{_STEP * line.depth}{line.text}" for line in _lines(standings, mesh))


def to_html(standings: Mapping[int, Standing], mesh: NamedMesh | None = None) -> str:
    """The same as HTML."""
    lines = [
        f"{_STEP * line.depth}"
        + (
            escape(line.text)
            if line.is_code
            else f'<span style="color: {html.QUIET}">{escape(line.text)}</span>'
        )
        for line in _lines(standings, mesh)
    ]
    style = "line-height: 1.45; white-space: pre; overflow-x: auto"
    return f'<pre style="{style}">{chr(10).join(lines)}</pre>'


def _lines(standings: Mapping[int, Standing], mesh: NamedMesh | None) -> Iterable[_Line]:
    busy = {rank: one for rank, one in standings.items() if one.frames}
    yield from _branch({rank: one.frames for rank, one in busy.items()}, 0, mesh, None)
    if idle := standings.keys() - busy.keys():
        yield _Line(0, f"[{label(idle, mesh)}] no cell runs")
    yield from _native(busy, mesh)


def _branch(
    stacks: Mapping[int, Sequence[Frame]],
    depth: int,
    mesh: NamedMesh | None,
    above: Sequence[int] | None,
) -> Iterable[_Line]:
    """The branch of ranks whose stacks are the same up to here.

    Args:
        stacks: By rank, its frames from here inwards.
        depth: How far the lines are indented.
        mesh: Its dimensions name the ranks.
        above: The ranks of the line above, which are not named again.
    """
    ways: dict[tuple[str, str], dict[int, Sequence[Frame]]] = {}
    for rank, frames in sorted(stacks.items()):
        if frames:
            ways.setdefault((frames[0].place, frames[0].code), {})[rank] = frames
    for (place, code), some in ways.items():
        ranks = sorted(some)
        is_named = above is None or ranks != list(above)
        text = f"{place}: {code}" if code else place
        yield _Line(depth, f"[{label(ranks, mesh)}] {text}" if is_named else text, is_code=True)
        below = depth + is_named
        yield from _variables({r: frames[0] for r, frames in some.items()}, below + 2, mesh)
        yield from _branch({r: frames[1:] for r, frames in some.items()}, below, mesh, ranks)


def _variables(frames: Mapping[int, Frame], depth: int, mesh: NamedMesh | None) -> Iterable[_Line]:
    """The variables of a frame; a value that differs is shown for each rank."""
    for name in dict.fromkeys(name for frame in frames.values() for name in frame.variables):
        alike: dict[str, list[int]] = {}
        for rank, frame in frames.items():
            alike.setdefault(frame.variables.get(name, "not there"), []).append(rank)
        if len(alike) == 1:
            yield _Line(depth, f"{name}: {next(iter(alike))}")
        else:
            each = [f"[{label(some, mesh)}] {text}" for text, some in alike.items()]
            together = f"{name}: {'  '.join(each)}"
            if len(together) <= _WIDE:
                yield _Line(depth, together)
            else:
                yield _Line(depth, f"{name}:")
                yield from (_Line(depth + 1, line) for line in each)


def _native(standings: Mapping[int, Standing], mesh: NamedMesh | None) -> Iterable[_Line]:
    """The C++ frames, or why there are none."""
    alike: dict[tuple[str, ...], list[int]] = {}
    reasons: dict[str, list[int]] = {}
    for rank, one in standings.items():
        if one.native:
            alike.setdefault(one.native, []).append(rank)
        elif one.no_native:
            reasons.setdefault(one.no_native, []).append(rank)
    for native, some in alike.items():
        yield _Line(0, f"[{label(some, mesh)}] native, the innermost first")
        yield from (_Line(1, function, is_code=True) for function in native)
    for reason, some in reasons.items():
        yield _Line(0, f"{sentence_start(in_words(some, mesh))}: no native frames, for {reason}.")
