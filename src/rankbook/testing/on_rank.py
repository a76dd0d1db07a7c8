"""On a rank: find a test and run its body as pytest would.

pytest is configured once in each rank, with the options of the process that reports, as
pytest-xdist configures its workers. So modules are imported under the same names, with their
asserts rewritten, and an exception is shown as pytest shows it.
"""

from __future__ import annotations

import base64
import os
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from _pytest import assertion
from _pytest.pathlib import import_path

from rankbook import calls, values
from rankbook.engine.app import ignore_warnings
from rankbook.testing.bodies import Body, Run, here

__all__ = ["OWN", "RAISED", "TEST", "Encoded", "Raised", "decoded", "run"]

TEST = "_rankbook_test"
"""The variable in which a test arrives."""

RAISED = "_rankbook_raised"
"""The variable in which is what the last test raised."""


OWN: dict[str, type[BaseException]] = {
    "skip": pytest.skip.Exception,
    "xfail": pytest.xfail.Exception,
    "fail": pytest.fail.Exception,
    "exit": pytest.exit.Exception,
}
"""Exceptions of pytest's own, which end a test in another way than an error does."""


@dataclass(frozen=True)
class Warned:
    """A warning."""

    message: str
    category: type[Warning]
    file: str
    line: int


@dataclass(frozen=True)
class Left:
    """What a test has left on a rank that it has not failed on."""

    warned: tuple[Warned, ...] = ()
    is_group_lost: bool = False
    """Whether the rank is in another process group than before, or in none; or has begun a call
    that is not known to be done, which calls of the next test would meet."""


@dataclass(frozen=True)
class Raised:
    """What a test has raised on a rank."""

    error: BaseException | None
    """None where it does not pickle, and where it is pytest's own."""
    own: str
    """``skip``, ``xfail``, ``fail`` or ``exit``: which pytest function has raised it."""
    message: str
    shown: Any
    """pytest's representation of it."""
    kind: bytes
    """Its class, pickled; empty where that is not known by its name elsewhere."""
    left: Left


class Encoded:
    """A :class:`Left` on its way: the ``repr`` of a cell's value comes with its result."""

    def __init__(self, left: Left) -> None:
        self._left = left

    def __repr__(self) -> str:
        return base64.b64encode(pickle.dumps(self._left)).decode()


def decoded(result: str | None) -> Left:
    """Undo :class:`Encoded`."""
    found: Left = Left() if not result else pickle.loads(base64.b64decode(result))  # noqa: S301
    return found


def run(namespace: dict[str, Any]) -> Encoded | None:
    """Run the test that has arrived.

    Args:
        namespace: The variables of the rank's cells.
    """
    __tracebackhide__ = True
    namespace.pop(RAISED, None)
    body: Body = pickle.loads(namespace.pop(TEST))  # noqa: S301
    info, group = namespace["dist_info"], dist.group.WORLD
    config = _configured(pickle.dumps(body.run))
    caught: list[warnings.WarningMessage]

    begun = _last_call()

    def left() -> Left:
        is_lost = dist.group.WORLD is not group or _has_open_calls(begun)
        return Left(tuple(map(_warned, caught)), is_lost)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as caught:
        here.update(rank=info.rank, device=info.device, monkeypatch=patch)
        try:
            with _explained(config):
                _set(body.environ, patch)
                _call(body, config, patch)
        except BaseException as error:
            namespace[RAISED] = pickle.dumps(_raised(error, config, left()))
            raise
        finally:
            here.clear()
    return Encoded(left()) if left() != Left() else None


def _last_call() -> int:
    ledger = calls.installed()
    return ledger.last if ledger else 0


def _has_open_calls(since: int) -> bool:
    """Whether a call after one is not known to be done: nobody has waited for it."""
    ledger = calls.installed()
    made = ledger.since(since)[0] if ledger else []
    return any(call.completed is None and not call.stream_ordered for call in made)


def _set(environ: Mapping[str, str | None], patch: pytest.MonkeyPatch) -> None:
    """Set variables of the environment until the test has ended."""
    for name, value in environ.items():
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, value)


