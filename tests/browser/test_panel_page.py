"""The dashboard's HTML and its style sheet in a page, without a kernel: what is in sight."""

from __future__ import annotations

from dataclasses import replace

import pytest
from playwright.sync_api import expect
from samples import GPU, HUNG, member, snapshot, with_gpu

from rankbook.display.dashboard.panel import Panel, to_html
from rankbook.widgets.panel import PanelView

pytestmark = pytest.mark.browser

HOST = "ip-10-0-12-101.us-west-2.compute.internal"
LARGE = replace(GPU, name="NVIDIA RTX 6000 Ada Generation")


@pytest.fixture
def show(browser):
    """Shows a snapshot in a panel of so many pixels."""
    page = browser.new_page()

    def show(shown, width=1100):
        # A page has a margin of 8 on either side.
        page.set_viewport_size({"width": width + 16, "height": 900})
        panel = to_html(Panel(shown))
        style = PanelView._css
        page.set_content(
            f'<!doctype html><style>{style}</style><div class="rankbook">{panel}</div>'
        )
        return page

    yield show
    page.close()


def eight(**facts):
    """Eight ranks on GPUs of a cloud."""
    return [
        with_gpu(
            member(rank, world_size=8, host=HOST, memory_total=2_000_000_000_000, **facts), LARGE
        )
        for rank in range(8)
    ]


def box(page, selector):
    return page.locator(selector).first.bounding_box()


def right(page, selector):
    its = box(page, selector)
    return its["x"] + its["width"]


# -- the header ------------------------------------------------------------------------------


def test_the_headline_breaks_between_its_phrases(show):
    states = ["gone", "no answer", "waiting", "running", "idle", "idle"]
    page = show(snapshot(*(member(rank, state) for rank, state in enumerate(states))), 600)
    phrases = [its.bounding_box() for its in page.locator(".rb-words span").all()]
    assert len({its["y"] for its in phrases}) > 1
    assert len({its["height"] for its in phrases}) == 1


# -- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "last"), [(600, "td.rb-gpu .rb-bar"), (1100, "td.rb-details summary")]
)
def test_columns_that_differ_between_ranks_are_visible_without_scrolling(show, width, last):
    line = "line 214: loss = trainer.training_step(model, batch, optimizer=optimizer)"
    page = show(snapshot(*eight(state="waiting", call="all_reduce", line=line, since=12)), width)
    assert right(page, last) <= right(page, ".rb-panel > .rb-scroll")


@pytest.mark.parametrize("width", [465, 520])
def test_the_details_of_a_rank_are_visible_in_a_narrow_panel(show, width):
    line = "In [2] line 5: time.sleep(0.1 + 0.05 * (rank == 1))"
    facts = {"pid": 41_900, "line": line, "memory_total": 25_300_000_000}
    ranks = [member(rank, "running", 4, **facts) for rank in range(4)]
    scroll = show(snapshot(*ranks), width).locator(".rb-panel > .rb-scroll")
    assert scroll.evaluate("(it) => it.scrollWidth <= it.clientWidth")


def test_a_state_takes_no_more_room_than_it_needs(show):
    page = show(snapshot(*eight()), 420)  # else there is room to spare
    assert box(page, "td.rb-state")["width"] < 2 * box(page, "td.rb-state .rb-pill")["width"]


def test_a_collective_on_its_own_line_is_aligned_with_the_state(show):
    call = "_reduce_scatter_base_of_all_the_parameters"
    page = show(snapshot(*eight(state="waiting", call=call, line="line 2: f(x)")), 600)
    state, does = box(page, "td.rb-state .rb-pill"), box(page, "td.rb-state .rb-does")
    assert does["y"] > state["y"]
    assert does["x"] == state["x"]


def test_an_edge_with_hidden_content_beyond_it_is_shaded(show):
    """Until it is scrolled to: then the cover that moves with the rows lies on the shadow."""
    page = show(snapshot(*eight()), 300)

    def edge():
        its = box(page, ".rb-panel > .rb-scroll")
        clip = {"x": its["x"] + its["width"] - 6, "y": its["y"] + 4, "width": 3, "height": 4}
        return page.screenshot(clip=clip)

    shaded = edge()
    page.locator(".rb-panel > .rb-scroll").evaluate("(it) => it.scrollTo(1000, 0)")
    plain = edge()
    page.locator(".rb-panel > .rb-scroll").evaluate("(it) => { it.style.background = 'none'; }")
    assert plain == edge() != shaded


