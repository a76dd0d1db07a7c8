"""What is sent, worked out on each rank without the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = [
    "WIDTH",
    "WISHES",
    "arrived_at",
    "came_to",
    "choice_of",
    "order_of",
    "sent_by",
    "sizes_of",
    "tokens_of",
]


WISHES = (
    (1, 0, 2, 2, 1, 2, 0, 2),
    (2, 2, 0, 3, 2, 2, 1, 2),
    (1, 2, 0, 0, 2, 3, 3, 2),
    (2, 0, 2, 1, 2, 1, 3, 1),
)
"""By rank, the expert of each token that answers are tried with; rank 0 has none for expert 3."""
WIDTH = 3


def tokens_of(here: Here, rank: int) -> Any:
    """Tokens that say where they come from: those of rank r are 100 r, 100 r + 1, and so on."""
    numbers = here.torch.arange(8.0) + 100 * rank
    return numbers[:, None].expand(8, WIDTH).contiguous()


def choice_of(here: Here, rank: int) -> Any:
    """The expert of each token of a rank."""
    return here.torch.tensor(WISHES[rank])


def order_of(rank: int) -> list[int]:
    """Which of a rank's tokens is sent in which place."""
    return sorted(range(8), key=WISHES[rank].__getitem__)


def sent_by(rank: int) -> list[int]:
    """How many tokens a rank sends to each expert."""
    return [WISHES[rank].count(expert) for expert in range(4)]


def came_to(rank: int) -> list[int]:
    """How many tokens come to a rank's expert from each rank."""
    return [WISHES[source].count(rank) for source in range(4)]


def arrived_at(here: Here, rank: int) -> Any:
    """The tokens that come to a rank's expert, by the ranks from which they come."""
    pieces = (tokens_of(here, each)[order_of(each)].split(sent_by(each)) for each in range(4))
    return here.torch.cat([by_expert[rank] for by_expert in pieces])


def sizes_of(value: Any) -> list[int]:
    """Sizes as numbers, whatever an answer has returned."""
    return [int(size) for size in value]
