"""The timeline for those who do not see it, and its themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from timeline_page import LATE, THEMES, point, set_theme, show, tip, violations, width

pytestmark = pytest.mark.browser


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
