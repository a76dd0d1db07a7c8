"""Measuring how fast the page draws: the panel of many ranks, the timeline, both for an hour."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from dashboard_page import HERE, Tab, opened
from dashboard_report import Section, Target, said

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["fps", "memory", "rendering"]

_SHOW = f"""\
import sys, time
sys.path.insert(0, {str(HERE)!r})
from dashboard_simulated import Simulated, memory
simulated = Simulated({{arguments}})
simulated.box"""


def rendering(browser: Browser, *, quick: bool) -> list[Section]:
    """Many ranks: from the snapshot to the picture."""
    section = Section("From a snapshot to its picture")
    for ranks, most in ((64, 0.3), (512, 1.0)):
        with opened(browser, [_SHOW.format(arguments=ranks)]) as tab:
            target = Target(most, "s")
            number = 1
            for what, blank in (("first seen", True), ("every rank changed", False)):
                took, html, computed = [], [], []
                for _ in range(3 if quick else 10):
                    number += 1
                    figures = _draw(tab, number, blank=blank)
                    took.append(figures[0])
                    html.append(1000 * figures[1])
                    computed.append(1000 * figures[2])
                name = f"{ranks} ranks, {what}"
                section.add(name, took, "s", target)
                section.add("of that, the HTML in Python", html, "ms", None)
                section.add("meanwhile, the page's main thread", computed, "ms", None)
            size = int(tab.run("print(len(simulated.html(1)))"))
            section.notes.append(f"The HTML of {ranks} ranks is {size / 1000:.0f} kB.")
    return [section]


def _draw(tab: Tab, number: int, *, blank: bool) -> tuple[float, float, float]:
    """Show one picture; return seconds: in all, for the HTML, and computing in the page."""
    if blank:
        tab.run("simulated.blank()")
        tab.js("() => bench.until(() => !document.querySelector('.rb-head'))")
    tab.js("(number) => { bench.generation(number); }", number)
    before = tab.spent()
    said = tab.run(f"begun = time.time(); html = simulated.draw({number}); print(begun, html)")
    seen = tab.js("() => bench.seen")
    after = tab.spent()
    begun, html = map(float, said.split())
    return seen - begun, html, after["TaskDuration"] - before["TaskDuration"]


# -- the timeline ----------------------------------------------------------------------------

_COLLECTIVES, _LANES = 10_000, 8

_FIT = "() => [...document.querySelectorAll('.rbt [data-do=fit]')].at(-1).click()"

_ZOOM = """async ([factor, count]) => {
    const step = { ctrlKey: true, deltaY: -100 * Math.log(factor) / count };
    return bench.frames(Array(count).fill(step));
}"""

_PAN = """async ([px, count]) => bench.frames(
    Array.from({ length: count }, (_, i) => ({ deltaX: i < count / 2 ? -px : px, deltaY: 0 })))"""


def fps(browser: Browser, *, quick: bool) -> list[Section]:
    """Pan and zoom a long timeline."""
    count = 60 if quick else 240
    title = f"Panning and zooming {_COLLECTIVES:,} collectives of {_LANES} ranks"
    section = Section(title, ("", "frames per second", "slowest frame", "target", ""))
    with opened(browser, [_SHOW.format(arguments=f"8, {_LANES}")]) as tab:
        tab.run(f"simulated.collectives({_COLLECTIVES})")
        tab.js("""() => bench.until(() => [...document.querySelectorAll('.rbt-count')].some(
            (each) => each.textContent.includes('10,000 collectives')))""")
        for _ in range(2):
            _frames(
                section, tab, "zooming in, from everything to 20 collectives", _ZOOM, 500, count
            )
            _frames(section, tab, "zooming out again", _ZOOM, 1 / 500, count)
            del section.lines[: len(section.lines) - 2]  # the first time it is compiled
        tab.js(_FIT)
        sight = _COLLECTIVES
        for factor in (4, 10, 10):
            tab.js(_ZOOM, [factor, 10])
            sight //= factor
            _frames(section, tab, f"panning, {sight:,} collectives in sight", _PAN, 25, count)
    return [section]


def _frames(section: Section, tab: Tab, what: str, script: str, amount: float, count: int) -> None:
    if script is _ZOOM and amount > 1:
        tab.js(_FIT)
        tab.js("() => bench.painted()")
    took = tab.js(script, [amount, count])
    target = Target(30, "fps", at_least=True)
    rate = 1 / mean(took)
    slowest = said(1000 * max(took), "ms")
    section.lines.append((what, said(rate, "fps"), slowest, str(target), target.judge([rate])))


# -- memory ----------------------------------------------------------------------------------

_RANKS = 64
_PER_UPDATE = 25
_BATCH = 20
_MOST = 3.0


def memory(browser: Browser, *, quick: bool) -> list[Section]:
    """The updates of an hour and more, as fast as they are drawn."""
    updates = 1_000 if quick else 9_000
    per_update = 250 if quick else _PER_UPDATE
    samples = 50
    heaps, kernels = [], []
    arguments = f"{_RANKS}, {_LANES}, {per_update}"
    with opened(browser, [_SHOW.format(arguments=arguments)]) as tab:
        for i in range(samples):
            first, last = (updates * each // samples for each in (i, i + 1))
            tab.js("([first, last, batch]) => bench.drive(first, last, batch)",
                   [first, last, _BATCH])  # fmt: skip
            heaps.append(tab.heap() / 1e6)
            kernels.append(int(tab.run("print(memory())")) / 1e6)
        note = tab.run("print(simulated.note)").strip()
        thinned = int(tab.run("print(simulated.thinned)"))
    section = Section(
        f"Memory after {updates:,} updates of {_RANKS} ranks",
        ("", "at 10 %", "at 50 %", "at the end", "end to 50 %", "target", ""),
    )
    target = Target(_MOST, "%")
    for name, values in (("the page's heap", heaps), ("the kernel (RSS)", kernels)):
        early, middle, end = (max(values[its - 5 : its]) for its in (5, 25, 50))
        change = 100 * (end / middle - 1)
        figures = [said(each, "MB") for each in (early, middle, end)]
        judged = [f"{change:+.1f} %", str(target), target.judge([change])]
        section.lines.append((name, *figures, *judged))
    section.notes.append(
        f"With each update came {per_update} collectives of {_LANES} ranks. The timeline thinned "
        f'its bars {thinned} times: "{note}"'
    )
    section.notes.append("Every figure is the highest of five, taken in the tenth before.")
    return [section]
