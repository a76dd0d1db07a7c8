"""Python stacks of ranks as text and as HTML; equal stacks of several ranks are shown once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from rankbook.cellnames import cell_of, is_cell
from rankbook.models.meshes import NamedMesh
from rankbook.words import in_words

__all__ = ["relevant", "to_html", "to_text"]

_FRAME = re.compile(r'File "([^"]*)", line (\d+)')

_PACKAGES = re.compile(r'File "[^"]*/(?:site|dist)-packages/')

_WAITS = re.compile(r'File "[^"]*selectors.py"')
"""The innermost frame of an idle engine."""

_KEPT = 12
"""How many innermost frames are shown of a stack without a cell."""


def to_html(stacks: Mapping[int, Sequence[str]], mesh: NamedMesh | None = None) -> str:
    """Render stacks.

    Args:
        stacks: By rank, its frames as ``traceback.format_stack`` gives them, outermost first.
        mesh: Its dimensions name the ranks, too.
    """
    return "".join(
        f"<strong>{escape(head)}</strong><pre>{escape(stack)}</pre>"
        for head, stack in _alike(stacks, mesh)
    )


def to_text(stacks: Mapping[int, Sequence[str]], mesh: NamedMesh | None = None) -> str:
    """The same for a terminal; see :func:`to_html`."""
    return "\n".join(f"{head}\n{stack}" for head, stack in _alike(stacks, mesh))


def _alike(stacks: Mapping[int, Sequence[str]], mesh: NamedMesh | None) -> list[tuple[str, str]]:
    """Pairs of ranks in words and the stack that they share."""
    alike: dict[str, list[int]] = {}
    for rank, frames in sorted(stacks.items()):
        alike.setdefault("".join(relevant(frames)), []).append(rank)
    return [(in_words(ranks, mesh), stack.rstrip()) for stack, ranks in alike.items()]


def relevant(frames: Sequence[str]) -> list[str]:
    """Cut a stack to the frames that matter.

    The frames that lead the engine to its cell are left out: they are always the same. So are
    folders and the like, which may differ between ranks at the same place.
    """
    first = next((i for i, frame in enumerate(frames) if _is_of_a_cell(frame)), None)
    if first is not None:
        return [_shortened(frame) for frame in frames[first:]]
    if frames and _WAITS.search(frames[-1]):
        return ["  no cell runs"]
    return [*(["  …\n"] if len(frames) > _KEPT else []), *map(_shortened, frames[-_KEPT:])]


def _shortened(frame: str) -> str:
    return _PACKAGES.sub('File "', _FRAME.sub(_named, frame))


def _is_of_a_cell(frame: str) -> bool:
    match = _FRAME.search(frame)
    return match is not None and is_cell(match[1])


def _named(match: re.Match[str]) -> str:
    cell = cell_of(match[1])
    return f"{cell} line {match[2]}" if cell else match[0]
