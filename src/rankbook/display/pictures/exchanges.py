"""The calls of a cell, each with the input and output of every rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from rankbook.display.pictures.blocks import Block, Board
from rankbook.display.pictures.tensors import block_of, in_figures, largest_of
from rankbook.models.exchanges import Exchange, Exchanges
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Values
from rankbook.words import in_words, plural

__all__ = ["exchange_boards"]

_MOST = 12
"""How many calls are drawn."""

_RANKS = 16
"""How many ranks of a call are drawn."""

_OneCall: TypeAlias = Mapping[int, Exchange]
"""By rank, its part in one call."""


def exchange_boards(exchanges: Exchanges) -> list[Board]:
    """Arrange the calls that ranks have kept, in the order in which they were issued."""
    calls: dict[tuple[object, ...], dict[int, Exchange]] = {}
    for rank, kept in exchanges.by_rank.items():
        for exchange in kept.calls:
            calls.setdefault(_which(rank, exchange), {})[rank] = exchange
    ordered = sorted(calls.values(), key=lambda one: min(each.call.issued for each in one.values()))
    mesh = exchanges.mesh
    boards = [_board(one, mesh) for one in ordered[:_MOST]]
    more = len(ordered) - _MOST + max(kept.more for kept in exchanges.by_rank.values())
    if more > 0:
        boards.append(Board(f"… and {plural(more, 'more call')}"))
    if exchanges.silent:
        boards.append(Board(f"no answer from {in_words(exchanges.silent, mesh)}"))
    return boards


def _which(rank: int, exchange: Exchange) -> tuple[object, ...]:
    """What is the same for all ranks of a call."""
    call = exchange.call
    if not call.is_p2p or call.peer is None:
        return (call.key, call.ranks, call.number, call.op if call.is_p2p else "")
    ends = (rank, call.peer) if call.op == "send" else (call.peer, rank)
    return (call.key, call.ranks, call.number, call.tag, *ends)


def _board(parts: _OneCall, mesh: NamedMesh | None) -> Board:
    sides = [values for one in parts.values() for values in (one.given, one.got) if values]
    largest = largest_of(sides)
    given = {rank: one.given for rank, one in parts.items()}
    got = {rank: one.got for rank, one in parts.items()}
    rows = (tuple(_row(given, "puts in", largest)), tuple(_row(got, "gets", largest)))
    return Board(_title(parts, mesh), tuple(row for row in rows if row), tuple(_notes(parts, mesh)))


def _title(parts: _OneCall, mesh: NamedMesh | None) -> str:
    first = parts[min(parts)].call
    if first.is_p2p:
        ends = [f"{exchange.call.op} of rank {rank}" for rank, exchange in sorted(parts.items())]
        return f"{' and '.join(ends)} #{first.number}"
    names = dict.fromkeys(_name(exchange) for exchange in parts.values())
    return f"{' or '.join(names)} on {in_words(parts, mesh)}"


def _name(exchange: Exchange) -> str:
    call = exchange.call
    how = f" ({call.reduce_op})" if call.reduce_op else ""
    way = "from" if call.op in {"broadcast", "scatter"} else "to"
    root = "" if call.root is None else f" {way} rank {call.root}"
    return f"{call.op} #{call.number}{how}{root}"


def _notes(parts: _OneCall, mesh: NamedMesh | None) -> Iterable[str]:
    """Where it was called, and what is wrong with it."""
    first = parts[min(parts)].call
    if lines := [line for line in dict.fromkeys(one.call.line for one in parts.values()) if line]:
        yield f"at {' and '.join(lines)}"
    absent = set(first.ranks) - set(parts)
    if absent and not first.is_p2p:
        yield f"{in_words(absent, mesh)} did not call it"
    if unfinished := [rank for rank, exchange in parts.items() if not exchange.is_done]:
        yield f"it did not end on {in_words(unfinished, mesh)}"
    if late := [rank for rank, exchange in parts.items() if exchange.is_late]:
        yield f"{in_words(late, mesh)} did not wait for it: as it was at the end of the cell"


def _row(side: Mapping[int, Values | None], does: str, largest: float) -> Iterable[Block]:
    present = [(rank, values) for rank, values in sorted(side.items()) if values is not None]
    for rank, values in present[:_RANKS]:
        what = values.dtype and f"{does} {values.dtype} {in_figures(values.shape)}"
        yield block_of(f"rank {rank}", what or does, values, largest)
    if len(present) > _RANKS:
        yield Block(f"… and {plural(len(present) - _RANKS, 'other')}")
