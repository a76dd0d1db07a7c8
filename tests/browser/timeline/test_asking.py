"""Asking the timeline by pointer and keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from timeline_page import (
    LATE,
    button,
    chart,
    extent,
    point,
    point_at,
    set_lanes,
    show,
    texts,
    tip,
    violations,
)

pytestmark = pytest.mark.browser


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


def test_a_bar_names_the_line_that_called_it_and_else_its_cell(page):
    page.evaluate(
        "model.set({ cells: [{ name: 'In [4]', label: 'train()', started: 1.7637e9 - 1 }] })"
    )
    show(page, LATE)
    point_at(page, 3)
    expect(tip(page).locator("> *").last).to_have_text("In [4] train()")
    show(page, LATE.replace("op: 0", "op: 0, where: 1").replace("}))", "}), { reset: true })"))
    point_at(page, 3)
    expect(tip(page).locator("> *").last).to_have_text("train.py:6 in step")


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
def test_hosts_are_distinguished_with_few_and_many_lanes(page, lanes):
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
