"""From what ranks have measured to bandwidths, and to a latency and a bandwidth; pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from rankbook.models.benchmarks import Fit, Measured, Timings

__all__ = ["fit", "measured"]


def measured(timings: Mapping[int, Timings], factor: float) -> tuple[Measured, ...]:
    """One row for each size.

    A repetition takes as long as on its slowest rank; of the repetitions the median counts.

    Args:
        timings: By rank.
        factor: Bus bandwidth by algorithm bandwidth.
    """
    rows = []
    sizes = sorted({size for one in timings.values() for size in one.seconds})
    for size in sizes:
        by_rank = [one.seconds[size] for one in timings.values()]
        slowest = sorted(map(max, zip(*by_rank, strict=True)))
        seconds = statistics.median(slowest)
        half = len(slowest) // 4
        spread = slowest[-1 - half] - slowest[half]
        rows.append(Measured(size, seconds, spread, size / seconds, factor * size / seconds))
    return tuple(rows)


def fit(rows: Sequence[Measured]) -> Fit | None:
    """Fit ``seconds = latency + nbytes / bandwidth``, each row weighed by its own time.

    Without weights the largest size alone would decide, and the latency would be anything.

    Returns:
        None where one size tells nothing.
    """
    if len(rows) < 2:  # noqa: PLR2004
        return None
    # Minimise sum(((a + b x - t) / t)**2): the normal equations of a and b.
    weights = [1 / row.seconds**2 for row in rows]
    x = [float(row.nbytes) for row in rows]
    t = [row.seconds for row in rows]
    sw = sum(weights)
    sx = sum(w * xi for w, xi in zip(weights, x, strict=True))
    sxx = sum(w * xi * xi for w, xi in zip(weights, x, strict=True))
    st = sum(w * ti for w, ti in zip(weights, t, strict=True))
    sxt = sum(w * xi * ti for w, xi, ti in zip(weights, x, t, strict=True))
    determinant = sw * sxx - sx * sx
    slope = (sw * sxt - sx * st) / determinant if determinant else 0.0
    latency = (st - slope * sx) / sw
    if latency < 0:  # a line through the origin fits better than any that begins above it
        latency, slope = 0.0, sxt / sxx
    if slope <= 0:  # larger is not slower: the sizes are too small to tell
        latency, slope = st / sw, 0.0
    errors = [(latency + slope * xi - ti) / ti for xi, ti in zip(x, t, strict=True)]
    error = math.sqrt(sum(e * e for e in errors) / len(errors))
    return Fit(latency, 1 / slope if slope else 0.0, error)
