"""What the timeline draws."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from timeline_page import (
    LATE,
    button,
    call,
    chart,
    extent,
    is_pressed,
    point,
    point_at,
    set_lanes,
    show,
    texts,
    tip,
    width,
)

pytestmark = pytest.mark.browser


def test_an_empty_timeline_says_so_once_the_kernel_has_answered(page):
    expect(page.get_by_text("Loading what has been recorded")).to_be_visible()
    show(page, "send([])")
    expect(page.get_by_text("No collective has been recorded yet.")).to_be_visible()
    assert page.evaluate("model.sent") == [{"kind": "hello"}]
    page.set_viewport_size({"width": 400, "height": 700})
    assert page.locator(".rbt-empty").bounding_box()["height"] < 30  # one line
    page.set_viewport_size({"width": 1000, "height": 700})
    show(page, LATE)
    expect(page.get_by_text("No collective has been recorded yet.")).to_be_hidden()
    expect(page.locator(".rbt-count")).to_have_text("4 ranks · 1 collective")
    name = "Timeline of collectives: 4 ranks, 1 collective"
    expect(page.get_by_role("application", name=name)).to_be_visible()


def test_a_bar_is_drawn_at_its_time(page):
    show(page, LATE)
    first, second, last = (extent(page, lane) for lane in (0, 1, 3))
    whole = first[1] - first[0]
    assert whole > 800  # all there is fills the plot
    assert second[0] - first[0] == pytest.approx(whole * 0.1, abs=2)
    assert last[0] - first[0] == pytest.approx(whole * 0.5, abs=2)
    assert first[1] == pytest.approx(last[1], abs=1)


def test_late_ranks_are_marked_and_waiting_has_another_colour(page):
    show(page, LATE)
    assert {"rank 0", "rank 3", "+50 ms"} <= set(texts(page))
    assert "all_reduce  4.2 MB" in texts(page)
    colours = page.evaluate(
        """() => {
            const at = (x) => pixels(Math.round(x), 32, 6, 1).join();
            const [x0, x1] = extent(0, 'all_reduce');
            return [at(x0 + (x1 - x0) / 4), at(x0 + 3 * (x1 - x0) / 4)];
        }"""
    )
    assert colours[0] != colours[1]


def test_the_legend_names_only_kinds_of_bars_that_there_are(page):
    legend = page.get_by_role("list", name="Colours")
    set_lanes(page, 1)
    show(page, "send(collective(1.7637e9, [0], 0.05))")
    expect(legend).not_to_contain_text("wait")
    expect(legend).not_to_contain_text("late")
    set_lanes(page, 4)
    show(page, LATE)
    expect(legend).to_contain_text("waits for the last rank")
    expect(legend).to_contain_text("late")


def test_a_rank_that_did_not_wait_is_not_shown_waiting(page):
    bars = """
        const bars = collective(1.7637e9, [0, 0.05], 0.05, { op: 1 });
        bars[0].length = 0.01; // the root sends and goes on
        send(bars);
    """
    show(page, bars)
    point_at(page, 0, "broadcast")
    expect(tip(page)).to_contain_text("took 10 ms")
    expect(tip(page)).not_to_contain_text("waited")


def test_an_end_that_was_not_recorded_is_not_made_up(page):
    show(page, "send([{ rank: 0, start: 1.7637e9, late: NaN }])")
    point_at(page, 0)
    expect(tip(page)).to_contain_text("end not recorded")
    expect(tip(page)).not_to_contain_text("after the first")


def test_a_bar_in_flight_grows_until_it_ends(page):
    now = "Date.now() / 1000"
    show(
        page,
        f"send(collective({now} - 0.3, [0, 0, 0, 0], 0.05));"
        f"send([0, 2, 3].map((rank) => ({{ rank, start: {now} - 0.2, late: NaN, op: 3, seq: 2 }})),"
        "{ kind: 'open' })",
    )
    expect(page.locator(".rbt-flying")).to_have_text("1 in flight")
    expect(chart(page)).to_have_attribute(
        "aria-label", "Timeline of collectives: 4 ranks, 1 collective, 1 in flight"
    )
    assert any(text.startswith("barrier, in flight ") for text in texts(page))
    before = width(page)  # what is settled shrinks as time goes on
    page.wait_for_function(
        "(before) => { const [a, b] = extent(0, 'all_reduce'); return b - a < before / 2; }",
        arg=before,
    )
    point(page, 700, 0)
    expect(tip(page)).to_contain_text("called so far by ranks 0, 2-3")
    show(page, "send([], { kind: 'open' })")
    expect(page.locator(".rbt-flying")).to_be_empty()
    assert not any("in flight" in text for text in texts(page))


def test_former_ranks_keep_their_lanes_while_their_bars_are_visible(page):
    show(page, LATE)
    set_lanes(page, 2)
    labels = [text for text in texts(page) if text.startswith("rank ")]
    assert labels == ["rank 0", "rank 1", "rank 2 (before)", "rank 3 (before)"]
    expect(page.locator(".rbt-count")).to_have_text("2 ranks · 1 collective")
    point(page, 700, 3)
    expect(tip(page)).to_contain_text("all_reduce on rank 3")
    later = "collective(1.7637e9 + 10 + i, [0, 0], 0.05, { seq: i + 1, generation: 2 })"
    show(page, f"for (let i = 0; i < 60; i++) send({later})")
    assert [text for text in texts(page) if text.startswith("rank ")] == ["rank 0", "rank 1"]
    button(page, "Fit").click()
    assert "rank 2 (before)" in texts(page)
    chart(page).focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(tip(page)).to_contain_text("on rank 3")
    page.keyboard.press("End")
    expect(tip(page)).to_be_hidden()  # it has no lane now


def test_an_open_bar_without_news_is_drawn_only_as_long_as_is_known(page):
    show(
        page,
        "send(collective(1.7637e9, [0, 0, 0, 0], 1));"
        "send([{ rank: 2, start: 1.7637e9 + 1, late: NaN, length: 3, op: 3, seq: 2 }],"
        "{ kind: 'open' })",
    )
    expect(page.locator(".rbt-flying")).to_be_empty()
    assert "barrier, in flight 3 s" in texts(page)
    x0, x1 = extent(page, 0)
    ends = x1 + 3 * (x1 - x0)
    point(page, ends - 10, 2)
    expect(tip(page)).to_contain_text("in flight for 3 s, then not heard of yet")
    point(page, ends + 30, 2)
    expect(tip(page)).to_have_count(0)
    # It does not go on: nothing is drawn again and again.
    picture = "document.querySelector('#first canvas').toDataURL()"
    point(page, 5, 2)
    page.evaluate("nextFrame()")
    before = page.evaluate(picture)
    page.wait_for_timeout(400)
    assert page.evaluate(picture) == before


def test_a_collective_that_did_not_complete_is_marked_and_described(page):
    failed = """[0, 1, 2].map((rank) => (
        { rank, start: 1.7637e9 + 0.2, length: 8.1, late: 0, seq: 2, op: 2, failed: 1 }))"""
    show(page, LATE)
    legend = page.get_by_role("list", name="Colours")
    expect(legend).not_to_contain_text("did not complete")
    show(page, f"send({failed})")
    expect(legend).to_contain_text("did not complete")
    assert "all_gather, did not complete" in texts(page)
    _, end = extent(page, 0, "did not complete")
    # Blunt, and higher than bars are: not by its colour alone.
    above = page.evaluate(
        "(end) => [extent(0, 'all_reduce')[0] + 4, end - 2].map((x) => [...pixels(x, 27, 1, 1)])",
        end,
    )
    assert above[0][3] == 0
    assert above[1][3] == 255
    point(page, end - 30, 0)
    expect(tip(page)).to_contain_text("did not complete: ended after 8.1 s")
    expect(tip(page)).not_to_contain_text("took")
    expect(tip(page)).not_to_contain_text("waited")
    chart(page).focus()
    page.keyboard.press("End")
    page.keyboard.press("[")
    expect(page.locator("#first [role=status]")).to_contain_text("did not complete: ended after")


@pytest.mark.parametrize("lanes", [4, 64])
def test_a_narrow_bar_that_did_not_complete_is_marked(page, lanes):
    set_lanes(page, lanes)
    show(
        page,
        f"const bars = training({20_000 // lanes}, {lanes});"
        f"for (const bar of bars) bar.failed = Number(bar.seq === {10_000 // lanes});"
        "send(bars)",
    )
    button(page, "Fit").click()
    for lane in (0, lanes - 1):
        x0, x1 = extent(page, lane, "did not complete")
        assert 2 <= x1 - x0 <= 6
        assert x0 == pytest.approx((1000 + 50) / 2, abs=40)


def test_idle_time_is_drawn_as_a_narrow_break_or_to_scale(page):
    show(
        page,
        "send([...collective(1.7637e9, [0, 0, 0, 0], 0.1),"
        "...collective(1.7637e9 + 125.1, [0, 0, 0, 0], 0.1, { seq: 2, op: 1 })])",
    )
    assert "2 min 5 s" in texts(page)
    first, second = extent(page, 0), extent(page, 0, "broadcast")
    assert second[0] - first[1] == pytest.approx(26, abs=2)
    assert first[1] - first[0] == pytest.approx(second[1] - second[0], abs=2)
    button(page, "Skip idle").click()
    assert not is_pressed(page, "Skip idle")
    assert "2 min 5 s" not in texts(page)
    assert width(page) < 5


def test_cells_are_marked_and_explained(page):
    cells = """[
        { name: 'In [4]', label: 'backward()', started: 1.7637e9 - 0.01, ended: 1.7637e9 + 0.2 },
        { name: 'In [5]', label: 'evaluate()', started: 1.7637e9 + 0.3, ended: null },
    ]"""
    show(page, f"model.set({{ cells: {cells} }}); {LATE}")
    button(page, "Fit").click()
    page.evaluate("nextFrame()")
    assert {"In [4]", "In [5]"} <= set(texts(page))
    point(page, 200, -1)  # above the first
    expect(tip(page)).to_contain_text("In [4] backward()")
    expect(tip(page)).to_contain_text("took 210 ms")


def test_cells_run_by_a_program_are_marked(page):
    cell = "{ name: 'cell 3', label: 'f()', started: 1.7637e9 - 0.01, ended: 1.7637e9 + 0.2 }"
    show(page, f"model.set({{ cells: [{cell}] }}); {LATE}")
    assert "cell 3" in texts(page)
    point(page, 200, -1)
    expect(tip(page)).to_contain_text("cell 3 f()")


@pytest.mark.parametrize(("first", "second", "named"), [(1, 90, "In [5]"), (2, 1, "In [4]")])
def test_the_longer_of_two_cells_with_colliding_labels_is_named(page, first, second, named):
    page.evaluate(
        """([first, second]) => model.set({ cells: [
            { name: 'In [4]', label: 'a', started: 1.7637e9, ended: 1.7637e9 + first },
            { name: 'In [5]', label: 'b', started: 1.7637e9 + first, ended: 1.7637e9 + second },
        ] })""",
        [first / 1000, (first + second) / 1000],
    )
    show(page, LATE)
    assert [text for text in texts(page) if text.startswith("In")] == [named]


def test_notes_are_shown_under_the_chart(page):
    expect(page.locator(".rbt-note")).to_be_hidden()
    expect(page.locator(".rbt-clocks")).to_be_hidden()
    show(
        page,
        "model.set({ note: 'Before 2025-11-21T04:40:00Z one collective in 4 is shown.',"
        "clocks: [{ host: 'node-b', offset: -0.0013, error: 0.0004 }] })",
    )
    time = call(page, "t.clock(Date.UTC(2025, 10, 21, 4, 40) / 1000)")  # as the axis says it
    expect(page.get_by_text(f"Before {time} one collective in 4 is shown.")).to_be_visible()
    expect(
        page.get_by_text("Clocks: node-b \N{MINUS SIGN}1.3 ms ± 400 µs (corrected)")
    ).to_be_visible()
