"""What a cell did over the groups of its ranks, in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rankbook.display.facts import size
from rankbook.models.calls import Traffic

__all__ = ["traffic_in_words"]


def traffic_in_words(traffic: Mapping[int, Traffic]) -> str:
    """Say how much ranks called, sent, waited and computed; empty if they called nothing.

    Args:
        traffic: By rank, what the cell did.

    Returns:
        For example ``3 calls and 48 B on each rank; waited 0.01-0.30 s (rank 1 most), computed
        0.02-0.31 s (rank 0 most)``.
    """
    if not any(each.calls for each in traffic.values()):
        return ""
    calls = _range(traffic, lambda each: each.calls, "{:,}".format)
    amount = _range(traffic, lambda each: each.nbytes, size)
    waited = _range(traffic, lambda each: each.waiting, "{:.2f}".format)
    computed = _range(traffic, lambda each: each.computing, "{:.2f}".format)
    return (
        f"{calls} {'call' if calls == '1' else 'calls'} and {amount} on each rank; "
        f"waited {waited} s{_most(traffic, lambda each: each.waiting)}, "
        f"computed {computed} s{_most(traffic, lambda each: each.computing)}"
    )


def _range(
    traffic: Mapping[int, Traffic],
    value: Callable[[Traffic], Any],
    say: Callable[[Any], str],
) -> str:
    least, most = (say(f(map(value, traffic.values()))) for f in (min, max))
    return least if least == most else f"{least}-{most}"


def _most(traffic: Mapping[int, Traffic], value: Callable[[Traffic], float]) -> str:
    rank = max(traffic, key=lambda rank: value(traffic[rank]))
    same = len({f"{value(each):.2f}" for each in traffic.values()}) == 1
    return "" if same else f" (rank {rank} most)"
