"""What all tests share: markers that depend on the machine."""

from __future__ import annotations

import shutil
import signal

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def has_gpu() -> bool:
    import torch

    # Unlike is_available(), this counts without initialising CUDA, which a fork would not survive.
    return torch.cuda.device_count() > 0


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and len(slow) < len(items):  # who names slow tests alone wants them
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_configure(config):
    # A run that is ended leaves nothing running: fixtures end what they have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell has what it starts in the background ignore Ctrl-C, which some tests press.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item):
    if item.get_closest_marker("browser") and not find_chromium():
        pytest.skip(f"needs one of {', '.join(CHROMIUM_NAMES)} on PATH")
    if item.get_closest_marker("gpu") and not has_gpu():
        pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    path = find_chromium()
    if path is None:
        pytest.skip(f"needs one of {', '.join(CHROMIUM_NAMES)} on PATH")
    return path
