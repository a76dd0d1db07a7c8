"""The exceptions of several ranks, each reported once, the first cause first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rankbook import ranks as rank_selection
from rankbook.models import Failure
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.members import outcomes
from rankbook.words import in_words

__all__ = ["first_cause", "group_failures", "tracebacks"]

_Group = tuple[list[int], Failure]

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
"""No colour: there is no red for text that can be read in a light and in a dark notebook."""


def group_failures(failures: Mapping[int, Failure]) -> list[_Group]:
    """Group equal exceptions of several ranks.

    Args:
        failures: By rank.

    Returns:
        Pairs of ranks and their failure, the one that happened first in front. Exceptions are
        the same if class, message and the lines of the cell agree.
    """
    groups: dict[tuple[str, ...], _Group] = {}
    for rank, failure in sorted(failures.items()):
        key = (failure.ename, failure.evalue, *failure.traceback)
        if key in groups:
            ranks, known = groups[key]
            ranks.append(rank)
            groups[key] = (ranks, min(known, failure, key=lambda f: f.when))
        else:
            groups[key] = ([rank], failure)
    return sorted(groups.values(), key=lambda pair: pair[1].when)


def first_cause(groups: Sequence[_Group], mesh: NamedMesh | None = None) -> str:
    """Say in a line what was raised first, and what after it; a mesh may name the ranks."""
    own = [group for group in groups if not outcomes.is_of_connections(group[1])]
    (ranks, first), *others = own or groups
    message = f"{first.ename} on {in_words(ranks, mesh)}"
    if first.evalue:
        message += f": {outcomes.in_short(first)}"
    then: dict[str, list[int]] = {}
    for more, failure in others:
        then.setdefault(failure.ename, []).extend(more)
    if then:
        told = (f"{name} on {in_words(who, mesh)}" for name, who in then.items())
        message += f"; then {', '.join(told)}"
    return message


def tracebacks(groups: Sequence[_Group], mesh: NamedMesh | None = None) -> list[str]:
    """The text shown for exceptions, headed by their ranks, or by the names ``mesh`` gives them.

    Exceptions that differ only in their message share a traceback, followed by the messages by
    rank. Those that only follow from a lost connection are a line each.
    """
    kinds: dict[tuple[str, ...], _Kind] = {}
    broken: dict[str, list[int]] = {}
    for ranks, failure in groups:
        if outcomes.is_of_connections(failure):
            broken.setdefault(outcomes.in_a_line(failure), []).extend(ranks)
            continue
        *lines, last = failure.traceback or (f"{failure.ename}: {failure.evalue}",)
        kinds.setdefault((failure.ename, *lines), _Kind(lines, mesh)).messages.append((ranks, last))
    shown = [line for kind in kinds.values() for line in kind.shown()]
    return [*shown, *(_headed(ranks, line, mesh) for line, ranks in broken.items())]


@dataclass
class _Kind:
    """Exceptions that were raised at the same place."""

    lines: list[str]
    """Of the traceback, without the message."""
    mesh: NamedMesh | None
    messages: list[tuple[list[int], str]] = field(default_factory=list)

    def shown(self) -> Iterator[str]:
        everyone = [rank for ranks, _ in self.messages for rank in ranks]
        if len(self.messages) == 1 or not self.lines:
            for ranks, message in self.messages:
                head, *rest = [*self.lines, message]
                yield _headed(ranks, head, self.mesh)
                yield from rest
            return
        yield _headed(everyone, self.lines[0], self.mesh)
        yield from self.lines[1:]
        for ranks, message in sorted(self.messages):
            yield _headed(ranks, message, self.mesh)


def _headed(ranks: Iterable[int], line: str, mesh: NamedMesh | None) -> str:
    return f"{_BOLD}[{rank_selection.label(ranks, mesh)}]{_PLAIN} {line}"
