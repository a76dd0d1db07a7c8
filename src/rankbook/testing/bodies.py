"""What travels to the ranks for a test: its name, its arguments, and what fixtures have set.

Its code does not: each rank imports the test's module, as pytest does. What fixtures and
``parametrize`` gave is pickled.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import pytest

from rankbook import values
from rankbook.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Before", "Body", "Filter", "OnRank", "Run", "body_of", "here", "run_of"]

_NOT_ON_RANKS = ("terminal", "cov", "xdist", "hypothesispytest")
"""Plugins that a rank does not load: they belong to the process that reports."""

_OF_WARNINGS = "pythonwarnings"
"""pytest's name for what ``-W`` gives."""

_OWN_ON_RANKS = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "PYTEST_CURRENT_TEST",
)
"""Variables of the environment that ranks have for themselves, or do not need."""

_SENT = ("tmp_path", "tmpdir", "tmp_path_factory", "monkeypatch", "doctest_namespace")
"""Fixtures of pytest's own that a rank can have."""

Filter: TypeAlias = tuple[str, str, type[Warning], str, int]
"""The arguments of ``warnings.filterwarnings``."""


@dataclass(frozen=True)
class Run:
    """How pytest was started, for ranks to read its configuration as it did."""

    args: tuple[str, ...]
    """Of a command line."""
    options: Mapping[str, Any]
    """What was read from the real command line, as far as it pickles."""


@dataclass(frozen=True)
class Body:
    """The body of one test."""

    run: Run
    file: str
    """In which it is."""
    path: tuple[str, ...]
    """How it is found in its module: ``("TestOptimizer", "test_step")``."""
    values: bytes
    """Its arguments by name and its instance, pickled; unpickled once the module is imported."""
    filters: tuple[bytes, ...] = ()
    """Which warnings are errors, are told, or are not: each a pickled :data:`Filter`, the first
    that fits decides. Unpickled once the module is imported, which may define the category."""

    attributes: bytes = b""
    """Of its class, what fixtures have set there: by name, each pickled; pickled."""
    environ: Mapping[str, str | None] = field(default_factory=dict)
    """Variables of the environment that fixtures have set; None: deleted."""


@dataclass(frozen=True)
class Before:
    """What was there before fixtures were made."""

    attributes: Mapping[str, Any] | None
    """Of the test's class; None: there is none, or it is not known."""
    environ: Mapping[str, str] | None
    """Variables of the environment with which the ranks began; None: they will get those of now."""


here: dict[str, Any] = {}
"""On a rank: what it has for :class:`OnRank`, by name."""


class OnRank:
    """Stands for a value that each rank has for itself, until it arrives there.

    A fixture may return it, or something with it inside, but cannot compute with it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return _found_here, (self._name,)

    def __repr__(self) -> str:
        return f"<{self._name} of each rank>"

    def _refuse(self, *_: object) -> NoReturn:
        __tracebackhide__ = True
        raise InputError(
            f"{self._name!r} is known on the ranks only: a fixture can pass it on, but only the "
            "test itself can use it."
        )

    def __getattr__(self, name: str) -> NoReturn:
        __tracebackhide__ = True
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __int__ = __index__ = __float__ = _refuse
    __str__ = __format__ = _refuse


def _found_here(name: str) -> Any:
    return here[name]


def run_of(config: pytest.Config) -> Run:
    """How pytest was started here."""
    paths = [str(Path(arg.partition("::")[0]).absolute()) for arg in config.args]
    args = ["-s", f"--rootdir={config.rootpath}", *(f"-pno:{name}" for name in _NOT_ON_RANKS)]
    if config.inipath is not None:
        args += ["-c", str(config.inipath)]
    # Of warnings a test is told, and not the configuration: pytest has configured itself here,
    # under these filters, and on a rank it finds modules imported that it meant to rewrite.
    args += ["-o", "filterwarnings="]
    options = {name: value for name, value in vars(config.option).items() if name != _OF_WARNINGS}
    return Run((*args, *paths), dict(_picklable(options.items())))


def body_of(item: pytest.Function, run: Run, before: Before) -> Body:
    """What travels of a test, its fixtures set up.

    Args:
        item: The test.
        run: How pytest was started.
        before: What was there before its fixtures.

    Raises:
        InputError: What a fixture gave cannot be sent; the message names it.
    """
    # Private in pytest, and what every plugin that calls a test reads: the names of its
    # parameters, without those of fixtures that it uses by a marker only.
    info = item._fixtureinfo  # noqa: SLF001
    # Made by a function of pytest's, too, is what parametrize gives.
    given = item.callspec.params if hasattr(item, "callspec") else {}
    for name in info.argnames:
        if name not in given:
            _refuse_own(name, info.name2fixturedefs.get(name), item.funcargs[name])
    arguments = {name: _sent(item.funcargs[name], name) for name in info.argnames}
    owner = () if item.cls is None else tuple(item.cls.__qualname__.split("."))
    instance = None if item.cls is None else values.dumps(item.instance, item.cls.__name__)
    return Body(
        run,
        str(item.path),
        (*owner, item.originalname),
        pickle.dumps((instance, arguments)),
        tuple(_filters()),
        pickle.dumps(_set_since(before.attributes, item.cls)),
        _environ_since(before.environ),
    )


def _set_since(before: Mapping[str, Any] | None, cls: type) -> dict[str, bytes]:
    """Attributes that ``setup_class``, or a fixture, has set on a class, as far as they pickle."""
    found: dict[str, bytes] = {}
    if before is None:
        return found
    for name, value in vars(cls).items():
        if name not in before or before[name] is not value:
            with suppress(InputError):  # ranks do without
                found[name] = values.dumps(value, name)
    return found


def _environ_since(before: Mapping[str, str] | None) -> dict[str, str | None]:
    """Variables of the environment that have another value now, or none."""
    if before is None:
        return {}
    names = (before.keys() | os.environ.keys()) - set(_OWN_ON_RANKS)
    return {n: os.environ.get(n) for n in sorted(names) if os.environ.get(n) != before.get(n)}


def _refuse_own(name: str, made_by: Sequence[Any] | None, value: Any) -> None:
    """Raise if a fixture is pytest's own and belongs to the process that reports."""
    module = made_by[-1].func.__module__ if made_by else type(value).__module__
    if module.startswith("_pytest.") and name not in _SENT:
        raise InputError(
            f"{name!r} ({type(value).__name__}) cannot be sent: it belongs to pytest's own "
            "process, and the test runs on ranks. What ranks print and warn of is shown with the "
            "test."
        )


def _filters() -> Iterator[bytes]:
    """The filters of warnings that pytest, its command line, its marks and fixtures have set."""
    for action, message, category, module, line in warnings.filters:
        with suppress(Exception):  # a category that only a function knows cannot be sent
            yield pickle.dumps((action, _pattern(message), category, _pattern(module), line))


def _pattern(wanted: Any) -> str:
    """The regular expression for what a filter wants: it has one, an exact text, or None."""
    exact = re.escape(wanted) + r"\Z" if isinstance(wanted, str) else ""
    return str(getattr(wanted, "pattern", exact))


def _sent(value: Any, name: str) -> bytes:
    """What is sent for the value of a fixture, pickled."""
    # Its changes are undone where it has made them.
    return values.dumps(
        OnRank("monkeypatch") if isinstance(value, pytest.MonkeyPatch) else value, name
    )


def _picklable(options: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for name, value in options:
        with suppress(Exception):  # ranks do without
            pickle.dumps(value)
            yield name, value
