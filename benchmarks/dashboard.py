"""Measure the dashboard, in a real JupyterLab in a real Chromium: how soon, how fast, how much.

    python benchmarks/dashboard.py [--quick] [--only NAME …]

Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dashboard_acts import controls, shown
from dashboard_costs import idle, slowdown, watching
from dashboard_drawing import fps, memory, rendering
from dashboard_page import chromium
from dashboard_report import Section, where

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MEASUREMENTS: dict[str, Callable[..., list[Section]]] = {
    function.__name__: function
    for function in (controls, shown, idle, slowdown, watching, rendering, fps, memory)
}


def main() -> None:
    """Measure and print."""
    args = _arguments()
    # Leave nothing running when this process is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with chromium() as browser:
        its_version = browser.version
        sections = [
            section for name in args.only for section in _measured(name, browser, quick=args.quick)
        ]
    command = "python " + shlex.join(["benchmarks/dashboard.py", *sys.argv[1:]])
    parts = [where(command, [f"Chromium {its_version}"])]
    print(*parts, *(section.markdown() for section in sections), sep="\n\n")


def _measured(name: str, browser: Browser, *, quick: bool) -> list[Section]:
    begun = time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    sections = MEASUREMENTS[name](browser, quick=quick)
    took = time.monotonic() - begun
    print(*(each.markdown() for each in sections), sep="\n\n", file=sys.stderr)
    print(f"{name}: {took:.0f} s\n", file=sys.stderr, flush=True)
    return sections


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--quick", action="store_true", help="fewer repeats, shorter, and no 64 real ranks")
    option("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    parser.epilog = f"Measurements: {', '.join(MEASUREMENTS)}."
    return parser.parse_args()


if __name__ == "__main__":
    main()
