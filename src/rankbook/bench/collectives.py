"""The collectives that can be measured, and what each moves: the factors of nccl-tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rankbook.errors import InputError

__all__ = ["BUS", "factor", "refuse"]


def _ring_twice(n: int) -> float:
    return 2 * (n - 1) / n


def _all_but_own(n: int) -> float:
    return (n - 1) / n


def _once(_n: int) -> float:
    return 1.0


BUS: Mapping[str, Callable[[int], float]] = {
    "all_reduce": _ring_twice,
    "all_gather": _all_but_own,
    "reduce_scatter": _all_but_own,
    "all_to_all": _all_but_own,
    "broadcast": _once,
    "reduce": _once,
    "gather": _all_but_own,
    "scatter": _all_but_own,
    "send_recv": _once,
}
"""By collective, from the number of ranks to what each link carries of the size, at least.

The size is that of the largest buffer: what goes in of ``all_reduce``, ``reduce_scatter`` and
``all_to_all``, what comes out of ``all_gather``, what one rank has of ``gather`` and ``scatter``.
"""


def factor(collective: str, ranks: int) -> float:
    """Bus bandwidth by algorithm bandwidth."""
    return BUS[collective](ranks)


def refuse(collective: str) -> None:
    """Raise if a collective is not known.

    Raises:
        InputError: The message lists those that are.
    """
    if collective not in BUS:
        raise InputError(f"{collective!r} cannot be measured: use one of {', '.join(BUS)}.")
