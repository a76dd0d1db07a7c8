"""The timeline's widget: what it tells its page, without one."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from wire import say, stands_in

from rankbook.models import CellSpan, GroupInfo, Look
from rankbook.timeline import FIELDS, Bar, Kept
from rankbook.widgets.timeline import TimelineView

CELLS = [
    CellSpan(3, "f()", 10.0, 11.0, "f()\nx", (0, 1), name="In [3]"),
    CellSpan(0, "g()", 12.0, name="cell 4"),
]


class Collected:
    """What a collector has collected."""

    def __init__(self):
        self.kept = Kept(collectives=8)
        self.open = []
        self.clocks = []
        self.note = ""
        self.ended = None


class View(TimelineView):
    """Keeps what it is to send to the page."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def send(self, content, buffers=None):
        self.sent.append((content, [bytes(buffer) for buffer in buffers]))

    def take(self):
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def collected():
    return Collected()


@pytest.fixture
def view():
    return View()


def state(engine, rank, host="a"):
    info = GroupInfo("gloo", rank, 2, "cpu", rank == 0) if rank is not None else None
    return Look("idle", engine=engine, info=info, host=host)


STATES = [state(0, 0), state(2, 1, "b"), state(1, None)]


def bar(seq, rank=0, duration=0.5, lateness=0.25, op="all_reduce", group="0", where=""):
    return Bar(1000.5 + seq, duration, lateness, rank, op, group, 12, seq, 1, where=where)


def update(view, collected):
    view.update(collected, STATES, CELLS)
    return view.take()


def rows(buffers):
    """What a page makes of the buffers of a message."""
    assert len(buffers) == len(FIELDS.names)
    return {
        name: np.frombuffer(data, FIELDS[name]).tolist()
        for name, data in zip(FIELDS.names, buffers, strict=True)
    }


def test_settled_bars_are_sent_to_the_page_once(view, collected):
    collected.kept.add([bar(1), bar(1, 1, math.nan, math.nan)])
    [(content, buffers)] = update(view, collected)
    assert abs(content.pop("now") - time.time()) < 60
    assert content == {
        "kind": "bars",
        "reset": False,
        "edition": 0,
        "from": 0,
        "open": 0,
        "ops": ["all_reduce"],
        "groups": ["0"],
        "places": [""],
        "count": 2,
    }
    columns = rows(buffers)
    assert columns["start"] == [1001.5, 1001.5]
    assert (columns["duration"][0], columns["lateness"][0]) == (0.5, 0.25)
    assert math.isnan(columns["duration"][1])
    assert math.isnan(columns["lateness"][1])
    assert (columns["rank"], columns["seq"], columns["nbytes"]) == ([0, 1], [1, 1], [12.0, 12.0])
    assert (columns["op"], columns["group"], columns["generation"]) == ([0, 0], [0, 0], [1, 1])
    assert update(view, collected) == []
    collected.kept.add([bar(2)])
    [(content, buffers)] = update(view, collected)
    assert (content["reset"], content["count"], rows(buffers)["seq"]) == (False, 1, [2])
    assert (content["edition"], content["from"]) == (0, 2)


@stands_in
def test_names_of_operations_groups_and_lines_are_sent_to_the_page_once(view, collected):
    for names in (["a", "b"], ["b"], ["c", "a"]):
        collected.kept.add([bar(1, op=name, group=name, where=name) for name in names])
    told = [update(view, collected)]
    collected.kept.add([bar(1, op="d", group="a", where="b")])
    told.append(update(view, collected))
    found = [(content["ops"], content["groups"], content["places"]) for [(content, _)] in told]
    assert found == [(["a", "b", "c"],) * 3, (["d"], [], [])]
    [(_, buffers)] = told[1]
    columns = rows(buffers)
    assert (columns["op"], columns["group"], columns["where"]) == ([3], [0], [1])
    say(view.comm, {"kind": "hello"})
    assert view.take()[0][0]["ops"] == ["a", "b", "c", "d"]


def test_the_buffers_of_bars_have_the_fields_that_the_page_reads():
    sizes = [FIELDS[name].str for name in FIELDS.names]
    assert sizes == ["<f8", "<f4", "<f4", "<i4", "<i4", "<i4", "<f8", *["<i4"] * 4]


