"""What all tests share: markers that depend on the machine; which tests run side by side."""

from __future__ import annotations

import gc
import shutil
import signal
from collections import Counter

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
    left_out = [*filter(is_slow, items), *beyond_the_sample(items)]
    if len(left_out) < len(items):  # who names slow tests alone wants them
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def is_slow(item):
    return item.get_closest_marker("slow") is not None


def beyond_the_sample(items):
    """Cases of parametrised tests of which only every n-th runs, the first of them."""
    counts = Counter()
    for item in items:
        if (marker := item.get_closest_marker("sample")) and not is_slow(item):
            test = item.path, item.originalname
            if counts[test] % marker.kwargs["every"]:
                yield item
            counts[test] += 1


def pytest_collection_finish(session):
    """Set aside what pytest itself holds: searches for referrers would look at all of it."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    # A run that is ended leaves nothing running: fixtures end what they have started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A shell has what it starts in the background ignore Ctrl-C, which some tests press.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's, with `-n`
def pytest_xdist_make_scheduler(config, log):
    """Tests of a file stay together, as they share sessions; those of a cluster's hosts, too."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):  # which xdist wants overridden
            path = nodeid.partition("::")[0]
            return "tests/clusters" if path.startswith("tests/clusters/") else path

    return ByFile(config, log)


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
