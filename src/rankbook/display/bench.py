"""A benchmark as text, and as a table with a plot."""

from __future__ import annotations

from html import escape

from rankbook.bench.sizes import in_words
from rankbook.display import html
from rankbook.display.plots import Plot, side_by_side
from rankbook.models.benchmarks import Benchmark, Fit, Measured
from rankbook.words import plural

__all__ = ["in_seconds", "per_second", "to_html", "to_text"]

_HEAD = ("size", "time", "±", "alg. bandwidth", "bus bandwidth")
_CELL = "text-align: right; padding: 3px 10px; font-variant-numeric: tabular-nums"
_SMALL = "font-size: 13px; padding: 1px 0"
_CURVE = 40
"""Points of the fitted line."""


def to_text(found: Benchmark) -> str:
    """The benchmark for a terminal, nbconvert's text, or a screen reader."""
    table = [_HEAD, *map(_cells, found.rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(_HEAD))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    return "\n".join([_title(found), found.link, *lines, *_below(found)])


def to_html(found: Benchmark) -> str:
    """The same as HTML, with a plot of time and one of bandwidth; every style is inline."""
    rows = "".join(
        f"<tr>{''.join(f'<td style={_CELL!r}>{escape(cell)}</td>' for cell in _cells(row))}</tr>"
        for row in found.rows
    )
    below = "".join(f'<div style="{_SMALL}">{escape(line)}</div>' for line in _below(found))
    head = [(name, _CELL) for name in _HEAD]
    table = html.table(_title(found), head, rows, below=found.link)
    return f"{table}{below}{side_by_side(_plots(found), to_text(found))}"


def in_seconds(seconds: float) -> str:
    """``85 us``, ``1.2 ms``, ``3 s``."""
    for unit, least in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= least:
            return f"{seconds / least:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def per_second(bandwidth: float) -> str:
    """Bytes per second as networks are sold: ``1.2 GB/s``, powers of 1000."""
    for unit, least in (("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if bandwidth >= least:
            return f"{bandwidth / least:.3g} {unit}"
    return f"{bandwidth:.3g} B/s"


def _title(found: Benchmark) -> str:
    at_once = f", {plural(found.groups, 'group')} at once" if found.groups > 1 else ""
    ranks = plural(found.ranks, "rank")
    return f"{found.collective} on {ranks}{at_once} · {found.backend} · {found.device}"


def _cells(row: Measured) -> tuple[str, ...]:
    spread = f"{100 * row.spread / row.seconds:.0f} %"
    bandwidths = per_second(row.algorithm), per_second(row.bus)
    return (in_words(row.nbytes), in_seconds(row.seconds), spread, *bandwidths)


def _below(found: Benchmark) -> list[str]:
    lines = [f"bus bandwidth = {found.factor:.3g} x algorithm bandwidth"]
    if found.fit is not None:
        lines.append(_fit_in_words(found.fit, len(found.rows)))
    return lines


def _fit_in_words(fit: Fit, sizes: int) -> str:
    if not fit.bandwidth:
        return f"fit: time = {in_seconds(fit.latency)} whatever the size: larger ones would tell"
    half = in_words(fit.latency * fit.bandwidth)
    # Two sizes are always met.
    off = f", off by {100 * fit.error:.0f} % in the mean" if sizes > 2 else ""  # noqa: PLR2004
    return (
        f"fit: time = {in_seconds(fit.latency)} (alpha) + size / {per_second(fit.bandwidth)} "
        f"(1/beta){off}; at {half} each is half of it"
    )


def _plots(found: Benchmark) -> list[Plot]:
    rows, fit = found.rows, found.fit
    times = [(float(row.nbytes), row.seconds) for row in rows]
    buses = [(float(row.nbytes), row.bus) for row in rows]
    curve = _curve(found, fit) if fit is not None and fit.bandwidth else []
    return [
        Plot(
            "time",
            times,
            curve,
            in_words,
            in_seconds,
            low=[row.seconds - row.spread / 2 for row in rows],
            high=[row.seconds + row.spread / 2 for row in rows],
        ),
        Plot(
            "bus bandwidth",
            buses,
            [(x, found.factor * x / t) for x, t in curve],
            in_words,
            per_second,
        ),
    ]


def _curve(found: Benchmark, fit: Fit) -> list[tuple[float, float]]:
    low, high = found.rows[0].nbytes, found.rows[-1].nbytes
    sizes = [low * (high / low) ** (i / (_CURVE - 1)) for i in range(_CURVE)]
    return [(size, fit.latency + size / fit.bandwidth) for size in sizes]