def test_open_bars_replace_those_sent_before(view, collected):
    collected.open = [bar(1, duration=math.nan)]
    [(content, buffers)] = update(view, collected)
    assert (content["kind"], content["count"], rows(buffers)["seq"]) == ("open", 1, [1])
    assert (content["edition"], content["settled"]) == (0, 0)
    assert (content["ops"], content["groups"]) == (["all_reduce"], ["0"])
    assert content["places"] == [""]
    assert update(view, collected) == []
    collected.open = []
    [(content, buffers)] = update(view, collected)
    assert (content["kind"], content["count"], buffers) == ("open", 0, [b""] * 11)


@stands_in
def test_a_page_that_says_hello_gets_every_bar(view, collected):
    say(view.comm, {"kind": "hello"})
    assert view.take() == []  # nothing was collected yet
    collected.kept.add([bar(1), bar(2)])
    collected.open = [bar(3)]
    update(view, collected)
    for _ in range(2):
        say(view.comm, {"kind": "hello"})
        (bars, _), (open_ones, _) = view.take()
        assert (bars["kind"], bars["reset"], bars["count"]) == ("bars", True, 2)
        assert (bars["from"], bars["open"], open_ones["settled"]) == (0, 1, 2)
        assert (open_ones["kind"], open_ones["count"]) == ("open", 1)
    assert update(view, collected) == []
    say(view.comm, {"kind": "something else"})
    assert view.take() == []


def test_all_bars_are_sent_again_after_a_thinning(view, collected):
    collected.kept.add([bar(seq) for seq in range(8)])
    update(view, collected)
    collected.kept.add([bar(8)])
    [(content, _)] = update(view, collected)
    assert (content["reset"], content["count"]) == (True, len(collected.kept))
    assert (content["edition"], content["from"]) == (1, 0)
    assert len(collected.kept) < 9
    assert update(view, collected) == []


def test_the_view_shows_lanes_cells_clocks_and_the_note(view, collected):
    collected.clocks = [{"host": "b", "offset": 1.0, "error": 0.1}]
    collected.note = "Some are not shown."
    assert update(view, collected) == []
    assert view.lanes == [{"rank": 0, "host": "a"}, {"rank": 1, "host": "b"}]
    assert view.cells == [
        {"name": "In [3]", "label": "f()", "started": 10.0, "ended": 11.0, "traffic": ""},
        {"name": "cell 4", "label": "g()", "started": 12.0, "ended": None, "traffic": ""},
    ]
    assert (view.clocks, view.note) == (collected.clocks, "Some are not shown.")


def test_the_lanes_stay_while_no_rank_is_in_a_group(view, collected):
    update(view, collected)
    before = view.lanes
    view.update(collected, [state(0, None), state(2, None)], CELLS)
    assert view.lanes == before
    view.update(collected, [state(0, 0)], CELLS)
    assert view.lanes == before[:1]


def test_the_lane_of_a_silent_rank_keeps_its_host(view, collected):
    update(view, collected)
    view.update(collected, [state(0, 0), state(2, 1, "")], CELLS)
    assert view.lanes[1] == {"rank": 1, "host": "b"}
    view.update(collected, [state(0, 0), state(2, 1, "c"), state(3, 2, "")], CELLS)
    assert [lane["host"] for lane in view.lanes] == ["a", "c", ""]


def test_the_view_leaves_out_cells_older_than_all_bars_and_the_oldest_of_many(view, collected):
    cells = [CellSpan(n, "f()", 1000.0 + n, 1000.5 + n, name=f"In [{n}]") for n in range(300)]
    view.update(collected, STATES, cells)
    assert [cell["name"] for cell in view.cells] == [f"In [{n}]" for n in range(100, 300)]
    collected.kept.add([bar(250), bar(260)])
    view.update(collected, STATES, cells)
    assert [cell["name"] for cell in view.cells] == [f"In [{n}]" for n in range(250, 300)]


def test_a_running_cell_ends_in_the_view_when_the_session_closes(view, collected):
    collected.open = [bar(1, duration=math.nan)]
    update(view, collected)
    collected.open, collected.ended = [], 20.0
    [(content, _)] = update(view, collected)
    assert (content["kind"], content["count"]) == ("open", 0)
    assert [cell["ended"] for cell in view.cells] == [11.0, 20.0]
    assert update(view, collected) == []


def test_the_timeline_view_finds_its_script_and_style(view):
    state = view.get_state()
    assert "export default" in state["_esm"]
    assert state["_css"].strip()