# -- errors ----------------------------------------------------------------------------------

ERROR = "ValueError: " + "x" * 200 + "\nsecond line"
LIVE = """async ([script, html]) => {
    const { default: widget } = await import("data:text/javascript," + encodeURIComponent(script));
    const el = document.querySelector(".rankbook");
    el.replaceChildren();
    const ears = [];
    window.sent = [];
    window.hear = (news) => ears.forEach((ear) => ear(news));
    const on = (event, act) => {
        if (event === "change:html") window.draw = act;
        if (event === "msg:custom") ears.push(act);
    };
    const model = { get: () => html, send: (news) => sent.push(news), off() {}, on };
    widget.render({ model, el });
    window.show = (news) => { html = news; window.draw(); };
}"""


def failed(count, **facts):
    return snapshot(*(member(r, world_size=count, last_error=ERROR, **facts) for r in range(count)))


@pytest.mark.parametrize("count", [2, 17, 129])
def test_a_key_opens_the_whole_error_and_it_stays_open(show, count):
    page = show(failed(count))
    page.evaluate(LIVE, [str(PanelView._esm), to_html(Panel(failed(count)))])
    whole = page.locator(".rb-whole").first
    expect(whole).to_be_hidden()
    page.locator(".rb-error summary, .rb-tile summary").first.press("Enter")
    page.evaluate("(html) => show(html)", to_html(Panel(failed(count, memory=300_000_000))))
    expect(page.locator(".rankbook")).to_contain_text("300 MB")
    expect(whole).to_be_visible()
    assert whole.inner_text() == ERROR


@pytest.mark.parametrize(
    ("count", "begins"), [(2, ".rb-error summary span"), (17, ".rb-tile summary .rb-does")]
)
def test_an_open_error_does_not_repeat_its_beginning(show, count, begins):
    page = show(failed(count))
    assert box(page, begins)["width"] > 50
    page.locator(".rb-error summary, .rb-tile summary").first.click()
    its = box(page, begins)
    assert its is None or its["width"] <= 1


# -- the form --------------------------------------------------------------------------------


def test_enter_in_a_field_initialises_the_group(show):
    page = show(HUNG)
    page.evaluate(LIVE, [str(PanelView._esm), to_html(Panel(HUNG))])
    page.locator(".rb-setup > summary").click()
    page.get_by_label("Ranks").fill("3")
    page.get_by_label("Ranks").press("Enter")
    [asked] = page.evaluate("sent.filter(({ kind }) => kind === 'ask')")
    page.evaluate("(id) => hear({ kind: 'heard', id })", asked["id"])
    click = page.evaluate("sent.at(-1)")
    assert (click["do"], click["form"]["nproc"]) == ("initialise", "3")


# -- the verdict -----------------------------------------------------------------------------


def test_the_sentence_of_a_verdict_has_the_width_of_the_panel(show):
    page = show(HUNG)
    assert box(page, ".rb-verdict caption")["width"] == box(page, ".rb-verdict .rb-scroll")["width"]
    assert box(page, ".rb-verdict td")["width"] < 80


@pytest.mark.parametrize("width", [380, 520])
def test_a_whole_verdict_is_visible_in_a_narrow_panel(show, width):
    call = "dist.all_reduce(a_rather_long_variable_name_for_the_gradients, op=dist.ReduceOp.SUM)"
    said = replace(
        HUNG.verdict,
        summary=f"Rank 2 never called all_reduce, in which ranks 0-1 wait (line 3: {call}).",
        per_rank={0: f"waits in all_reduce (line 3: {call})", 2: "is idle"},
    )
    page = show(replace(HUNG, verdict=said), width)
    scroll = page.locator(".rb-verdict .rb-scroll")
    assert scroll.evaluate("(it) => it.scrollWidth <= it.clientWidth")
