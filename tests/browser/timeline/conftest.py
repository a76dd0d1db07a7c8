"""The timeline's page side, in a real Chromium: no Jupyter, a model that the test speaks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from timeline_page import set_lanes, set_theme

import rankbook.widgets
from rankbook.widgets.timeline import TimelineView

PAGE = Path(__file__).with_name("page.html")
MODULES = Path(rankbook.widgets.__file__).parent / "page"
ORIGIN = "http://timeline.test"
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


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
