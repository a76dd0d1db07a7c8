"""What is measured of a collective, what follows from it, and how it is shown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from markup import decoded

from rankbook.bench import collectives, fitting, sizes
from rankbook.display import bench as view
from rankbook.errors import InputError
from rankbook.models.benchmarks import Benchmark, Timings

K, M = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1K:16K", (K, 4 * K, 16 * K)),
        ("1K:64K:8", (K, 8 * K, 64 * K)),
        ("1K:5K", (K, 4 * K)),
        ("1M,4k, 8", (8, 4 * K, M)),
        ("4K,4K", (4 * K,)),
        ("2KiB", (2 * K,)),
        ("1G", (1 << 30,)),
    ],
)
def test_sizes_are_read_as_they_are_written(text, expected):
    assert sizes.parse(text) == expected


@pytest.mark.parametrize("text", ["", "1K:", ":1K", "64K:1K", "1K:2K:1", "1:2:3:4", "x", "1", "9G"])
def test_a_text_that_is_not_a_size_is_refused_in_one_line(text):
    with pytest.raises(InputError, match=re.escape(f"{text!r} is not a size: use 1K:64M")):
        sizes.parse(text)


@pytest.mark.parametrize(
    ("collective", "factor"),
    [("all_reduce", 1.5), ("all_gather", 0.75), ("reduce_scatter", 0.75), ("broadcast", 1)],
)
def test_the_factors_are_those_of_nccl_tests(collective, factor):
    assert collectives.factor(collective, 4) == factor


def test_an_unknown_collective_is_a_line_with_those_that_are_known():
    with pytest.raises(InputError, match="'allreduce' cannot be measured: use one of all_reduce"):
        collectives.refuse("allreduce")


def timings(by_rank):
    return {
        rank: Timings((0, 1), "cpu", {size: tuple(times) for size, times in seconds.items()})
        for rank, seconds in enumerate(by_rank)
    }


def test_a_repetition_is_as_slow_as_its_slowest_rank_and_the_median_counts():
    seen = timings([{K: [1.0, 4.0, 2.0]}, {K: [3.0, 1.0, 2.0]}])
    [row] = fitting.measured(seen, factor=1.5)
    assert (row.nbytes, row.seconds, row.spread) == (K, 3.0, 2.0)
    assert (row.algorithm, row.bus) == (K / 3, 1.5 * K / 3)


def rows_of(time):
    sizes_ = [K * 4**n for n in range(9)]
    return fitting.measured(timings([{size: [time(size)] for size in sizes_}]), 1.0)


def test_the_fit_finds_the_latency_and_the_bandwidth_of_a_link():
    fit = fitting.fit(rows_of(lambda size: 50e-6 + size / 2e9))
    assert fit.latency == pytest.approx(50e-6)
    assert fit.bandwidth == pytest.approx(2e9)
    assert fit.error == pytest.approx(0, abs=1e-9)


def test_small_sizes_weigh_as_much_as_large_ones():
    """Noise of a tenth on the largest size would hide the latency without weights."""
    fit = fitting.fit(rows_of(lambda size: (50e-6 + size / 2e9) * (1.1 if size > M else 1)))
    assert fit.latency == pytest.approx(50e-6, rel=0.05)


def test_a_latency_is_never_negative_and_what_does_not_grow_tells_no_bandwidth():
    assert fitting.fit(rows_of(lambda size: size / 2e9 * (1 + size / M))).latency == 0
    flat = fitting.fit(rows_of(lambda size: 1e-3 / (1 + size / (100 * M))))
    assert flat.bandwidth == 0
    assert flat.latency == pytest.approx(1e-3, rel=0.3)


def test_a_measurement_of_one_size_has_no_fit():
    assert fitting.fit(rows_of(lambda size: 1.0)[:1]) is None


def found(rows, fit=None, **facts):
    plain = {"ranks": 4, "groups": 1, "backend": "gloo", "device": "cpu", "link": "loopback"}
    return Benchmark("all_reduce", rows, fit, **{**plain, **facts}, factor=1.5)


def test_the_table_has_a_line_for_each_size_and_the_fit_in_words():
    rows = rows_of(lambda size: 50e-6 + size / 2e9)
    lines = view.to_text(found(rows, fitting.fit(rows))).splitlines()
    assert lines[:2] == ["all_reduce on 4 ranks · gloo · cpu", "loopback"]
    assert lines[2].split() == ["size", "time", "±", "alg.", "bandwidth", "bus", "bandwidth"]
    assert lines[3].split() == ["1", "KiB", "50.5", "us", "0", "%", "20.3", "MB/s", "20.3", "MB/s"]
    assert lines[-2] == "bus bandwidth = 1.5 x algorithm bandwidth"
    assert lines[-1] == (
        "fit: time = 50 us (alpha) + size / 2 GB/s (1/beta), off by 0 % in the mean; "
        "at 97.7 KiB each is half of it"
    )


def test_groups_that_measure_at_once_are_said():
    [title, *_] = view.to_text(found(rows_of(lambda size: 1.0)[:1], groups=2)).splitlines()
    assert title == "all_reduce on 4 ranks, 2 groups at once · gloo · cpu"


def test_the_page_has_a_point_for_each_size_in_both_plots_and_escapes_what_it_says():
    rows = rows_of(lambda size: 50e-6 + size / 2e9)
    page = decoded(view.to_html(found(rows, fitting.fit(rows), link="a <host>")))
    assert page.count("<circle") == 2 * len(rows)
    assert page.count("<polyline") == 2
    assert "<host>" not in page
    assert "matplotlib" not in page


def test_a_measurement_of_one_size_is_drawn_without_a_line():
    page = decoded(view.to_html(found(rows_of(lambda size: 1.0)[:1])))
    assert page.count("<circle") == 2
    assert "<polyline" not in page
    assert "nan" not in page.lower()


def test_a_spread_wider_than_its_time_ends_within_the_plot():
    rows = [replace(row, spread=3 * row.seconds) for row in rows_of(lambda size: 1e-3 + size / 1e9)]
    page = decoded(view.to_html(found(rows)))
    spreads = [float(y) for y in re.findall(r'y1="([\d.-]+)" [^>]*stroke="#3b82f6"', page)]
    assert len(spreads) == len(rows)
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', page)[1])
    assert 0 < min(spreads) <= max(spreads) < height


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.0, "3 s"), (0.0012, "1.2 ms"), (85.2e-6, "85.2 us"), (2e-9, "2 ns")]
)
def test_times_are_reported_in_the_unit_that_fits(seconds, words):
    assert view.in_seconds(seconds) == words
