"""What travels to the ranks for a test: its name, its arguments, and how pytest was started.

Its code does not: each rank imports the test's module, as pytest does. What fixtures and
``parametrize`` gave is pickled.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import pytest

from rankbook import values
from rankbook.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Body", "Filter", "OnRank", "Run", "body_of", "here", "run_of"]

_NOT_ON_RANKS = ("terminal", "cov", "xdist")
"""Plugins that a rank does not load: they belong to the process that reports."""

_OF_WARNINGS = "pythonwarnings"
"""pytest's name for what ``-W`` gives."""

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


def body_of(item: pytest.Function, run: Run) -> Body:
    """What travels of a test, its fixtures set up.

    Args:
        item: The test.
        run: How pytest was started.

    Raises:
        InputError: What a fixture gave cannot be sent; the message names it.
    """
    # Private in pytest, and what every plugin that calls a test reads: the names of its
    # parameters, without those of fixtures that it uses by a marker only.
    names = item._fixtureinfo.argnames  # noqa: SLF001
    arguments = {name: _sent(item.funcargs[name], name) for name in names}
    owner = () if item.cls is None else tuple(item.cls.__qualname__.split("."))
    instance = None if item.cls is None else values.dumps(item.instance, item.cls.__name__)
    name = item.originalname
    sent = pickle.dumps((instance, arguments))
    return Body(run, str(item.path), (*owner, name), sent, tuple(_filters()))


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
    sent = OnRank("monkeypatch") if isinstance(value, pytest.MonkeyPatch) else value
    try:
        return values.dumps(sent, name)
    except InputError as error:
        kind = type(value)
        if not kind.__module__.startswith("_pytest."):
            raise
        raise InputError(
            f"{name!r} ({kind.__name__}) cannot be sent: it belongs to pytest's own process, and "
            "the test runs on ranks. What ranks print and warn of is shown with the test."
        ) from error


def _picklable(options: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for name, value in options:
        with suppress(Exception):  # ranks do without
            pickle.dumps(value)
            yield name, value
