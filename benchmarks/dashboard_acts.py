"""Measuring how soon the dashboard acts, and how soon it shows what a rank does."""

from __future__ import annotations

import os
import random
import re
import signal
from typing import TYPE_CHECKING

from dashboard_page import Tab, opened
from dashboard_report import Section, Target, said
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["controls", "shown"]

WITHIN = Target(1.0, "s")

_WHILE = ("idle", "a cell runs", "a cell hangs")
_LOOKS = {"Why?", "Stacks"}
_CONTROLS = {
    "Initialise": "initialise",
    "Reset": "reset",
    "Interrupt": "interrupt",
    "Why?": "why",
    "Stacks": "stacks",
    "Restart ended ranks": "restart",
    "Shut down": "shutdown",
}


def controls(browser: Browser, *, quick: bool) -> list[Section]:
    """Click every control while the ranks are idle, run a cell and hang in one."""
    section = Section(
        "From a click to the dashboard, 2 ranks",
        ("control", "under way: worst", *(f"ended, {its}: worst" for its in _WHILE), "target", ""),
    )
    repeats = 2 if quick else 5
    with opened(browser, ["%load_ext rankbook", "%dist_init gloo -n 2"]) as tab:
        for name in _CONTROLS:
            count = min(repeats, 2) if name == "Shut down" else repeats
            began: list[float] = []
            ended: dict[str, list[float]] = {}
            # While nothing runs, there is nothing to interrupt: that button is off.
            for state in _WHILE[name == "Interrupt" :]:
                figures = _clicks(tab, name, state, count)
                began += [each["shown"] for each in figures]
                ended[state] = [each["ended"] for each in figures]
            worst = [said(max(ended[its]), "s") if its in ended else "off" for its in _WHILE]
            judged = WITHIN.judge([each for its in ended.values() for each in its])
            section.lines.append((name, said(max(began), "s"), *worst, str(WITHIN), judged))
    return [section]


def _clicks(tab: Tab, name: str, state: str, count: int) -> list[dict[str, float]]:
    """Click a control so often; one that only looks, in one and the same state."""
    figures = []
    for repeat in range(count):
        if repeat == 0 or name not in _LOOKS:
            _bring_into(tab, state)
        if name == "Restart ended ranks":
            os.kill(tab.engines()[1] if state == "idle" else _shown_pid(tab), signal.SIGKILL)
            expect(tab.health).to_contain_text("rank 1 ended")
        if name == "Initialise":
            tab.open_form()
        tab.js("(action) => { bench.click(action); }", _CONTROLS[name])
        tab.click(name)
        figures.append(tab.js("() => bench.clicked"))
        if repeat == count - 1 or name not in _LOOKS:
            _leave(tab, name, state)
    return figures


def _shown_pid(tab: Tab) -> int:
    return int(tab.rows.nth(1).locator(".rb-pid").text_content() or 0)


def _bring_into(tab: Tab, state: str) -> None:
    tab.wait_until_idle()
    if state == "a cell runs":
        tab.busy()
    elif state == "a cell hangs":
        tab.hang()


def _leave(tab: Tab, name: str, state: str) -> None:
    """Have the ranks idle again."""
    if name in _LOOKS and state != "idle":
        tab.click("Interrupt")
    if state != "idle":
        tab.end()
    if name == "Shut down":
        tab.run_cell(1)
    tab.wait_until_idle()


# -- what a rank does ------------------------------------------------------------------------

_BARRIER = """\
%%dist --on-hang wait
import time
if rank == {rank}:
    time.sleep({after})
    entered = time.time()
    dist.barrier()
    print("entered", entered)
else:
    time.sleep({after} + 2.5)
    dist.barrier()"""


def shown(browser: Browser, *, quick: bool) -> list[Section]:
    """Have one rank wait for the others, and see when its row or tile says so."""
    section = Section("From a rank's change of state to its row or tile")
    chance = random.Random(1)  # noqa: S311 - no cryptography: it is to differ from poll to poll
    for n in (2, 8) if quick else (2, 8, 64):
        with opened(browser, ["%load_ext rankbook", f"%dist_init gloo -n {n}"]) as tab:
            delays = []
            for _ in range(2 if quick else 10):
                expect(tab.health).to_have_text("all idle", timeout=60_000)
                delays.append(_delay(tab, chance.randrange(n), chance.uniform(1, 2)))
        section.add(f"{n} ranks", delays, "s", WITHIN)
    return [section]


def _delay(tab: Tab, rank: int, after: float) -> float:
    tab.js("(rank) => { bench.rank(rank, 'collective'); }", rank)
    printed = tab.run(_BARRIER.format(rank=rank, after=after))
    found = re.search(r"entered ([\d.]+)", printed)
    if not found:
        raise RuntimeError(printed)
    return float(tab.js("() => bench.seen")) - float(found[1])
