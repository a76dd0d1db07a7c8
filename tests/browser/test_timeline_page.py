"""The timeline's page side, in a real Chromium: no Jupyter, a model that the test speaks for."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import rankbook.widgets
from rankbook.widgets.timeline import TimelineView

pytestmark = pytest.mark.browser

PAGE = Path(__file__).with_name("timeline_page.html")
MODULES = Path(rankbook.widgets.__file__).parent / "page"
ORIGIN = "http://timeline.test"
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
THEMES = {
    "light": "--jp-layout-color1: #fff; --jp-content-font-color1: rgba(0,0,0,.87);"
    "--jp-border-color2: #e0e0e0; --jp-brand-color1: #1976d2",
    "dark": "--jp-layout-color1: #212121; --jp-content-font-color1: #fff;"
    "--jp-border-color2: #424242; --jp-brand-color1: #2196f3",
    "no": "",
}
T = 1_763_700_000.0

# One collective of four ranks: rank 3 begins 50 ms late, 50 ms later all are done.
LATE = "send(collective(1.7637e9, [0, 0.01, 0.02, 0.05], 0.05, { op: 0, bytes: 4.2e6 }))"


def serve(route):
    name = route.request.url.removeprefix(ORIGIN).lstrip("/")
    path = MODULES / name if name else PAGE
    # Of the timeline the page gets what pages of notebooks get.
    body = TimelineView._esm if name == "timeline.js" else path.read_text()
    route.fulfill(body=body, content_type=f"{TYPES[path.suffix[1:]]}; charset=utf-8")


@pytest.fixture(scope="module")
def tab(browser):
    """A tab that knows where the widget is; and what went wrong in it."""
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.route(f"{ORIGIN}/**", serve)
    yield page, errors
    page.close()


@pytest.fixture
def page(tab):
    """The widget with four lanes and no data; nothing may be printed or raised in the page."""
    page, errors = tab
    errors.clear()
    page.mouse.move(0, 0)
    page.goto(ORIGIN)
    page.wait_for_function("window.ready")
    set_theme(page, "light")
    set_lanes(page, 4)
    yield page
    assert errors == []


def set_theme(page, theme):
    """Change the theme as JupyterLab does: other values of its variables."""
    page.evaluate("(style) => document.documentElement.setAttribute('style', style)", THEMES[theme])


def set_lanes(page, n):
    page.evaluate(
        "(lanes) => model.set({ lanes })", [{"rank": rank, "host": "a"} for rank in range(n)]
    )


def show(page, script):
    """Send the widget something, and wait until it is painted."""
    page.evaluate(f"async () => {{ {script}; await nextFrame(); }}")


def texts(page):
    """What is written in the picture."""
    return page.evaluate("texts()")


def extent(page, lane, family="all_reduce"):
    """From where to where bars of a colour lie in a lane, in pixels."""
    page.evaluate("nextFrame()")
    return page.evaluate("([lane, family]) => extent(lane, family)", [lane, family])


def width(page, lane=0):
    x0, x1 = extent(page, lane)
    return x1 - x0


def button(page, name):
    return page.locator("#first").get_by_role("button", name=name, exact=True)


def chart(page):
    return page.locator("#first canvas")


def tip(page):
    return page.locator("#first .rbt-tip:visible")


def point(page, x, lane):
    """Move the pointer to a lane."""
    box = chart(page).bounding_box()
    height = page.evaluate("timeline.laneHeight(model.get('lanes').length)")
    page.mouse.move(box["x"] + x, box["y"] + 24 + (lane + 0.5) * height)


def point_at(page, lane, family="all_reduce"):
    """Move the pointer to the middle of the bars of a colour; gives that, in pixels."""
    middle = sum(extent(page, lane, family)) / 2
    point(page, middle, lane)
    return middle


def is_pressed(page, name):
    return button(page, name).get_attribute("aria-pressed") == "true"


def violations(page):
    page.evaluate("nextFrame()")
    return [v["id"] for v in Axe().run(page).response["violations"]]


# -- what it shows ---------------------------------------------------------------------------


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
        { number: 4, label: 'loss.backward()', started: 1.7637e9 - 0.01, ended: 1.7637e9 + 0.2 },
        { number: 5, label: 'evaluate()', started: 1.7637e9 + 0.3, ended: null },
    ]"""
    show(page, f"model.set({{ cells: {cells} }}); {LATE}")
    button(page, "Fit").click()
    page.evaluate("nextFrame()")
    assert {"In [4]", "In [5]"} <= set(texts(page))
    point(page, 200, -1)  # above the first
    expect(tip(page)).to_contain_text("In [4] loss.backward()")
    expect(tip(page)).to_contain_text("took 210 ms")


