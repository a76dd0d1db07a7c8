"""pytest's side of tests whose bodies run on ranks: ``@pytest.mark.ranks(4)``.

Only pytest and the standard library are imported until a test wants ranks, so that a run without
such a test pays nothing.
"""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rankbook.testing.bodies import OnRank, Run
    from rankbook.testing.cluster import Cluster

__all__ = ["device", "rank", "world_size"]

_MARK = "ranks"

_DEBUGGERS = {"--pdb": "usepdb", "--trace": "trace"}
"""Options that open a debugger in pytest's process, and pytest's names for them."""


_SAME_FOR_EACH_EXAMPLE = {"self", "rank", "world_size", "device"}
"""Arguments that need not be made again for each of the examples that Hypothesis draws."""


@dataclass(frozen=True)
class _Marker:
    """The arguments of ``@pytest.mark.ranks``."""

    size: int
    backend: str | None = None
    timeout: float | None = None


class _Ranks:
    """The cluster of this process, and the pytest settings of its ranks."""

    def __init__(self, config: pytest.Config) -> None:
        from rankbook.testing.bodies import run_of
        from rankbook.testing.cluster import Cluster

        self.cluster: Cluster = Cluster()
        self.run: Run = run_of(config)


_RANKS = pytest.StashKey[_Ranks]()
_CLASSES = pytest.StashKey[dict[type, dict[str, Any]]]()
"""By class with tests on ranks, its attributes as they are before any fixture is made."""
_SHOWN = pytest.StashKey[tuple[BaseException, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "ranks(size, backend=None, timeout=None): run the body of the test on that many ranks of "
        "a torch.distributed process group (rankbook)",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a debugger, which could not inspect a rank; note what classes have."""
    marked = [item for item in items if item.get_closest_marker(_MARK)]
    classes = {item.cls for item in marked if isinstance(item, pytest.Function) and item.cls}
    config.stash[_CLASSES] = {cls: dict(vars(cls)) for cls in classes}
    given = [name for name, dest in _DEBUGGERS.items() if config.getoption(dest)]
    if given and marked:
        run = "runs" if len(marked) == 1 else "run"
        raise pytest.UsageError(
            f"{given[0]} cannot stop on a rank, and {len(marked)} of these tests {run} on ranks: "
            f"leave {given[0]} out, or them (-m 'not ranks'). In a notebook, %%dist --pdb stops "
            "there."
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse, before its fixtures are made, a test that cannot run on ranks."""
    if item.get_closest_marker(_MARK) is None:
        return
    cls, function = getattr(item, "cls", None), getattr(item, "obj", None)
    unittest = sys.modules.get("unittest")
    if not isinstance(item, pytest.Function) or (
        cls and unittest and issubclass(cls, unittest.TestCase)
    ):
        pytest.fail("Only functions and methods of plain classes run on ranks.", pytrace=False)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        pytest.fail("An async test does not run on ranks: call asyncio.run in it.", pytrace=False)
    _marker_of(item)
    if "hypothesis" in sys.modules:
        _prepare_for_hypothesis(item)


def _prepare_for_hypothesis(item: pytest.Function) -> None:
    """Have all ranks draw the same examples, and our fixtures taken for what they are."""
    # Private in Hypothesis, on every function below @given for years: its settings.
    attribute = "_hypothesis_internal_use_settings"
    given = getattr(item.function, attribute, None)
    if given is None:
        return
    if not given.derandomize:
        pytest.fail(
            "Each rank would draw other examples: add @settings(derandomize=True), and all ranks "
            "draw the same.",
            pytrace=False,
        )
    if set(inspect.signature(item.function).parameters) <= _SAME_FOR_EACH_EXAMPLE:
        its: Any = sys.modules["hypothesis"]
        suppressed = *given.suppress_health_check, its.HealthCheck.function_scoped_fixture
        setattr(item.function, attribute, its.settings(given, suppress_health_check=suppressed))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the body of a marked test on ranks."""
    if pyfuncitem.get_closest_marker(_MARK) is None:
        return None
    from rankbook.errors import RankbookError

    error: BaseException | None
    try:
        error = _run(pyfuncitem)
    except RankbookError as refused:
        error = pytest.fail.Exception(str(refused), pytrace=False)
    if error is not None:
        raise error
    return True


def _run(item: pytest.Function) -> BaseException | None:
    """Run a body; return the exception for the test to raise."""
    from rankbook.testing.bodies import Before, body_of
    from rankbook.testing.outcomes import Outcome

    marked, stash = _marker_of(item), item.config.stash
    if _RANKS not in stash:
        stash[_RANKS] = _Ranks(item.config)
    ranks = stash[_RANKS]
    before = Before(stash[_CLASSES].get(item.cls), ranks.cluster.environ)
    body = pickle.dumps(body_of(item, ranks.run, before))
    given = marked.size, marked.backend, marked.timeout
    result = ranks.cluster.run(item.name, body, *given)
    own = [r for r, done in result.items() if done.error is not None and not done.error.freed]
    outcome = Outcome(result, ranks.cluster.raised(own), item)
    ranks.cluster.is_group_lost = outcome.is_group_lost
    if (error := outcome.error()) is not None:
        item.stash[_SHOWN] = error, outcome.shown(error)
    try:
        outcome.warn()
    except Warning:
        if error is None:
            raise
    return error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the exceptions of ranks as they were raised there."""
    report = yield
    if call.excinfo is not None and _SHOWN in item.stash:
        error, shown = item.stash[_SHOWN]
        is_plain = report.failed or isinstance(error, pytest.skip.Exception)  # not an xfail
        if call.excinfo.value is error and shown is not None and is_plain:
            report.longrepr = shown
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the ranks."""
    if _RANKS in config.stash:
        config.stash[_RANKS].cluster.close()


@pytest.fixture
def rank(request: pytest.FixtureRequest) -> OnRank:
    """The rank on which the test's body runs, different on each."""
    return _on_rank(request, "rank")


@pytest.fixture
def world_size(request: pytest.FixtureRequest) -> int:
    """The number of ranks on which the test's body runs."""
    _on_rank(request, "world_size")
    return _marker_of(request.node).size


@pytest.fixture
def device(request: pytest.FixtureRequest) -> OnRank:
    """The device of the rank on which the test's body runs, a ``torch.device``."""
    return _on_rank(request, "device")


def _on_rank(request: pytest.FixtureRequest, name: str) -> OnRank:
    if request.node.get_closest_marker(_MARK) is None:
        pytest.fail(f"{name!r} is for tests on ranks: add @pytest.mark.ranks(2).", pytrace=False)
    from rankbook.testing.bodies import OnRank

    return OnRank(name)


def _marker_of(item: pytest.Item) -> _Marker:
    """The arguments of a test's marker; the test fails where they are invalid."""
    marker = item.get_closest_marker(_MARK)
    assert marker is not None  # noqa: S101 - called only for tests with a marker
    try:
        marked = _Marker(*marker.args, **marker.kwargs)
        is_number = type(marked.size) is int and marked.size > 0
    except TypeError:
        is_number = False
    if not is_number:
        pytest.fail(
            "Give the number of ranks: @pytest.mark.ranks(4), and backend= or timeout= if needed.",
            pytrace=False,
        )
    if not isinstance(marked.backend, (str, type(None))):
        pytest.fail('backend= is a name, such as "gloo" or "nccl".', pytrace=False)
    if marked.timeout is not None and not _is_time(marked.timeout):
        pytest.fail("timeout= is a positive number of seconds, such as 30.", pytrace=False)
    return marked


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < float("inf")
