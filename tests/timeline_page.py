"""The timeline in a page: what is sent to it, and what is read of it."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

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


def call(page, expression):
    return page.evaluate(f"() => {{ const t = timeline; return {expression}; }}")