def _call(body: Body, config: pytest.Config, patch: pytest.MonkeyPatch) -> None:
    __tracebackhide__ = True
    module = _imported(Path(body.file), config)
    pickled, arguments = pickle.loads(body.values)  # noqa: S301
    *owner, name = body.path
    parent: Any = reduce(getattr, owner, module) if pickled is None else values.loads(pickled)
    for attribute, value in pickle.loads(body.attributes).items():  # noqa: S301
        patch.setattr(type(parent), attribute, values.loads(value), raising=False)
    function = getattr(parent, name)
    found = {key: values.loads(value) for key, value in arguments.items()}
    _set_filters(body.filters)
    function(**found)


def _set_filters(pickled: Iterable[bytes]) -> None:
    """Have warnings treated as in the process that reports."""
    warnings.resetwarnings()
    for one in reversed(list(pickled)):
        with suppress(Exception):  # its category is not known here, so nothing can warn of it
            warnings.filterwarnings(*pickle.loads(one))  # noqa: S301
    ignore_warnings()  # another thread of the rank warns of what no test has done


@cache
def _configured(run: bytes) -> pytest.Config:
    """The configuration of pytest, as in the process that reports."""
    wanted: Run = pickle.loads(run)  # noqa: S301
    with _told_elsewhere():
        return pytest.Config.fromdictargs(wanted.options, list(wanted.args))


@cache
def _imported(file: Path, config: pytest.Config) -> ModuleType:
    """A test's module, under the name that pytest gives it."""
    # Private in pytest, as it has been with these arguments since pytest 8.1: what imports the
    # module in the process that reports.
    with _told_elsewhere():
        return import_path(
            file,
            mode=config.getoption("importmode"),
            root=config.rootpath,
            consider_namespace_packages=config.getini("consider_namespace_packages"),
        )


@contextmanager
def _told_elsewhere() -> Iterator[None]:
    """Ignore warnings of what the process that reports has done, too: it decides about them."""
    __tracebackhide__ = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _explained(config: pytest.Config) -> Iterator[None]:
    """Have asserts explain comparisons."""
    __tracebackhide__ = True
    # Private in pytest since version 3: around each test, this hook says who explains.
    item: Any = SimpleNamespace(ihook=config.hook, config=config)
    around = assertion.pytest_runtest_protocol(item)
    next(around)
    try:
        yield
    finally:
        with suppress(StopIteration):  # which is its end
            next(around)


def _shown(error: BaseException, config: pytest.Config) -> Any:
    """How pytest shows an exception; without our frames, and those of the account."""
    info = pytest.ExceptionInfo.from_exception(error)
    is_message = isinstance(error, pytest.fail.Exception) and not error.pytrace
    style = config.getoption("tbstyle")
    fulltrace = config.getoption("fulltrace")

    def tbfilter(shown: pytest.ExceptionInfo[BaseException]) -> Any:
        return shown.traceback.filter(lambda entry: not calls.is_ours(entry.frame.code.raw)).filter(
            shown
        )

    return info.getrepr(
        funcargs=True,
        showlocals=config.getoption("showlocals"),
        abspath=Path(os.getcwd()) != config.invocation_params.dir,  # noqa: PTH109
        style="value" if is_message else "long" if style == "auto" else style,
        tbfilter=not fulltrace and tbfilter,
    )


def _raised(error: BaseException, config: pytest.Config, left: Left) -> Raised:
    own = next((name for name, kind in OWN.items() if isinstance(error, kind)), "")
    return Raised(
        None if own else _that_pickles(error),
        own,
        _message(error),
        _shown(error, config),
        _pickled(type(error)),
        left,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001 - by a __str__ of the test's
        return f"<{type(raised).__name__} in __str__>"


def _pickled(kind: type[BaseException]) -> bytes:
    with suppress(Exception):  # a class that only a function knows
        return pickle.dumps(kind)
    return b""


def _that_pickles(error: BaseException) -> BaseException | None:
    """An exception that can be sent: None where its copy would be another, or none."""
    with suppress(Exception):  # then it is told in words
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301
        if type(copy) is type(error):
            return error
    return None


def _warned(message: warnings.WarningMessage) -> Warned:
    return Warned(str(message.message), message.category, message.filename, message.lineno)