def test_cells_run_by_a_program_are_marked(page):
    cells = "[{ number: 0, label: 'evaluate()', started: 1.7637e9 - 0.01, ended: 1.7637e9 + 0.2 }]"
    show(page, f"model.set({{ cells: {cells} }}); {LATE}")
    assert "run" in texts(page)
    point(page, 200, -1)
    expect(tip(page)).to_contain_text("run evaluate()")


@pytest.mark.parametrize(("first", "second", "named"), [(1, 90, "In [5]"), (2, 1, "In [4]")])
def test_the_longer_of_two_cells_with_colliding_labels_is_named(page, first, second, named):
    page.evaluate(
        """([first, second]) => model.set({ cells: [
            { number: 4, label: 'a', started: 1.7637e9, ended: 1.7637e9 + first },
            { number: 5, label: 'b', started: 1.7637e9 + first, ended: 1.7637e9 + second },
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


def test_the_page_asks_for_messages_that_were_lost(page):
    """A server drops messages when there are too many: the next one tells."""
    show(page, LATE)
    second = "collective(1.7637e9 + 0.2, [0, 0, 0, 0], 0.05, { seq: 2, op: 1 })"
    third = "collective(1.7637e9 + 0.4, [0, 0, 0, 0], 0.05, { seq: 3 })"
    asked = page.evaluate("model.sent.length")
    show(page, f"send({second}, {{ lost: true }})")
    began = page.evaluate("performance.now()")
    show(page, f"for (let i = 0; i < 9; i++) send({third}.slice(i, i + 1))")
    expect(page.locator(".rbt-count")).to_have_text("4 ranks · 1 collective")
    page.wait_for_function("(n) => model.sent.length > n", arg=asked)
    show(page, f"send([...{LATE[5:-1]}, ...{second}, ...{third}], {{ reset: true }})")
    expect(page.locator(".rbt-count")).to_have_text("4 ranks · 3 collectives")
    # What follows continues that; nothing more is asked for.
    show(page, "send(collective(1.7637e9 + 0.6, [0, 0, 0, 0], 0.05, { seq: 4 }))")
    expect(page.locator(".rbt-count")).to_have_text("4 ranks · 4 collectives")
    page.wait_for_function("(began) => performance.now() > began + 2500", arg=began)
    assert page.evaluate("model.sent.slice(1)") == [{"kind": "hello"}]


def test_settled_bars_end_open_ones_when_the_message_about_those_was_lost(page):
    flying = "[{ rank: 0, start: Date.now() / 1000 - 0.2, late: NaN, seq: 2 }]"
    show(page, f"{LATE}; send({flying}, {{ kind: 'open' }})")
    show(page, f"send([], {{ kind: 'open', lost: true }}); {LATE}")
    page.wait_for_function("model.sent.length > 1")
    show(page, f"{LATE[:-1]}, {{ reset: true }}); send([], {{ kind: 'open' }})")
    expect(page.locator(".rbt-flying")).to_be_empty()


@pytest.mark.parametrize("lost", ["lost: true", "reset: true, lost: true"])
def test_a_message_about_open_bars_reveals_that_another_was_lost(page, lost):
    show(page, LATE)
    show(page, f"{LATE[:-1]}, {{ {lost} }})")
    show(page, "send([], { kind: 'open' })")
    page.wait_for_function("model.sent.length > 1")
    assert page.evaluate("model.sent.at(-1)") == {"kind": "hello"}


def pauses(page, kind, meanwhile=""):
    """Milliseconds between the first messages of a kind, of a new widget.

    Args:
        page: Shows the timeline.
        kind: Of the messages.
        meanwhile: JavaScript that is run once a frame.
    """
    times = page.evaluate(
        f"""async (kind) => {{
            const [times, {{ send: real }}] = [[], model];
            model.send = (content) => {{
                if (content.kind === kind) times.push(performance.now());
                real.call(model, content);
            }};
            endModel();
            widget.initialize({{ model }});
            while (times.length < 3) {{
                {meanwhile}
                await nextFrame();
            }}
            return times;
        }}""",
        kind,
    )
    return [b - a for a, b in itertools.pairwise(times)]


def test_the_page_asks_less_often_after_each_question_in_vain(page):
    show(page, LATE)
    show(page, f"{LATE[:-1]}, {{ lost: true }})")
    first, second = pauses(page, "hello", meanwhile="send([], { kind: 'open' });")
    assert first > 950
    assert second > 1950


def test_the_page_asks_for_a_sign_until_it_receives_something(page):
    show(page, LATE)
    assert [asked["kind"] for asked in page.evaluate("model.asked")] == ["hearing"]
    first, second = pauses(page, "hearing")
    assert first > 950
    assert second > 1950
    assert len({asked["page"] for asked in page.evaluate("model.asked.slice(1)")}) == 1
    listeners = page.evaluate("model.listeners.length")
    page.evaluate("model.emit('msg:custom', { kind: 'heard you' }, [])")
    assert page.evaluate("model.listeners.length") == listeners - 1


# -- asking it -------------------------------------------------------------------------------


def test_pointing_at_a_bar_describes_it(page):
    show(page, LATE)
    point_at(page, 3)
    expect(tip(page).locator("> *")).to_have_text(
        [
            "all_reduce on rank 3",
            "number 1 of group 0, generation 1",
            "4.2 MB",
            "took 50 ms",
            "last of 4, 50 ms after the first, rank 0",
        ]
    )
    point_at(page, 0)
    expect(tip(page)).to_contain_text("first of 4")
    expect(tip(page)).to_contain_text("waited 50 ms for the last, rank 3")
    page.mouse.move(5, 5)
    expect(tip(page)).to_be_hidden()


def test_lateness_between_hosts_is_as_exact_as_their_clocks(page):
    page.evaluate(
        "model.set({ lanes: [0, 1, 2, 3].map((rank) => ({ rank, host: rank < 2 ? 'a' : 'b' })),"
        "clocks: [{ host: 'b', offset: 0.5, error: 0.002 }] })"
    )
    show(page, LATE)
    point_at(page, 3)
    expect(tip(page)).to_contain_text("all_reduce on rank 3 (b)")
    expect(tip(page)).to_contain_text("last of 4, 50 ms ± 2 ms after the first, rank 0")
    point_at(page, 1)
    expect(tip(page)).to_contain_text("10 ms after the first, rank 0")


def test_the_clock_error_of_hosts_outside_the_collective_does_not_count(page):
    page.evaluate(
        "model.set({ lanes: [...'aabc'].map((host, rank) => ({ rank, host })),"
        "clocks: [{ host: 'b', offset: 1, error: 0.02 }, { host: 'c', offset: 1, error: 0.03 }] })"
    )
    show(page, "send(collective(1.7637e9, [0, 0.04], 0.05))")
    assert "+40 ms" in texts(page)  # on one host
    show(page, "send(collective(1.7637e9, [0, 0.04, 0, 0], 0.05), { reset: true })")
    assert "+40 ms" not in texts(page)
    show(page, "send(collective(1.7637e9, [0, 0.04, 0], 0.05), { reset: true })")
    assert "+40 ms" in texts(page)
    show(page, "send(collective(1.7637e9, [0.01, 0.01, 0, 0.06], 0.05), { reset: true })")
    point_at(page, 3)
    expect(tip(page)).to_contain_text("last of 4, 60 ms ± 50 ms after the first, rank 2")
    point_at(page, 0)
    expect(tip(page)).to_contain_text("10 ms ± 20 ms after the first, rank 2")


def test_clocks_that_are_compared_later_apply_to_bars_already_drawn(page):
    page.evaluate(
        "model.set({ lanes: [0, 1, 2, 3].map((rank) => ({ rank, host: rank < 2 ? 'a' : 'b' })) })"
    )
    show(page, LATE)
    assert "+50 ms" in texts(page)
    page.evaluate("model.set({ clocks: [{ host: 'b', offset: 1, error: 0.06 }] })")
    assert "+50 ms" not in texts(page)
    page.evaluate("model.set({ clocks: [{ host: 'b', offset: 1, error: 0.01 }] })")
    assert "+50 ms" in texts(page)


AWS = "ip-10-0-12-%d.us-west-2.compute.internal"


@pytest.mark.parametrize("lanes", [8, 16, 64, 130])
def test_hosts_are_told_apart_with_few_and_many_lanes(page, lanes):
    hosts = [AWS % (101 + rank // 8) for rank in range(lanes)]
    lane_of = [{"rank": rank, "host": host} for rank, host in enumerate(hosts)]
    lane_of[1]["host"] = AWS % 199 if lanes == 8 else hosts[1]
    page.evaluate("(lanes) => model.set({ lanes })", lane_of)
    show(page, f"send(training(3, {lanes}))")
    named = [text for text in texts(page) if text.endswith(("101", "102", "108", "199"))]
    assert named == {
        8: ["ip-10-0-12-101", "ip-10-0-12-199", *["ip-10-0-12-101"] * 6],
        16: ["\N{HORIZONTAL ELLIPSIS}101", "\N{HORIZONTAL ELLIPSIS}102"],
    }.get(lanes, [f"\N{HORIZONTAL ELLIPSIS}{number}" for number in (101, 102, 108)])


def test_a_rank_on_an_unknown_host_does_not_count_as_on_another_host(page):
    show(page, LATE)
    labels, heights = texts(page), chart(page).bounding_box()
    page.evaluate(
        "model.set({ lanes: [0, 1, 2, 3].map((rank) => ({ rank, host: rank === 2 ? '' : 'a' })) })"
    )
    assert texts(page) == labels
    assert chart(page).bounding_box() == heights


def test_bars_may_arrive_in_any_order(page):
    show(page, "send(collective(1.7637e9 + 0.2, [0, 0.01, 0, 0], 0.05, { seq: 2, op: 1 }))")
    show(page, LATE.replace("send(", "send([...").replace("))", ")].reverse())"))
    chart(page).focus()
    said = page.locator("#first [role=status]")
    for number in (2, 1):
        page.keyboard.press("[")
        expect(said).to_contain_text(f"number {number} of group 0")
    assert extent(page, 3)[1] < extent(page, 3, "broadcast")[0]


def test_pointing_at_a_bar_marks_its_collective_on_the_other_ranks(page):
    show(page, LATE)
    lane = "pixels(0, 24 + 60, 1000, 30).join()"  # of rank 2
    before = page.evaluate(lane)
    point_at(page, 0)
    expect(tip(page)).to_be_visible()
    page.evaluate("nextFrame()")
    assert page.evaluate(lane) != before


def test_the_keyboard_reaches_and_announces_every_bar(page):
    show(
        page,
        LATE + "; send(collective(1.7637e9 + 0.2, [0, 0, 0, 0], 0.05, { seq: 2, op: 1 }))",
    )
    said = page.locator("#first [role=status]")
    page.keyboard.press("Tab")
    while not page.evaluate("document.activeElement.matches('canvas')"):
        page.keyboard.press("Tab")
    # JupyterLab leaves the keys to what has focus only if that says so itself.
    expect(page.locator("#first :focus")).to_have_attribute("data-lm-suppress-shortcuts", "true")
    page.keyboard.press("]")
    expect(said).to_contain_text("all_reduce on rank 0, number 1 of group 0")
    expect(tip(page)).to_contain_text("all_reduce on rank 0")
    page.keyboard.press("]")
    expect(said).to_contain_text("broadcast on rank 0, number 2")
    page.keyboard.press("]")  # there is no more
    expect(said).to_contain_text("broadcast on rank 0, number 2")
    page.keyboard.press("ArrowDown")
    expect(said).to_contain_text("broadcast on rank 1, number 2")
    page.keyboard.press("[")
    expect(said).to_contain_text("all_reduce on rank 1, number 1")
    page.keyboard.press("Alt+]")  # as a keyboard says it that has brackets on a third level
    expect(said).to_contain_text("broadcast on rank 1, number 2")
    page.keyboard.press("Escape")
    expect(tip(page)).to_be_hidden()


def test_escape_closes_a_tip_wherever_the_focus_is(page):
    show(page, LATE)
    button(page, "Fit").focus()
    x = point_at(page, 0)
    expect(tip(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(tip(page)).to_be_hidden()
    point(page, x + 20, 0)
    expect(tip(page)).to_be_visible()


@pytest.mark.parametrize("size", [(1000, 700), (500, 260)])
def test_the_help_on_keys_is_shown_on_request_and_takes_no_room(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    show(page, LATE + "; model.set({ note: 'Something is not shown. '.repeat(5) })")
    height = page.locator("#first").bounding_box()["height"]
    below = page.locator(".rbt-note").bounding_box()
    assert below["y"] + below["height"] > height - 12  # nothing is left free
    keys = page.locator("#first .rbt-keys")
    expect(keys).to_be_hidden()
    button(page, "Keys").focus()
    page.keyboard.press("Enter")
    expect(keys).to_contain_text("the collective before, the next one")
    box = keys.bounding_box()
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= size[0]
    assert box["y"] + box["height"] <= size[1]
    assert all(cell.bounding_box()["height"] < 30 for cell in keys.locator("dd").all())
    assert violations(page) == []
    assert page.locator("#first").bounding_box()["height"] == height
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.set_viewport_size({"width": 1000, "height": 700})


def test_the_keyboard_reaches_every_bar_that_begins_at_the_same_time(page):
    set_lanes(page, 1)
    bar = "([seq, late]) => collective(1.7637e9 + late, [0], 0.1, { seq })"
    show(page, f"send([[1, 0], [2, 0], [3, 0.2]].flatMap({bar}))")
    chart(page).focus()
    for key, number in [("]", 1), ("]", 2), ("]", 3), ("]", 3), ("[", 2), ("[", 1)]:
        page.keyboard.press(key)
        said = page.locator("#first [role=status]")
        expect(said).to_contain_text(f"number {number} of group 0")


# -- moving about ----------------------------------------------------------------------------


def test_the_chart_follows_the_newest_bars_until_it_is_moved(page):
    show(page, LATE)
    assert is_pressed(page, "Latest")
    chart(page).focus()
    page.keyboard.press("ArrowLeft")
    assert not is_pressed(page, "Latest")
    moved = extent(page, 3)
    show(page, "send(collective(1.7637e9 + 0.2, [0, 0, 0, 0], 0.05, { seq: 2, op: 1 }))")
    assert extent(page, 3) == moved
    page.keyboard.press("End")
    assert is_pressed(page, "Latest")
    assert extent(page, 3)[1] < moved[1]
    assert extent(page, 3, "broadcast")[1] == pytest.approx(1000 - 24 - 28 - 2 - 16, abs=4)


def test_the_newest_bars_are_visible_however_many_there_are(page):
    show(page, "send(training(5000, 4))")
    assert width(page) > 700
    assert max(texts(page), key=len)
    chart(page).focus()
    page.keyboard.press("]")
    number = int(page.locator("#first [role=status]").inner_text().split("number ")[1].split()[0])
    assert number > 5000 - 200


TWO_CELLS = """model.set({ cells: [
    { number: 4, label: 'train()', started: 1.7637e9 - 0.01, ended: 1.7637e9 + 0.2 },
    { number: 5, label: 'evaluate()', started: 1.7637e9 + 0.3, ended: 1.7637e9 + 0.5 },
    { number: 6, label: 'plot()', started: 1.7637e9 + 40, ended: 1.7637e9 + 41 },
] });
send(collective(1.7637e9 + 0.35, [0, 0, 0, 0], 0.1, { seq: 2, op: 1 }))"""


def test_latest_is_the_last_cell_in_which_something_was_called(page):
    show(page, f"{LATE}; {TWO_CELLS}")
    assert "In [5]" in texts(page)
    assert not {"In [4]", "In [6]"} & set(texts(page))
    first, last = extent(page, 0, "broadcast")
    assert first > 84  # all of its bar
    assert last - first > 300  # and what ran since takes no room
    button(page, "Fit").click()
    page.evaluate("nextFrame()")
    assert {"In [4]", "In [5]"} <= set(texts(page))
    button(page, "Latest").click()
    page.evaluate("nextFrame()")
    assert "In [4]" not in texts(page)


def test_a_click_on_the_name_of_a_cell_shows_all_of_that_cell(page):
    show(page, f"{LATE}; {TWO_CELLS}")
    button(page, "Fit").click()
    page.evaluate("nextFrame()")
    box = chart(page).bounding_box()
    page.mouse.click(box["x"] + 120, box["y"] + 10)
    page.evaluate("nextFrame()")
    assert "In [4]" in texts(page)
    assert "In [5]" not in texts(page)
    assert not is_pressed(page, "Latest")
    left, right = extent(page, 0)
    assert right - left > 300
    expect(page.locator("#first [role=status]")).to_contain_text("In [4] train(), began at")


def test_page_up_and_down_show_the_cell_before_and_after(page):
    show(page, f"{LATE}; {TWO_CELLS}")
    chart(page).focus()
    said = page.locator("#first [role=status]")
    for key, cell in (("PageUp", 6), ("PageUp", 5), ("PageUp", 4), ("PageUp", 4), ("PageDown", 5)):
        page.keyboard.press(key)
        expect(said).to_contain_text(f"In [{cell}]")
        page.evaluate("nextFrame()")
        assert f"In [{cell}]" in texts(page)


def test_buttons_zoom_and_fit_the_chart(page):
    show(page, LATE)
    fitted = width(page)
    button(page, "Zoom out").click()
    assert width(page) == pytest.approx(fitted / 1.6, abs=2)
    assert is_pressed(page, "Latest")
    button(page, "Zoom in").click()
    assert width(page) == pytest.approx(fitted, abs=2)
    button(page, "Zoom out").click()
    button(page, "Fit").click()
    assert width(page) == pytest.approx(fitted, abs=2)
    assert not is_pressed(page, "Latest")
    chart(page).focus()
    page.keyboard.press("-")
    assert width(page) < fitted / 1.3
    page.keyboard.press("0")
    assert width(page) == pytest.approx(fitted, abs=2)


def test_a_drag_pans_the_chart(page):
    show(page, LATE)
    before = extent(page, 3)
    x = point_at(page, 3)
    page.mouse.down()
    point(page, x - 60, 3)
    point(page, x - 100, 1)
    page.mouse.up()
    assert extent(page, 3)[0] == pytest.approx(before[0] - 100, abs=2)
    assert not is_pressed(page, "Latest")


def test_the_wheel_scrolls_the_page_except_with_ctrl_or_sideways(page):
    show(page, LATE)
    before = extent(page, 3)
    x = point_at(page, 3)
    page.keyboard.down("Control")
    page.mouse.wheel(0, 30)
    page.keyboard.up("Control")
    page.wait_for_function(
        "(w) => { const [a, b] = extent(3, 'all_reduce'); return b - a < w - 9; }",
        arg=before[1] - before[0],
    )
    after = extent(page, 3)
    assert (after[0] + after[1]) / 2 == pytest.approx(x, abs=3)  # under the pointer
    page.mouse.wheel(40, 0)
    page.wait_for_function("(x) => Math.abs(extent(3, 'all_reduce')[0] - x) < 3", arg=after[0] - 40)
    assert page.evaluate("scrollY") == 0
    page.mouse.wheel(0, 200)
    page.wait_for_function("scrollY > 100")
    assert width(page, 3) == pytest.approx(after[1] - after[0], abs=4)  # it is outlined now


# -- many of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [2, 8, 64, 130])
def test_lanes_and_labels_are_readable(page, lanes):
    set_lanes(page, lanes)
    show(page, f"send(training(20, {lanes}))")
    labels = [text for text in texts(page) if text.startswith("rank ")]
    every = {64: 8, 130: 16}.get(lanes, 1)
    assert labels == [f"rank {rank}" for rank in range(0, min(lanes, 128), every)]
    assert chart(page).bounding_box()["height"] == {2: 106, 8: 286, 64: 430, 130: 566}[lanes]


def test_views_share_the_data_and_leave_nothing(page):
    show(page, LATE)
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def kept():
        for _ in range(2):  # what one collection frees may have kept something
            client.send("HeapProfiler.collectGarbage")
            page.evaluate("nextFrame()")
        metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
        return metrics["JSEventListeners"], metrics["Nodes"]

    before = kept()
    for _ in range(5):
        show(page, "render('second')")
        # Asked without a locator: playwright keeps the element that it looked at last.
        words = page.evaluate("document.querySelector('#second .rbt-count').textContent")
        assert words == "4 ranks · 1 collective"
        show(page, "ends.second(); delete ends.second")
        assert page.evaluate("second.innerHTML") == ""
    assert kept() == before
    assert page.evaluate("model.sent.length") == 1
    page.evaluate("ends.first(); endModel()")
    assert page.evaluate("model.listeners") == []


def test_memory_stays_flat_over_many_messages(page):
    client = page.context.new_cdp_session(page)
    update = "send(training(500, 4), { reset: true }); send([], { kind: 'open' })"

    def used():
        show(page, f"for (let i = 0; i < 40; i++) {{ {update}; await nextFrame(); }}")
        client.send("HeapProfiler.collectGarbage")
        return client.send("Runtime.getHeapUsage")

    used()
    first, last = used(), used()
    for part in ("usedSize", "backingStorageSize"):
        assert last[part] - first[part] < 300_000


def test_the_chart_moves_fluently_over_ten_thousand_collectives_of_eight_ranks(page):
    set_lanes(page, 8)
    show(page, "send(training(10_000, 8), { reset: true })")
    button(page, "Fit").click()
    measure = """async () => {
        const real = window.requestAnimationFrame;
        const canvas = document.querySelector('#first canvas');
        const press = (key) => canvas.dispatchEvent(new KeyboardEvent('keydown', { key }));
        const [work, intervals] = [[], []];
        window.requestAnimationFrame = (act) => real((time) => {
            const began = performance.now();
            act(time);
            work.push(performance.now() - began);
        });
        for (let i = 0, last = null; i < 40; i++) {
            press(i % 10 === 0 ? '+' : i % 2 ? 'ArrowLeft' : 'ArrowRight');
            const time = await new Promise(real);
            if (last !== null) intervals.push(time - last);
            last = time;
        }
        window.requestAnimationFrame = real;
        const median = (all) => all.sort((a, b) => a - b)[all.length >> 1];
        return [median(work), median(intervals)];
    }"""
    tries = [page.evaluate(measure) for _ in range(3)]
    work, interval = min(tries)
    print(f"a frame takes {work:.1f} ms of work; one every {interval:.1f} ms")  # noqa: T201
    assert work < 33


# -- accessibility ---------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_no_accessibility_fault(page, theme):
    set_theme(page, theme)
    assert violations(page) == []
    open_bar = "{ rank: 0, start: Date.now() / 1e3 - 1000, late: NaN, seq: 2 }"
    note = "model.set({ note: 'Of 4 collectives 1 is shown.' })"
    show(page, f"{LATE}; send([{open_bar}], {{ kind: 'open' }}); {note}")
    point(page, 700, 0)
    expect(tip(page)).to_be_visible()
    assert violations(page) == []


def test_a_change_of_theme_is_followed_at_once(page):
    show(page, LATE)
    light = page.locator("#first li span").first.evaluate("(e) => e.style.color")
    set_theme(page, "dark")
    swatch = page.locator("#first li span").first
    expect(swatch).not_to_have_css("color", light)
    assert width(page) > 800  # painted in the new colour


# -- its plain functions ---------------------------------------------------------------------


def call(page, expression):
    return page.evaluate(f"() => {{ const t = timeline; return {expression}; }}")


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
        bars.append({ reset: true, ops: ['all_reduce'], groups: ['0'], count: n + 1 }, [
            column(Float64Array, (i) => i), column(Float32Array, (i) => (i < n ? 0.5 : 100)),
            column(Float32Array, () => NaN), column(Int32Array, () => 0),
            column(Int32Array, () => 0), column(Int32Array, () => 0),
            column(Float64Array, () => 0), column(Int32Array, (i) => i + 1),
            column(Int32Array, () => 1), column(Int32Array, () => 0),
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
            bars.append({ reset: true, ops: ['all_reduce'], groups, count: 1 }, [
                Float64Array.of(5), Float32Array.of(1), Float32Array.of(0), Int32Array.of(0),
                Int32Array.of(0), Int32Array.of(group), Float64Array.of(0), Int32Array.of(7),
                Int32Array.of(1), Int32Array.of(0),
            ]);
            return bars;
        };
        const settled = make(['0', '1'], 1);
        return [[['1'], 0], [['0'], 0], [['2', '1'], 1], [['9'], 0]].map(
            ([groups, group]) => settled.peers(make(groups, group), 0));
    })()"""
    assert call(page, peers) == [[0], [], [0], []]
