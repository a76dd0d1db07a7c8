"""Tracks of a Chrome trace: bars of one track nest or are apart, or a viewer leaves some out."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["lanes"]

_SAME = 1e-3
"""Two moments that are closer are the same, microseconds."""


def lanes(bars: Sequence[tuple[float, float]]) -> list[int]:
    """Give each bar a lane, the lowest in which it overlaps none that it is not inside of.

    Args:
        bars: When they begin and end, microseconds.
    """
    found = [0] * len(bars)
    around: list[list[float]] = []  # by lane, the ends of the bars around the present moment
    for number in sorted(range(len(bars)), key=lambda n: (bars[n][0], -bars[n][1])):
        begin, end = bars[number]
        lane = 0
        while True:
            if lane == len(around):
                around.append([])
            ends = around[lane]
            while ends and ends[-1] <= begin + _SAME:
                ends.pop()
            if not ends or end <= ends[-1] + _SAME:
                break
            lane += 1
        ends.append(end)
        found[number] = lane
    return found
