"""The exercise on going on with fewer ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rankbook.teach.definitions import Exercise, Mistake, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["SHARE"]


_EPOCHS = ((24, 12, 3), (20, 8, 3), (22, 12, 3), (21, 8, 2))
"""Samples of an epoch, how many were taken, and how many ranks go on."""

_Share = Callable[[list[int], int, int, int], list[int]]


def _try_share(here: Here) -> list[str]:
    def share(order: list[int], seen: int, n: int, r: int) -> list[int]:
        own: list[int] = here.torch.as_tensor(
            here.share(here.torch.tensor(order), seen, n, r)
        ).tolist()
        return own

    return _dealt(share)


def _dealt(share: _Share) -> list[str]:
    """For each epoch, what becomes of its samples."""
    lines = []
    for count, seen, n in _EPOCHS:
        order = [(7 * i) % count for i in range(count)] if count % 7 else list(range(count))
        parts = [share(order, seen, n, r) for r in range(n)]
        dealt = [sample for part in parts for sample in part]
        again = len(dealt) - len(set(dealt) - set(order[:seen]))
        left = len(set(order[seen:]) - set(dealt))
        sizes = {len(part) for part in parts}
        lines.append(
            f"{again} taken twice, {max(0, left - (count - seen) % n)} left out, "
            f"{'equal' if len(sizes) == 1 else 'unequal'} shares"
        )
    return lines


def _deals(share: _Share) -> Callable[[Here], list[str]]:
    return lambda here: _dealt(share)  # noqa: ARG005 - the same on all ranks


def _rest(order: list[int], seen: int, n: int) -> list[int]:
    """What is left of an epoch, cut to a multiple of n."""
    rest = order[seen:]
    return rest[: len(rest) // n * n]


def _right_share(order: list[int], seen: int, n: int, r: int) -> list[int]:
    return _rest(order, seen, n)[r::n]


def _padded(order: list[int], seen: int, n: int, r: int) -> list[int]:
    rest = order[seen:]
    return (rest + rest[: -len(rest) % n])[r::n]


_share_cell = partial(cell_of, "share(order, seen, n, r)")

_EVEN = "rest = rest[: len(rest) // n * n]"

SHARE = Exercise(
    name="share",
    title="Deal out the rest",
    needs=("share",),
    tries=_try_share,
    right=_deals(_right_share),
    hints=(
        "What is left of the epoch is order[seen:].",
        "How many of it can be dealt out evenly? len(rest) // n * n.",
        "rest = order[seen:]; rest = rest[: len(rest) // n * n]; return rest[r::n]",
    ),
    mistakes=(
        Mistake(
            "uneven",
            "Some ranks get one sample more than others. They would take one step more, and wait "
            "in its all_reduce for ranks that are done. Cut the rest to a multiple of n first.",
            _share_cell("return order[seen:][r::n]"),
            says="deals out unequal numbers of samples",
            gives=_deals(lambda order, seen, n, r: order[seen:][r::n]),
        ),
        Mistake(
            "from-the-start",
            "That deals out the whole epoch: what was taken before is taken again. Leave out the "
            "first seen samples.",
            _share_cell("rest = order", _EVEN, "return rest[r::n]"),
            says="takes samples again that were taken before",
            gives=_deals(lambda order, seen, n, r: order[: len(order) // n * n][r::n]),  # noqa: ARG005 - that is the mistake
        ),
        Mistake(
            "what-was-taken",
            "order[:seen] are the samples that were taken before. What is left is order[seen:].",
            _share_cell("rest = order[:seen]", _EVEN, "return rest[r::n]"),
            says="deals out what was taken before",
            gives=_deals(lambda order, seen, n, r: order[:seen][: seen // n * n][r::n]),
        ),
        Mistake(
            "old-numbers",
            "rank and world_size are those of this process and its group of four. The function is "
            "asked about rank r of n.",
            _share_cell("rest = order[seen:]", _EVEN, "return rest[rank::world_size]"),
            says="gives the samples of its own number among four",
            gives=lambda here: _dealt(
                lambda order, seen, n, r: _rest(order, seen, n)[here.rank :: here.world_size]  # noqa: ARG005 - that is the mistake
            ),
        ),
        Mistake(
            "of-one-rank",
            "seen counts the samples of all ranks together: it is not to be multiplied.",
            _share_cell("rest = order[seen * n :]", _EVEN, "return rest[r::n]"),
            says="leaves out samples that nobody has taken",
            gives=_deals(lambda order, seen, n, r: _right_share(order, seen * n, n, r)),
        ),
        Mistake(
            "padded",
            "The shares were filled up with samples that are taken twice. Leave out the few at the "
            "end instead: the rest is cut to a multiple of n.",
            _share_cell(
                "rest = order[seen:]",
                "rest = torch.cat([rest, rest[: -len(rest) % n]])",
                "return rest[r::n]",
            ),
            says="takes some samples twice",
            gives=_deals(_padded),
        ),
        Mistake(
            "cut-too-soon",
            "The whole epoch was cut to a multiple of n. It is the rest that is dealt out: first "
            "order[seen:], then the cut.",
            _share_cell("rest = order[: len(order) // n * n][seen:]", "return rest[r::n]"),
            says="has cut the epoch, not its rest",
            gives=_deals(lambda order, seen, n, r: order[: len(order) // n * n][seen:][r::n]),
        ),
        Mistake(
            "own-number",
            "rank is this process's own number, always the same. The function is asked for the "
            "samples of any rank: r.",
            _share_cell("rest = order[seen:]", _EVEN, "return rest[rank::n]"),
            says="gives the same samples for every r",
            gives=lambda here: _dealt(
                lambda order, seen, n, r: _right_share(order, seen, n, here.rank)  # noqa: ARG005 - that is the mistake
            ),
        ),
        Mistake(
            "for-four",
            "The steps are those of the old number of ranks, world_size: no rank takes what was "
            "meant for ranks that are gone. Deal out for n.",
            _share_cell(
                "rest = order[seen:]",
                "rest = rest[: len(rest) // world_size * world_size]",
                "return rest[r::world_size]",
            ),
            says="leaves out the samples of ranks that are gone",
            gives=_deals(lambda order, seen, n, r: _right_share(order, seen, 4, r)),  # noqa: ARG005 - that is the mistake
        ),
        Mistake(
            "everything",
            "Each rank gets the whole rest, so each sample is taken n times in a step. Every rank "
            "takes each n-th of them, beginning with its own number: [r::n].",
            _share_cell("return order[seen:]"),
            says="gives every sample to all ranks",
            gives=_deals(lambda order, seen, n, r: order[seen:]),  # noqa: ARG005 - that is the mistake
        ),
    ),
)
