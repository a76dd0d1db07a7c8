"""The page's plain functions."""

from __future__ import annotations

import pytest
from timeline_page import T, call

pytestmark = pytest.mark.browser


def test_durations_and_sizes_are_written_in_words(page):
    seconds = [4e-7, 9.996e-4, 0.0503, 0.9999, 12.34, 59.96, 125, 3600, 3900]
    assert call(page, f"{seconds}.map(t.duration)") == [
        "0.4 µs", "1 ms", "50.3 ms", "1 s", "12.3 s", "1 min", "2 min 5 s", "1 h", "1 h 5 min",
    ]  # fmt: skip
    sizes = [0, 812, 4096, 4.2e6, 999_900_000, 1.4e9]
    assert call(page, f"{sizes}.map(t.size)") == [
        "0 B", "812 B", "4.1 kB", "4.2 MB", "1 GB", "1.4 GB",
    ]  # fmt: skip
    assert call(page, "t.ranges([5, 0, 3, 4])") == "ranks 0, 3-5"


def test_host_names_are_cut_to_the_part_that_tells_them_apart(page):
    def short(*hosts, most=14):
        return call(page, f"[...t.shortNames(new Set({list(hosts)}), {most}).values()]")

    assert short("a.b.c", "d.b.c") == ["a", "d"]
    assert short("node.east.example", "node.west.example") == ["…east…", "…west…"]
    assert short("10.0.12.101", "10.0.12.11", most=8) == ["…101", "…11"]
    assert short("computenode001", "computenode012", most=8) == ["…001", "…012"]
    assert short("worker-01-production", "worker-02-production") == ["…01…", "…02…"]
    assert short("alphabetically-sorted-7", "zebra-1") == ["alphabe…rted-7", "zebra-1"]
    assert short("node", "node-2-with-more-of-it") == ["node", "node-2-…-of-it"]


def test_spans_that_touch_are_merged_in_any_order(page):
    busy = """[[10, 11], [0, 1], [20, 21], [1.5, 2], [11.5, 20.5]].reduce(
        (all, [from, to]) => { t.addBusy(all, from, to); return all; }, { starts: [], ends: [] })"""
    assert call(page, busy) == {"starts": [0, 10], "ends": [2, 21]}


def test_the_scale_is_linear_but_for_breaks_and_goes_both_ways(page):
    scale = "t.makeScale({ starts: [0, 100, 103], ends: [2, 101, 104] }, 10, true)"
    times = [-1, 0, 2, 51, 100, 101, 102, 103, 104, 105]
    pixels = call(page, f"{times}.map((time) => t.toPixel({scale}, time))")
    assert pixels == [-10, 0, 20, 33, 46, 56, 66, 76, 86, 96]
    assert call(page, f"{pixels}.map((px) => t.toTime({scale}, px))") == pytest.approx(times)


def test_zooming_to_a_span_gives_it_the_requested_width(page):
    busy = "{ starts: [0, 100], ends: [2, 101] }"
    zoom = call(page, f"t.zoomFor({busy}, true, 0, 101, 626)")
    assert zoom == pytest.approx(200, rel=1e-3)
    assert call(page, f"t.span({busy}, true, {zoom}, 0, 101)") == pytest.approx(626, abs=1)


def test_ticks_are_round_and_label_what_changes(page):
    assert call(page, "[1e6, 800, 80, 8, 1].map((k) => t.tickStep(k, 80))") == pytest.approx(
        [1e-4, 0.1, 1, 10, 120]
    )
    whole = call(page, f"t.tickLabel({T}, 0.25)")
    assert whole.endswith(":00")
    assert call(page, f"t.tickLabel({T} + 0.25, 0.25)") == ".250"
    assert call(page, f"t.tickLabel({T} + 5, 5)") == whole[:-2] + "05"


def test_bars_narrower_than_a_pixel_become_one_run_per_kind(page):
    runs = """(() => {
        const bars = new t.Bars();
        const n = 1000; // 0.1 px each, and then one of 10 px
        const column = (Type, value) => Type.from({ length: n + 1 }, (_, i) => value(i));
        const names = { ops: ['all_reduce'], groups: ['0'], places: [''] };
        bars.append({ reset: true, ...names, count: n + 1 }, [
            column(Float64Array, (i) => i), column(Float32Array, (i) => (i < n ? 0.5 : 100)),
            column(Float32Array, () => NaN), column(Int32Array, () => 0),
            column(Int32Array, () => 0), column(Int32Array, () => 0),
            column(Float64Array, () => 0), column(Int32Array, (i) => i + 1),
            column(Int32Array, () => 1), column(Int32Array, () => 0), column(Int32Array, () => 0),
        ]);
        const scale = t.makeScale(bars.busy, 0.1, true);
        const runs = t.visibleRuns(bars, bars.lanes.get(0), scale, 0, 500, t.makeRuns());
        const all = Array.from({ length: runs.n }, (_, i) => [runs.x0[i], runs.x1[i], runs.bar[i]]);
        const hits = [500.2, 5e3].map((px) => t.hit(bars.lanes.get(0), scale, px / 10, 1));
        return [all, hits];
    })()"""
    all_runs, hits = call(page, runs)
    assert all_runs == [[0, 100, -1], [100, 110, 1000]]
    assert hits == [500, -1]


def test_an_open_and_a_settled_bar_of_one_collective_match_whatever_the_index_of_its_name(page):
    peers = """(() => {
        const make = (groups, group) => {
            const bars = new t.Bars();
            const names = { ops: ['all_reduce'], groups, places: [''] };
            bars.append({ reset: true, ...names, count: 1 }, [
                Float64Array.of(5), Float32Array.of(1), Float32Array.of(0), Int32Array.of(0),
                Int32Array.of(0), Int32Array.of(group), Float64Array.of(0), Int32Array.of(7),
                Int32Array.of(1), Int32Array.of(0), Int32Array.of(0),
            ]);
            return bars;
        };
        const settled = make(['0', '1'], 1);
        return [[['1'], 0], [['0'], 0], [['2', '1'], 1], [['9'], 0]].map(
            ([groups, group]) => settled.peers(make(groups, group), 0));
    })()"""
    assert call(page, peers) == [[0], [], [0], []]
