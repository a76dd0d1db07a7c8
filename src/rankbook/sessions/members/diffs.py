"""Comparing a value across ranks: hashes first, then only the chunks that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankbook.errors import InputError
from rankbook.models import load
from rankbook.models.diffs import (
    CHUNK,
    Chunks,
    Departure,
    Diff,
    Drop,
    Fingerprint,
    Leaf,
    LeafDiff,
    Prints,
    SendChunks,
)
from rankbook.models.meshes import NamedMesh
from rankbook.sessions.members.made import by_size, made_differently
from rankbook.sessions.members.party import Party
from rankbook.words import agree, in_words, plural, sentence_start

if TYPE_CHECKING:
    import torch

__all__ = ["diff"]

_BUDGET = 64 * 1024 * 1024
"""The most bytes that travel, for all leaves together."""

_Leaves = Mapping[int, Leaf]
"""By rank, one leaf."""


def diff(party: Party, expression: str, mesh: NamedMesh | None = None) -> Diff:
    """Compare a value across ranks; no collective is issued.

    Args:
        party: The ranks.
        expression: What is evaluated on each.
        mesh: Its dimensions name the ranks, too.

    Raises:
        InputError: It cannot be evaluated on any rank.
    """
    prints = {r: load(Prints, v) for r, v in party.ask(Fingerprint(expression)).items()}
    try:
        return _Comparison(party, expression, prints, mesh).result()
    finally:
        party.request(Drop()).forget()  # not awaited: after Ctrl-C, ranks may still be busy


class _Comparison:
    """One value, compared."""

    def __init__(
        self,
        party: Party,
        expression: str,
        by_rank: Mapping[int, Prints],
        mesh: NamedMesh | None,
    ) -> None:
        self._party, self._mesh = party, mesh
        self._expression = expression
        self._told = {rank: prints for rank, prints in by_rank.items() if not prints.error}
        self._errors = {rank: prints.error for rank, prints in by_rank.items() if prints.error}
        self._left = _BUDGET
        if not self._told:
            raise InputError(f"{expression}: {next(iter(self._errors.values()))}.")

    def result(self) -> Diff:
        paths = dict.fromkeys(leaf.path for one in self._told.values() for leaf in one.leaves)
        by_rank = {
            rank: {leaf.path: leaf for leaf in prints.leaves} for rank, prints in self._told.items()
        }
        found = []
        for path in paths:
            holders = {rank: own[path] for rank, own in by_rank.items() if path in own}
            absent = tuple(sorted(by_rank.keys() - holders.keys()))
            parts: dict[str, dict[int, Leaf]] = {}
            for rank, leaf in holders.items():
                parts.setdefault(leaf.part, {})[rank] = leaf
            for part, leaves in parts.items():
                found.append(self._compare(path, part, leaves, absent))
        found += made_differently({rank: dict(told.made) for rank, told in self._told.items()})
        ranks = tuple(sorted((*self._told, *self._errors)))
        return Diff(self._expression, ranks, self._summary(found), tuple(found), self._mesh)

    def _compare(self, path: str, part: str, leaves: _Leaves, absent: tuple[int, ...]) -> LeafDiff:
        groups: dict[object, list[int]] = {}
        for rank, leaf in sorted(leaves.items()):
            key = (leaf.kind, leaf.digest, leaf.shape, leaf.dtype, leaf.device, leaf.layout)
            groups.setdefault((*key, leaf.requires_grad), []).append(rank)
        most, *others = by_size(groups.values())
        reference = leaves[most[0]]
        departures = [
            Departure(tuple(ranks), self._why(path, leaves, most[0], ranks[0])) for ranks in others
        ]
        if absent:
            departures.append(Departure(absent, "is not there"))
        return LeafDiff(
            path,
            reference.kind,
            tuple(most),
            tuple(departures),
            part,
            tuple(
                (rank, leaf.nans + leaf.infs)
                for rank, leaf in leaves.items()
                if leaf.nans + leaf.infs
            ),
            reference.why,
        )

    def _why(self, path: str, leaves: _Leaves, one: int, other: int) -> str:
        """How the leaf of one rank differs from that of another."""
        a, b = leaves[one], leaves[other]
        is_scalar = not (a.dtype or b.dtype)
        if a.kind != b.kind and not (is_scalar and a.text != b.text):
            return f"class {b.kind}, not {a.kind}"
        facts = [
            f"{name} {_shown(getattr(b, field))}, not {_shown(getattr(a, field))}"
            for name, field in _FACTS.items()
            if getattr(a, field) != getattr(b, field)
        ]
        if a.kind != "tensor" and a.shape != b.shape:
            facts[0] = facts[0].replace("shape", "length")
        if facts or a.digest == b.digest:
            return "; ".join(facts)
        if is_scalar:
            return f"{b.text}, not {a.text}" if a.text != b.text else f"{a.text} differs after that"
        return self._delta(path, a, one, other)

    def _delta(self, path: str, leaf: Leaf, one: int, other: int) -> str:
        """The largest difference of two tensors, and where the first is."""
        pair = self._party.only([one, other])
        hashes = pair.ask(Chunks(path))
        numbers = [i for i, (a, b) in enumerate(zip(*hashes.values(), strict=True)) if a != b]
        sent = numbers[: max(0, self._left // (2 * CHUNK))]
        if not sent:
            return f"in {plural(len(numbers), 'place')} of {CHUNK // 1024} KiB (not looked at)"
        self._left -= 2 * CHUNK * len(sent)
        call = pair.request(SendChunks(path, tuple(sent)))
        call.wait()
        call.raise_for_failure()
        return _largest(
            leaf, sent, call.buffers(one), call.buffers(other), len(sent) < len(numbers)
        )

    def _in_words(self, ranks: Iterable[int]) -> str:
        return in_words(ranks, self._mesh)

    def _summary(self, every: Sequence[LeafDiff]) -> str:
        found = [leaf for leaf in every if not _is_single(leaf)]
        departing = [leaf for leaf in found if leaf.departures]
        ranks = sorted(self._told)
        kinds = {leaf.kind for leaf in found}
        noun = "tensor" if kinds == {"tensor"} else "part"
        cut = [rank for rank, prints in self._told.items() if prints.is_cut]
        looked_at = f"{max(len(prints.leaves) for prints in self._told.values()):,}"
        missing = _in_one_place(len(every) - len(found))
        missing += f" It has more: only the first {looked_at} parts were compared." if cut else ""
        if self._errors:
            why = next(iter(self._errors.values()))
            missing += f" On {self._in_words(self._errors)} it cannot be evaluated: {why}."
        if not departing:
            opaque = [leaf for leaf in found if leaf.why]
            alike = len(found) - len(opaque)
            parts = (
                [f"{_all(alike, noun, len(found))} on {self._in_words(ranks)}."] if alike else []
            )
            if opaque:
                parts.append(f"{plural(len(opaque), noun)} cannot be compared: {opaque[0].why}.")
            return (" ".join(parts) + missing).lstrip()
        first = departing[0]
        away = first.departures[0]
        if len(first.departures) == len(ranks) - 1 > 1:
            return f"{first.path or 'The value'} differs on every rank: {away.why}.{missing}"
        who, value = self._in_words(away.ranks), first.path or "value"
        several = f"on {who} {first.path or 'the value'}"
        subject = sentence_start(f"{who}'s {value}" if len(away.ranks) == 1 else several)
        sentence = f"{subject} departs from {self._in_words(first.agree)}: {away.why}"
        if len(departing) < len(found):
            count = len(found) - len(departing)
            sentence += (
                f"; {count} of {plural(len(found), noun)} {agree(range(count), 'agrees', 'agree')}"
            )
        elif len(found) > 1:
            sentence += f"; so {_do_the_others(len(found) - 1, noun)}"
        return f"{sentence}.{missing}"


def _is_single(leaf: LeafDiff) -> bool:
    """Whether it is a shard that only one rank should have."""
    return bool(leaf.part) and len(leaf.agree) == 1 and not (leaf.departures or leaf.why)


def _in_one_place(shards: int) -> str:
    if not shards:
        return ""
    are = "is on one rank" if shards == 1 else "are on one rank each"
    return f" {plural(shards, 'shard')} {are}: there is nothing to compare."


def _do_the_others(others: int, noun: str) -> str:
    """``does the other tensor``, ``do the other 3 tensors``."""
    return f"does the other {noun}" if others == 1 else f"do the other {plural(others, noun)}"


_FACTS = {
    "shape": "shape",
    "dtype": "dtype",
    "device": "device",
    "requires_grad": "requires_grad",
    "layout": "layout",
}


def _all(count: int, noun: str, of: int) -> str:
    if count < of:
        return f"{plural(count, noun)} {agree(range(count), 'agrees', 'agree')}"
    if count == 1:
        return "It is the same" if noun == "part" else f"The {noun} is the same"
    return f"All {plural(count, noun)} agree"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value)) or "()"
    return str(value)


def _largest(
    leaf: Leaf,
    numbers: Sequence[int],
    own: Sequence[memoryview],
    other: Sequence[memoryview],
    more: bool,  # noqa: FBT001
) -> str:
    """Say the largest difference between chunks, and where the values differ first."""
    import torch

    dtype = getattr(torch, leaf.dtype)
    step = CHUNK // dtype.itemsize
    largest, first, count, is_number = 0.0, -1, 0, True
    for number, a, b in zip(numbers, own, other, strict=True):
        bits = [
            torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(-1, dtype.itemsize)
            for data in (a, b)
        ]
        differs = (bits[0] != bits[1]).any(1)
        count += int(differs.sum())
        if first < 0:
            first = number * step + int(differs.nonzero()[0])
        try:
            x, y = (each[differs].view(dtype) for each in bits)
            largest = max(largest, float(_delta(x, y).max()))
        except (RuntimeError, NotImplementedError):  # torch.bits dtypes, which are not numbers
            is_number = False
    at_least = "at least " if more else ""
    place = f" at {_index(first, leaf.shape)}" if leaf.shape else ""
    values = f"{place}, {at_least}{plural(count, 'value')}"
    if not is_number:
        return f"differs{values}"
    if not largest:
        return f"the sign of zero{values}"
    return f"max |Δ| {at_least}{largest:.3g}{values}"


def _delta(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """How far values are apart; NaN is infinitely far from a number."""
    import torch

    wide = torch.complex128 if x.is_complex() else torch.float64
    delta = (x.to(wide) - y.to(wide)).abs()
    if x.dtype in (torch.int64, torch.uint64):  # a float64 holds no more than 53 bits of them
        exact = (x.view(torch.int64) - y.view(torch.int64)).abs().to(wide)
        delta = torch.where(delta < 2**62, exact, delta)
    return torch.where(delta.isnan(), torch.full_like(delta, torch.inf), delta)


def _index(flat: int, shape: Sequence[int]) -> str:
    """Where in a tensor: ``[3, 4]``."""
    found = []
    for length in reversed(shape):
        flat, at = divmod(flat, length)
        found.append(at)
    return str(found[::-1])
