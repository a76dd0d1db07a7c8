"""Messages to the timeline that were lost."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import expect
from timeline_page import LATE, show

pytestmark = pytest.mark.browser


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
