"""The timeline as a picture that stays: what it draws and says, without any rank."""

from __future__ import annotations

import base64
import math
from xml.etree import ElementTree as ET

import pytest
from markup import tree

from rankbook.display.timeline import Chart, to_svg, to_text
from rankbook.errors import InputError
from rankbook.models import CellSpan
from rankbook.timeline import Bar, Names, as_array, from_array

SVG = "{http://www.w3.org/2000/svg}"
LATE = [
    Bar(100.0, 2.0, 0.0, 0, "all_reduce", "0", 4096, 1, 1),
    Bar(101.5, 0.5, 1.5, 1, "all_reduce", "0", 4096, 1, 1, where="In [4] line 2"),
    Bar(102.5, math.nan, math.nan, 0, "barrier", "0", 0, 2, 1),
]


def drawn(bars, **options):
    return ET.fromstring(to_svg(Chart(tuple(bars), (), 2, **options)))  # noqa: S314 - our own


def test_bars_survive_the_array_in_which_they_are_kept():
    ops, groups, places = Names(), Names(), Names()
    again = from_array(as_array(LATE[:2], ops, groups, places), ops, groups, places)
    assert again == LATE[:2]
    assert [type(value) for value in again[0]] == [type(value) for value in LATE[0]]


def test_a_rank_that_waited_is_hatched_and_one_that_came_last_is_not():
    bars = (r for r in drawn(LATE).iter(f"{SVG}rect") if r.get("height") == "18.0")
    hatched = [r for r in bars if "url" in r.get("fill", "")]
    [waits] = [r for r in hatched if r.get("y") == "37.0"]
    full = next(r for r in drawn(LATE).iter(f"{SVG}rect") if r.get("height") == "18.0")
    assert float(waits.get("width")) / float(full.get("width")) == pytest.approx(0.75, abs=0.01)
    assert len(hatched) == 1


def test_every_bar_says_what_it_is():
    titles = [title.text for title in drawn(LATE).iter(f"{SVG}title")]
    assert titles == [
        "rank 0: all_reduce #1, 2 s, 1.5 s of them waiting for others, 4,096 bytes",
        "rank 1: all_reduce #1, 500 ms, 4,096 bytes",
        "rank 0: barrier #2, 0 s",
    ]


def test_a_call_that_did_not_complete_is_marked():
    root = drawn([LATE[0]._replace(failed=True)])
    assert any(rect.get("stroke") == "#dc2626" for rect in root.iter(f"{SVG}rect"))
    told = next(root.iter(f"{SVG}title")).text
    assert told.endswith("2 s of them waiting for others, 4,096 bytes, did not complete")


def test_the_legend_explains_the_hatching_where_something_is_hatched():
    def texts(bars):
        return [text.text for text in drawn(bars).iter(f"{SVG}text")]

    assert "waits for the last rank" in texts(LATE)
    assert "waits for the last rank" not in texts(LATE[1:2])


def test_cells_are_named_where_they_began():
    cells = tuple(CellSpan(n, "x", 100.0 + n, 101.0 + n) for n in (0, 1, 2, 9))
    texts = [t.text for t in ET.fromstring(to_svg(Chart(tuple(LATE), cells, 2))).iter(f"{SVG}text")]  # noqa: S314
    assert [text for text in texts if text.startswith("In")] == ["In [1]", "In [2]"]


def test_of_very_many_bars_the_longest_are_drawn_and_it_says_so():
    bars = [Bar(i * 1.0, 0.1 + (i == 7), 0.0, 0, "barrier", "0", 0, i, 1) for i in range(5000)]
    root = drawn(bars)
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert len(titles) == 4000
    assert "rank 0: barrier #7, 1.1 s" in titles
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "The longest 4,000 of 5,000 calls are drawn." in texts


def test_without_a_rich_front_end_it_says_who_waited():
    assert to_text(Chart(tuple(LATE), (), 2, "What ran on b is not shown.")) == (
        "rank 0: 2 collectives, waited 1.5 s for others\n"
        "rank 1: 1 collective, waited 0 s for others\n"
        "What ran on b is not shown."
    )


def test_a_timeline_without_calls_says_so():
    assert to_text(Chart((), (), 2)) == "No collective was called."
    assert drawn([]).get("role") == "img"


def test_a_chart_is_saved_as_a_file(tmp_path):
    chart = Chart(tuple(LATE), (), 2)
    chart.save(tmp_path / "timeline.svg")
    assert (tmp_path / "timeline.svg").read_text(encoding="utf-8") == to_svg(chart)


def test_a_timeline_is_saved_as_svg_alone(tmp_path):
    with pytest.raises(InputError, match=r"^The picture is SVG: a\.svg, not a\.png\.$"):
        Chart((), (), 2).save(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_in_a_notebook_it_is_an_image_that_no_sanitizer_takes_out():
    """GitHub and untrusted notebooks leave no SVG and no style in HTML."""
    chart = Chart(tuple(LATE), (), 2)
    image = tree(chart._repr_html_()).one("img")
    kind, data = image["src"].split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == to_svg(chart)
    assert image["alt"] == to_text(chart)


def test_the_picture_brings_its_colours_for_light_and_dark_pages():
    svg = to_svg(Chart(tuple(LATE), (), 2))
    assert "prefers-color-scheme: dark" in svg
    assert "--jp-" not in svg  # an image knows nothing of the page around it
    assert "<script" not in svg


@pytest.mark.parametrize(
    ("ranks", "height", "named"), [(2, 106, 2), (64, 458, 22), (256, 1594, 86)]
)
def test_lanes_of_many_ranks_are_lower_and_not_all_are_named(ranks, height, named):
    bars = [Bar(1.0, 1.0, 0.0, rank, "barrier", "0", 0, 1, 1) for rank in range(ranks)]
    root = ET.fromstring(to_svg(Chart(tuple(bars), (), ranks)))  # noqa: S314 - our own
    assert int(root.get("height")) == height
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert len([text for text in texts if text.startswith("rank ")]) == named


@pytest.mark.parametrize(
    "seconds", [0.0035, 0.0352, 0.0835, 0.121, 0.202, 0.353, 0.81, 0.999, 1.0, 1.53, 20.0, 3501.0]
)
def test_no_text_of_a_timeline_is_cut_at_its_edge(seconds):
    bars = [Bar(100.0, seconds, 0.0, 0, "all_reduce", "0", 4, 1, 1)]
    cells = tuple(CellSpan(n, "", 100.0 + seconds * n / 10, 0.0) for n in range(1, 11))
    for text in ET.fromstring(to_svg(Chart(tuple(bars), cells, 2))).iter(f"{SVG}text"):  # noqa: S314 - our own
        width, x = 6.6 * len(text.text), float(text.get("x"))
        left = x - {"middle": width / 2, "end": width}.get(text.get("text-anchor"), 0)
        assert left >= 0, text.text
        assert left + width <= 900, text.text
