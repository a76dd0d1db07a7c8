"""The ranks' variables in one table: equal variables are shown once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from html import escape

from rankbook.display import html
from rankbook.display.facts import size
from rankbook.display.text import in_columns
from rankbook.models.inspecting import Variable
from rankbook.models.meshes import NamedMesh
from rankbook.ranks import label
from rankbook.words import in_words, plural

__all__ = ["Variables", "to_html", "to_text"]

_HEAD = ("name", "ranks", "type", "shape", "dtype", "device", "size", "values")

_CELL = "padding: 3px 10px; line-height: 1.4; text-align: left; vertical-align: top"


class Variables:
    """Variables by rank, shown as text, and as HTML where there is a rich front end."""

    def __init__(
        self,
        variables: Mapping[int, Sequence[Variable]],
        asked: Collection[int] = (),
        mesh: NamedMesh | None = None,
    ) -> None:
        """Show them.

        Args:
            variables: By rank that has answered.
            asked: The ranks that were asked.
            mesh: Its dimensions name the ranks, too.
        """
        self.variables = variables
        self.mesh = mesh
        self.silent = sorted(set(asked) - variables.keys())

    def __repr__(self) -> str:
        return to_text(self.variables, self.silent, self.mesh)

    def _repr_html_(self) -> str:
        return to_html(self.variables, self.silent, self.mesh)


def to_text(
    variables: Mapping[int, Sequence[Variable]],
    silent: Sequence[int] = (),
    mesh: NamedMesh | None = None,
) -> str:
    """The table for a terminal, nbconvert's text, or a screen reader."""
    rows = _rows(variables, mesh)
    if not rows:
        return _headline(variables, silent, mesh)
    return "\n".join([_headline(variables, silent, mesh), *in_columns([_HEAD, *rows])])


def to_html(
    variables: Mapping[int, Sequence[Variable]],
    silent: Sequence[int] = (),
    mesh: NamedMesh | None = None,
) -> str:
    """The table as HTML; every style is inline, so that it survives in a saved notebook."""
    rows = _rows(variables, mesh)
    if not rows:
        return html.heading(_headline(variables, silent, mesh))
    cell = f'<td style="{_CELL}">{{}}</td>'
    body = "".join(f"<tr>{''.join(cell.format(escape(text)) for text in row)}</tr>" for row in rows)
    return html.table(_headline(variables, silent, mesh), [(name, _CELL) for name in _HEAD], body)


def _headline(
    variables: Mapping[int, Sequence[Variable]], silent: Sequence[int], mesh: NamedMesh | None
) -> str:
    names = {one.name for some in variables.values() for one in some}
    parts = (
        [f"{plural(len(names), 'variable')} on {in_words(variables, mesh)}"] if variables else []
    )
    if silent:
        parts.append(f"no answer from {in_words(silent, mesh)}")
    return " · ".join(parts)


def _rows(
    variables: Mapping[int, Sequence[Variable]], mesh: NamedMesh | None
) -> list[tuple[str, ...]]:
    by_name: dict[str, dict[Variable, list[int]]] = {}
    digests: dict[str, dict[str, list[int]]] = {}
    for rank, some in sorted(variables.items()):
        for one in some:
            by_name.setdefault(one.name, {}).setdefault(replace(one, digest=""), []).append(rank)
            digests.setdefault(one.name, {}).setdefault(one.digest, []).append(rank)
    rows: list[tuple[str, ...]] = []
    for name, kinds in sorted(by_name.items()):
        for one, ranks in kinds.items():
            nbytes = "" if one.nbytes is None else size(one.nbytes)
            values = _values(digests[name], ranks, mesh)
            row = (one.type, one.shape, one.dtype, one.device, nbytes, values)
            rows.append((name, label(ranks, mesh), *row))
    return rows


def _values(
    digests: Mapping[str, Sequence[int]], ranks: Sequence[int], mesh: NamedMesh | None
) -> str:
    """Which ranks agree: ``the same``, ``differ``, ``0-1 | 2``; empty: not compared."""
    among = [[r for r in some if r in ranks] for digest, some in digests.items() if digest]
    groups = [some for some in among if some]
    if not groups or len(ranks) == 1:
        return ""
    if len(groups) == 1:
        return "the same" if len(groups[0]) == len(ranks) else ""
    if len(groups) == len(ranks):
        return "all differ"
    return " | ".join(label(group, mesh) for group in groups)
