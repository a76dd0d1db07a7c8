"""Hours of a dashboard in a minute: neither the kernel nor the page keeps what was drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

# Alone it takes a minute on two cores; beside something else twice that.
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

RANKS = 128
UPDATES = 30  # from one sample to the next
COLLECTIVES = 400  # of 2 ranks, with every update: before the second sample bars are thinned
SAMPLES = 9

CELL = f"""\
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
from dashboard_simulated import Simulated, memory
simulated = Simulated({RANKS}, lanes=2, per_update={COLLECTIVES})
simulated.box"""


def heap(devtools):
    """Bytes that the page's objects, elements and buffers take, after a collection."""
    for _ in range(2):
        devtools.send("HeapProfiler.collectGarbage")
    used = devtools.send("Runtime.getHeapUsage")
    return used["usedSize"] + used["embedderHeapUsedSize"] + used["backingStorageSize"]


def grown(samples):
    """By how much the highest of the last third is above the highest of the middle third."""
    third = len(samples) // 3
    return max(samples[-third:]) - max(samples[third:-third])


def test_thousands_of_bars_and_hundreds_of_pictures_leave_nothing_behind(open_notebook):
    with open_notebook([CELL]) as notebook:
        page = notebook.page
        page.add_script_tag(path=BENCHMARKS / "dashboard_page.js")
        devtools = page.context.new_cdp_session(page)
        devtools.send("HeapProfiler.enable")
        heaps, kernels = [], []
        for i in range(SAMPLES):
            page.evaluate("(range) => bench.drive(...range, 20)", [i * UPDATES, (i + 1) * UPDATES])
            heaps.append(heap(devtools))
            kernels.append(int(notebook.run("print(memory())")))
        picture = int(notebook.run("print(len(simulated.html(1)))"))
        assert "one collective in" in notebook.run("print(simulated.note)")
    # Had each update left a picture behind, or as much of something else, it were twice that.
    most = SAMPLES // 3 * UPDATES * picture / 2
    assert grown(heaps) < most, heaps
    assert grown(kernels) < most, kernels
