"""Exchanges whose sizes do not fit, which gloo answers by ending a process, or by wrong rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rankbook.words import plural

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["sizes_compared"]

_UNREADABLE = -1


@contextmanager
def sizes_compared(here: Here) -> Iterator[None]:
    """Compare what the ranks send with what they expect, before ``all_to_all_single`` does it.

    Also note ``exchanges``: how many there were. The account would count the comparisons, too.

    Args:
        here: The rank.
    """
    real = here.dist.all_to_all_single
    made: list[None] = []

    def all_to_all_single(
        output: Any,
        input: Any,  # noqa: A002 - as torch calls it
        output_split_sizes: Any = None,
        input_split_sizes: Any = None,
        *args: Any,
        **how: Any,
    ) -> Any:
        made.append(None)
        sent = _sizes(here, input, input_split_sizes)
        expected = _sizes(here, output, output_split_sizes)
        _compare(here, _of_all(here, sent), _of_all(here, expected))
        return real(output, input, output_split_sizes, input_split_sizes, *args, **how)

    here.dist.all_to_all_single = all_to_all_single
    try:
        yield
    finally:
        here.dist.all_to_all_single = real
        here.note(exchanges=len(made))


def _sizes(here: Here, tensor: Any, sizes: Any) -> list[int]:
    """Rows for each rank, then the numbers in a row; whatever an answer has passed."""
    n = here.world_size
    try:
        rows = len(tensor)
        width = tensor[:1].numel() if rows else tensor.new_empty(1, *tensor.shape[1:]).numel()
        if sizes is None and rows % n:
            return [_UNREADABLE, rows, *[0] * (n - 1)]
        parts = [rows // n] * n if sizes is None else [int(size) for size in sizes]
        if len(parts) != n or sum(parts) != rows:  # torch says so itself, on this rank
            return [0] * (n + 1)
    except (TypeError, ValueError, RuntimeError):
        return [0] * (n + 1)
    return [*parts, width]


def _of_all(here: Here, sizes: list[int]) -> list[list[int]]:
    own = here.torch.tensor(sizes)
    every = [here.torch.empty_like(own) for _ in range(here.world_size)]
    here.dist.all_gather(every, own)
    return [each.tolist() for each in every]


def _compare(here: Here, sent: list[list[int]], expected: list[list[int]]) -> None:
    """Refuse an exchange on all ranks, if a rank expects something else than another sends.

    Raises:
        ValueError: It does.
    """
    ranks = range(here.world_size)
    for rank in ranks:
        if _UNREADABLE in (sent[rank][0], expected[rank][0]):
            rows = (sent if sent[rank][0] == _UNREADABLE else expected)[rank][1]
            raise ValueError(
                f"rank {rank} has {plural(rows, 'row')}, which cannot be cut into "
                f"{here.world_size} equal pieces"
            )
    readable = [rank for rank in ranks if any(sent[rank]) and any(expected[rank])]
    for source in readable:
        for target in readable:
            if sent[source][target] != expected[target][source]:
                raise ValueError(
                    f"rank {source} sends {plural(sent[source][target], 'row')} to rank {target}, "
                    f"which expects {expected[target][source]}"
                )
            if sent[source][-1] != expected[target][-1]:
                raise ValueError(
                    f"rank {source} sends rows of {plural(sent[source][-1], 'number')} to rank "
                    f"{target}, which expects rows of {expected[target][-1]}"
                )
