"""The states of DDP's reducers on all ranks, and what follows from them.

The ranks tell each other these states before reducers are restarted.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

from rankbook.distributed.healing import counting

__all__ = ["Standing", "is_cut", "is_to_tell", "of_this_one", "sign_of", "standing"]

_dist: Any = import_module("torch.distributed")


class Standing(NamedTuple):
    """The state of a reducer."""

    has_begun: bool
    """Whether it has seen a gradient."""
    is_sorted: bool
    """Whether its buckets are sorted, as from the second step on."""
    is_done: bool
    """Whether it has finished every backward that it began."""
    steps: tuple[int, ...] = ()
    """The counts of its communication hooks, for the torch hooks that begin to compress, or to
    average among fewer ranks, after some steps."""
    would_sort: bool = False
    """Whether it knows the order of gradients by which the next forward sorts its buckets."""
    gives_buffers: bool = True
    """Whether the next forward begins with the buffers of the first rank: not after ``no_sync``."""


def standing(module: Any) -> Standing:
    """The state of a DDP module's reducer."""
    try:
        module.reducer._check_reducer_finalized()
    except RuntimeError:
        is_done = False
    else:
        is_done = True
    is_timed = any(module.reducer.get_backward_stats())  # in a static graph from the second step on
    has_begun = is_timed or (
        module.static_graph and bool(module._static_graph_delay_allreduce_enqueued)
    )
    is_sorted = bool(module._has_rebuilt_buckets)
    would_sort = (
        is_timed
        and is_done
        and not (is_sorted or module.find_unused_parameters)
        and _is_reduced(module)
    )
    steps, gives_buffers = counting.steps(module), module.require_forward_param_sync
    return Standing(has_begun, is_sorted, is_done, steps, would_sort, gives_buffers)


def is_cut(module: Any) -> bool:
    """Whether a backward of a DDP module has begun, and has not come to its end."""
    now = standing(module)
    # A static graph is reduced after its first backward, of which its reducer sees nothing before.
    in_first = now.has_begun and not any(module.reducer.get_backward_stats())
    return not now.is_done or (in_first and not _is_reduced(module))


def _is_reduced(module: Any) -> bool:
    """Whether the latest of the first steps has ended; one that was cut counts as finalized, too.

    torch times the reduction of the first ten steps.
    """
    module.logger.set_runtime_stats_and_log()
    return bool(module._get_ddp_logging_data()["backward_comm_time"])


def of_this_one(module: Any, standings: Sequence[Sequence[Standing]]) -> list[Standing]:
    """The states that the reducer of a module may have on the ranks.

    If no step was cut, and all ranks report the same states, that is its own state alone. Otherwise
    it is unknown which reducers belong together, so that is the states of all modules of its kind.
    """
    every = [one for of_rank in standings for one in of_rank]
    alike = {tuple(sorted(of_rank)) for of_rank in standings if of_rank}
    is_clear = len(alike) == 1 and all(one.is_done for one in every)
    return [standing(module)] if is_clear else every


def is_to_tell(sign: str, standings: Sequence[Sequence[Standing]]) -> bool:
    """Whether this rank is the first that knows the buckets of the next step."""
    knowing = [
        rank
        for rank, of_rank in enumerate(standings)
        if sign and any(getattr(one, sign) for one in of_rank)
    ]
    return knowing[:1] == [_dist.get_rank()]


def sign_of(every: Sequence[Standing]) -> str:
    """Which of their attributes reducers have that know the buckets of the next step.

    Empty if no other has to be told. Where a rank is new, the others know if they would sort their
    buckets next.
    """
    if any(one.is_sorted for one in every):
        return "" if all(one.is_sorted for one in every) else "is_sorted"
    would_sort = {one.would_sort for one in every if one.has_begun} == {True}
    return "would_sort" if would_sort and not all(one.has_begun for one in every) else ""
