"""What the ranks run with, as text and as HTML: equal values are shown once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from html import escape
from typing import NamedTuple

from rankbook.display import html
from rankbook.display.text import in_columns
from rankbook.models.environment import Environment
from rankbook.models.meshes import NamedMesh
from rankbook.ranks import label
from rankbook.words import agree, in_words, plural

__all__ = ["Environments", "to_html", "to_text"]

_HEAD = ("what", "ranks", "value", "note")

_NOT_SET = "(not set)"

_OWN = frozenset(
    {"RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "SLURM_PROCID", "SLURM_LOCALID"}
    | {"SLURM_NODEID", "SLURM_TASK_PID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"}
    | {"OMPI_COMM_WORLD_NODE_RANK", "PMI_RANK", "PMIX_RANK", "host"}
)
"""What must differ from rank to rank."""

_OF_A_GPU = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"})
"""What may differ: each rank can have its own GPU."""

_SHOWN = 8
"""How many differing values are listed in a line."""

_CELL = "padding: 3px 10px; line-height: 1.4; vertical-align: top; text-align: left"


class Environments:
    """What ranks run with; shows itself as text, and as HTML where there is a rich front end."""

    def __init__(
        self,
        environments: Mapping[int, Environment],
        silent: Collection[int] = (),
        mesh: NamedMesh | None = None,
    ) -> None:
        """Show them.

        Args:
            environments: By rank.
            silent: Ranks that did not answer.
            mesh: Its dimensions name the ranks, too.
        """
        self.environments = environments
        self.silent = silent
        self.mesh = mesh

    def __repr__(self) -> str:
        return to_text(self.environments, self.silent, self.mesh)

    def _repr_html_(self) -> str:
        return to_html(self.environments, self.silent, self.mesh)


class _Row(NamedTuple):
    """Ranks that have the same value of something."""

    what: str
    """Empty below the first row of the same thing."""
    ranks: str
    value: str
    mark: str
    """``differs``, or nothing."""


def to_text(
    environments: Mapping[int, Environment],
    silent: Collection[int] = (),
    mesh: NamedMesh | None = None,
) -> str:
    """The table for a terminal, nbconvert's text, or a screen reader."""
    head = _headline(environments, silent, mesh)
    lines = in_columns([_HEAD, *_rows(environments, mesh)]) if environments else []
    return "\n".join([head, *lines])


def to_html(
    environments: Mapping[int, Environment],
    silent: Collection[int] = (),
    mesh: NamedMesh | None = None,
) -> str:
    """The table as HTML; every style is inline, so that it survives in a saved notebook."""
    if not environments:
        return html.heading(_headline(environments, silent, mesh))
    head = [(name, _CELL) for name in _HEAD]
    rows = "".join(map(_html_row, _rows(environments, mesh)))
    return html.table(_headline(environments, silent, mesh), head, rows)


def _html_row(row: _Row) -> str:
    cells = [escape(row.what), escape(row.ranks), escape(row.value)]
    cells.append(f"{html.mark('◆')} {row.mark}" if row.mark else "")
    inside = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells)
    return f"<tr>{inside}</tr>"


def _headline(
    environments: Mapping[int, Environment], silent: Collection[int], mesh: NamedMesh | None
) -> str:
    """``4 ranks on 2 hosts · NCCL and OMP_NUM_THREADS differ · no answer from rank 3``."""
    hosts = len({one.facts.host for one in environments.values()})
    parts = [f"{plural(len(environments), 'rank')} on {plural(hosts, 'host')}"]
    if differing := [row.what for row in _rows(environments, mesh) if row.mark and row.what]:
        *most, last = differing
        names = f"{', '.join(most)} and {last}" if most else last
        parts.append(f"{names} {agree(differing, 'differs', 'differ')}")
    elif len(environments) > 1:
        parts.append("nothing differs that should not")
    if silent:
        parts.append(f"no answer from {in_words(silent, mesh)}")
    return " · ".join(parts)


def _rows(environments: Mapping[int, Environment], mesh: NamedMesh | None) -> Iterator[_Row]:
    by_rank = {rank: _values(one) for rank, one in sorted(environments.items())}
    variables = {name for one in environments.values() for name in one.variables}
    names = dict.fromkeys(name for values in by_rank.values() for name in values)
    for key in [*(name for name in names if name not in variables), *sorted(variables)]:
        alike: dict[str, list[int]] = {}
        for rank, values in by_rank.items():
            alike.setdefault(values.get(key, _NOT_SET), []).append(rank)
        is_theirs = key in _OWN or (key in _OF_A_GPU and _NOT_SET not in alike)
        if len(alike) == len(by_rank) > 1 and is_theirs:
            listed = [*list(alike)[:_SHOWN], *(["…"] if len(alike) > _SHOWN else [])]
            yield _Row(key, label(by_rank, mesh), ", ".join(listed), "")
            continue
        mark = "differs" if len(alike) > 1 and not is_theirs else ""
        for number, (value, ranks) in enumerate(alike.items()):
            yield _Row("" if number else key, label(ranks, mesh), value, mark)


def _values(environment: Environment) -> dict[str, str]:
    """By name, everything that is compared."""
    return {
        "host": environment.facts.host,
        "folder": environment.facts.cwd,
        "GPUs": _gpus(environment.facts.gpus),
        **environment.versions,
        "threads": str(environment.threads),
        "interop threads": str(environment.interop_threads),
        **environment.variables,
    }


def _gpus(names: tuple[str, ...]) -> str:
    """``8 x NVIDIA H100``."""
    counts = {name: names.count(name) for name in names}
    return ", ".join(f"{count} x {name}" for name, count in counts.items()) or "none"
