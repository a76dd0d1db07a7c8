"""The ranks of the dashboard: rows, tiles, and what stands in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markup import tree
from page import Page
from samples import EVIL, EVIL_MEMBERS, GPU, many, member, with_gpu

from rankbook.display.dashboard.ranks import ROWS, to_html
from rankbook.display.facts import MARKS
from rankbook.display.times import Times
from rankbook.models import Look
from rankbook.timeline.shares import Share

FIXED = "\N{NO-BREAK SPACE}"
"""Between words that stay in a line."""

COLUMNS = ["rank", "state", "memory", "details"]


def row(state):
    """By column, what is read in the row of a rank."""
    head, cells = Page(to_html([state])).rows
    return dict(zip(head, cells, strict=True))


def facts(state, among=1):
    """By name, what stands in the details of a rank, which open at a click."""
    others = [member(rank, world_size=among) for rank in range(1, among)]
    terms = tree(to_html([state, *others])).all("dl")[0]
    texts = ([its.text for its in terms.all(tag)] for tag in ("dt", "dd"))
    return dict(zip(*texts, strict=True))


def test_without_engines_the_ranks_are_no_html():
    assert to_html(()) == ""


@pytest.mark.parametrize(
    ("count", "rows", "tiles", "dense"),
    [
        (1, 1, 0, False),
        (ROWS, ROWS, 0, False),
        (ROWS + 1, 0, ROWS + 1, False),
        (128, 0, 128, False),
        (129, 0, 129, True),
        (512, 0, 512, True),
    ],
)
def test_few_ranks_are_rows_and_many_are_tiles(count, rows, tiles, dense):
    page = tree(to_html([member(rank, world_size=count) for rank in range(count)]))
    assert len(page.all("tr", "rb-row")) == rows
    assert len(page.all("li", "rb-tile")) == tiles
    assert page.has("ul", "rb-dense") is dense


# -- rows ------------------------------------------------------------------------------------


def test_a_row_shows_what_changes_and_what_never_does_in_its_details():
    shown = row(member(1, world_size=3))
    assert [shown[name] for name in COLUMNS[:3]] == ["1", "● idle", "250 MB"]
    assert facts(member(1, world_size=3)) == {
        "device": "cpu",
        "backend": "gloo",
        "world size": "3",
        "main": "no",
        "local rank": "1",
        "engine": "1",
        "host": "a",
        "pid": "101",
    }
    assert facts(member(0))["main"] == "yes"


def test_the_details_are_closed_named_by_the_process_and_restart_the_rank():
    its = tree(to_html([member(1)])).one("details", "rb-facts-of")
    assert "open" not in its.attrs
    assert its.one("summary").text == "pid 101"
    button = its.one("button")
    assert (button["data-do"], button["data-rank"]) == ("restart", "1")


def test_the_row_of_a_spare_engine_leaves_out_what_a_rank_has():
    spare = Look("gone", engine=4)
    told = {name: text for name, text in row(spare).items() if text and name != "details"}
    assert told == {"rank": "spare", "state": "✕ ended"}
    assert facts(spare) == {"engine": "4"}
    assert not tree(to_html([spare])).has("button")


def test_hosts_are_a_column_only_where_there_are_several():
    head, *_ = Page(to_html([member(0), member(1, host="b")])).rows
    assert head == [*COLUMNS[:3], "host", "details"]


def test_the_time_of_the_last_cell_is_a_bar_and_words_by_rank():
    spent = Times("In [5]", {0: Share(0.62, 0.004, 0.376), 1: Share(1.0, 0.0, 0.0)})
    page = tree(to_html([member(0), member(1), Look("idle", engine=2)], None, spent))
    head = [its.text for its in page.one("thead").all("th")]
    assert head == ["rank", "state", "time in In [5]", "memory", "details"]
    assert [its.text for its in page.all("td", "rb-time")] == [
        f"computing{FIXED}62{FIXED}%, waiting{FIXED}38{FIXED}%",
        f"computing{FIXED}100{FIXED}%",
        "",
    ]
    widths = [its["style"] for its in page.all(kind="rb-share")[0].all("span")]
    assert widths == ["width: 62.0%", "width: 0.4%", "width: 37.6%", "width: 0.0%"]


def test_parts_of_a_rank_s_time_add_up_to_a_hundred_per_cent():
    spent = Times("In [5]", {0: Share(1 / 3, 1 / 3, 1 / 3)})
    cell = tree(to_html([member(0)], None, spent)).one("td", "rb-time").text
    assert cell.replace(FIXED, " ") == "computing 34 %, communicating 33 %, waiting 33 %"


def test_rows_are_in_the_order_of_the_snapshot():
    rows = Page(to_html([member(1), member(0), Look("idle", engine=2)])).rows
    assert [cells[0] for cells in rows[1:]] == ["1", "0", "spare"]


BETWEEN_PROCESSES = {"collective": "waiting", "ended": "gone", "shut down": "left"}


@pytest.mark.parametrize("state", MARKS)
def test_every_state_has_a_word_a_shape_and_a_class(state):
    page = tree(to_html([member(0, BETWEEN_PROCESSES.get(state, state))]))
    pill = page.one(kind="rb-pill")
    assert pill.text == f"{MARKS[state]} {state}"
    assert page.one("tr", "rb-row").classes[1] == f"rb-is-{state.replace(' ', '-')}"


@pytest.mark.parametrize("state", ["compiling", 'x" onclick="y', "a b"])
def test_an_unknown_state_is_shown_by_its_word_in_a_row(state):
    page = tree(to_html([member(0, state)]))
    assert page.one(kind="rb-pill").text == f"· {state}"
    assert page.one("tr", "rb-row").classes == ["rb-row", "rb-is-unknown"]


@pytest.mark.parametrize(
    ("state", "facts", "does", "line"),
    [
        ("waiting", {"line": "line 2: f(x)", "since": 12.4}, "all_reduce, 12 s", "line 2: f(x)"),
        ("waiting", {"line": "line 2: f(x)", "since": 0.4}, "all_reduce", "line 2: f(x)"),
        ("waiting", {"line": "line 1: f((1, 2))"}, "all_reduce", "line 1: f((1, 2))"),
        ("waiting", {"since": 2.0}, "all_reduce, 2 s", ""),
        ("running", {"line": "line 3: f(x)", "since": 0.4}, "", "line 3: f(x)"),
        ("running", {"line": "line 3: f (x)", "since": 5.0}, "", "line 3: f (x), 5 s"),
        ("running", {"since": 5.0}, "", ""),
        ("gone", {"ended": "was killed by SIGKILL"}, "was killed by SIGKILL", ""),
        ("idle", {}, "", ""),
    ],
)
def test_the_collective_and_the_cell_line_are_separate_elements(state, facts, does, line):
    page = tree(to_html([member(0, state, call="all_reduce", **facts)]))
    assert [its.text for its in page.all(kind="rb-does")] == [does] * bool(does)
    assert [(its.text, its["title"]) for its in page.all("code")] == [(line, line)] * bool(line)


LONG = f"ValueError: {'x' * 200}\nsecond line"


def test_the_last_error_is_shown_in_a_line_that_opens_to_all_of_it():
    """Without the kernel, and without a mouse: a tooltip needs one."""
    page = tree(to_html([member(0, last_error=LONG), member(1)]))
    shown = page.one("details", "rb-error")
    assert shown.children[0].text == shown.one("summary").text == LONG[:108] + " …"
    assert shown.one(kind="rb-whole").text == LONG
    failed, fine = page.all("tr", "rb-row")
    assert "rb-failed" in failed.classes
    assert "rb-failed" not in fine.classes


def test_an_error_of_one_line_has_nothing_to_open():
    page = tree(to_html([member(0, last_error="ValueError: no")]))
    assert page.one(kind="rb-error").text == "ValueError: no"
    assert not page.has("details", "rb-error")


# -- memory ----------------------------------------------------------------------------------


def bars(state, kind):
    """How long its bars are, and whether they are full."""
    page = tree(to_html([state]))
    return [
        (bar.one("span")["style"], "rb-full" in bar.classes) for bar in page.all(kind="rb-bar")
        if kind in bar.classes
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("used", "total", "text", "bar"),
    [
        (250_000_000, 1_000_000_000, "250 MB of 1.0 GB", [("width: 25.0%", False)]),
        (900_000_000, 1_000_000_000, "900 MB of 1.0 GB", [("width: 90.0%", False)]),
        (901_000_000, 1_000_000_000, "901 MB of 1.0 GB", [("width: 90.1%", True)]),
        # A container's limit may have been lowered since.
        (2_000_000_000, 1_000_000_000, "2.0 GB of 1.0 GB", [("width: 100.0%", True)]),
        (250_000_000, 0, "250 MB", []),
        (0, 1_000_000_000, "", []),
    ],
)
def test_memory_is_shown_as_a_number_and_as_a_bar(used, total, text, bar):
    state = member(0, memory=used, memory_total=total)
    assert row(state)["memory"] == text
    assert bars(state, "rb-host") == bar


def test_without_gpus_there_is_no_gpu_column():
    assert list(row(member(0))) == COLUMNS


@pytest.mark.parametrize(
    ("state", "text", "bar"),
    [
        (with_gpu(member(0)),
         "42.0 GB of 85.0 GB97 % busy, H100 80GB HBM3", [("width: 49.4%", False)]),
        (with_gpu(member(0), replace(GPU, utilization=None, used=84_000_000_000)),
         "84.0 GB of 85.0 GBH100 80GB HBM3", [("width: 98.8%", True)]),
        (with_gpu(member(0), replace(GPU, utilization=0)),
         "42.0 GB of 85.0 GB0 % busy, H100 80GB HBM3", [("width: 49.4%", False)]),
        (member(0, gpu_memory=2_000_000_000), "2.0 GB", []),
        (member(0, gpu_memory=0), "0 B", []),
    ],
)  # fmt: skip
def test_a_gpu_is_shown_with_its_memory_name_and_load(state, text, bar):
    assert list(row(state)) == [*COLUMNS[:3], "GPU", "details"]
    assert row(state)["GPU"] == text
    assert bars(state, "rb-gpu") == bar


def test_a_rank_without_a_gpu_has_an_empty_cell_beside_ranks_with_one():
    rows = Page(to_html([with_gpu(member(0)), member(1)])).rows
    assert rows[0][3] == "GPU"
    assert rows[2][3] == ""


def test_names_that_the_style_sheet_cuts_are_whole_in_their_tooltips():
    far = with_gpu(member(0, host="ip-10-0-12-101.us-west-2.compute.internal"))
    page = tree(to_html([far, member(1)]))
    host = page.all(kind="rb-name")[0]
    assert host["title"] == host.text == "ip-10-0-12-101.us-west-2.compute.internal"
    assert page.one(kind="rb-below")["title"] == GPU.name


# -- tiles -----------------------------------------------------------------------------------


def tile(state, among=ROWS + 1):
    """The tile of a rank among others."""
    others = [member(rank, world_size=among) for rank in range(1, among)]
    return tree(to_html([state, *others])).all("li")[0]


def test_every_tile_opens_without_the_kernel():
    """Without the kernel, which may be busy."""
    for count in (ROWS + 1, 129):
        tiles = tree(to_html(many(count))).all("li")
        assert len(tiles) == count
        for its in tiles:
            assert its.one("details").children[0] is its.one("summary")


def test_a_tile_shows_its_number_and_state():
    for count in (ROWS + 1, 129):
        for state, its in zip(many(count), tree(to_html(many(count))).all("li"), strict=True):
            summary = its.one("summary")
            assert summary.one(kind="rb-rank").text == str(state.info.rank)
            assert summary.one(kind="rb-word").text == state.state
            assert ("rb-failed" in its.classes) is bool(state.last_error)


@pytest.mark.parametrize(
    ("state", "does"),
    [
        (member(0), "cpu a"),
        (member(0, "waiting", call="all_reduce", line="line 2: f(x)", since=3), "all_reduce, 3 s"),
        (member(0, "running", line="line 2: f(x)"), "line 2: f(x)"),
        (member(0, "gone", ended="was killed by SIGKILL"), "was killed by SIGKILL"),
        (member(0, last_error="ValueError: no\nmore"), "ValueError: no"),
        (member(0, "running", line="line 2: f(x)", last_error="ValueError"), "ValueError"),
        (Look("idle", engine=0, host="a"), "a"),
        (Look("idle", engine=0), ""),
    ],
)
def test_a_tile_shows_what_matters_most(state, does):
    assert tile(state).one("summary").one(kind="rb-does").text == does


def test_an_open_tile_shows_what_a_row_shows():
    """But for what its summary says, and what is not known."""
    state = with_gpu(member(0, memory_total=1_000_000_000))
    told, shown = facts(state, ROWS + 1), row(state)
    assert told == facts(state) | {name: shown[name] for name in ("memory", "GPU")}
    dead = replace(state, state="gone", pid=0, host="", memory=0, gpu=None)
    assert not {"host", "pid", "memory", "GPU"} & facts(dead, ROWS + 1).keys()


@pytest.mark.parametrize(
    ("error", "opened"),
    [
        ("", ["line 2: f(x)"]),
        ("ValueError: no", ["all_reduce", "line 2: f(x)"]),
        (LONG, [LONG, "all_reduce", "line 2: f(x)"]),
    ],
)
def test_an_open_tile_shows_what_the_closed_one_had_no_room_for(error, opened):
    waits = member(0, "waiting", call="all_reduce", line="line 2: f(x)", last_error=error)
    its = tile(waits).one("details")
    summary, *parts = (its for its in its.children if its != " ")
    assert [part.text for part in parts[:-2]] == opened
    assert summary.one(kind="rb-does").text not in opened


def test_an_open_dense_tile_shows_what_a_row_shows_in_one_line():
    state = with_gpu(member(0, "waiting", call="all_reduce", line="line 2: f(x)", since=3))
    assert tile(state, 129).one("p").text == (
        "all_reduce (line 2: f(x)), 3 s · cuda:0, nccl, local rank 0, world size 2, main: yes "
        "· engine 0 · a, pid 100 · 250 MB + 42.0 GB GPU · H100 80GB HBM3"
    )


def test_an_open_dense_tile_shows_the_whole_error():
    assert tile(member(0, last_error=LONG), 129).one(kind="rb-whole").text == LONG


def test_a_dense_tile_is_marked_if_its_cell_has_failed():
    """Not only a colour."""
    assert tile(member(0, last_error="E"), 129).one("summary").one(kind="rb-flag").text == "!"
    assert not tile(member(0), 129).has(kind="rb-flag")


def test_a_dense_tile_of_a_spare_engine_leaves_out_what_a_rank_has():
    its = tile(Look("idle", engine=7, host="a", pid=5), 129)
    assert its.one(kind="rb-rank").text == "spare"
    assert its.one("p").text == "engine 7 · a, pid 5"


@pytest.mark.parametrize("evil", EVIL_MEMBERS)
@pytest.mark.parametrize("count", [ROWS + 1, 129])
def test_text_of_users_is_not_markup_in_a_tile(evil, count):
    its = tile(member(0, **evil), count)
    assert not its.has("b")
    assert EVIL in its.text


def test_a_dense_tile_is_short():
    """Hundreds of them are sent again and again."""
    html = to_html([with_gpu(member(rank, world_size=512)) for rank in range(512)])
    assert len(html) / 512 < 600
