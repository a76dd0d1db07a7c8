"""Putting back, after a script, settings of the process, its limits and its descriptors."""

from __future__ import annotations

import decimal
import gc
import locale
import os
import resource
import socket
import sys
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rankbook.engine.cells.torchsettings import Setting, attribute, of_torch

__all__ = ["descriptors", "limits", "put_back"]


def _collect_garbage(is_on: bool) -> None:  # noqa: FBT001
    (gc.enable if is_on else gc.disable)()


def _unfreeze(before: int) -> None:
    if gc.get_freeze_count() > before:  # nothing of it could ever be collected
        gc.unfreeze()


def _trace_memory(is_on: bool) -> None:  # noqa: FBT001
    (tracemalloc.start if is_on else tracemalloc.stop)()


_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimal() -> dict[str, Any]:
    context = decimal.getcontext()
    return {"traps": {**context.traps}, **{name: getattr(context, name) for name in _DECIMAL}}


def _set_decimal(values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(decimal.getcontext(), name, value)


def _tools() -> list[str | None]:
    """What watches the code that runs, by Python's number for it, from Python 3.12 on."""
    return [_sys.monitoring.get_tool(number) for number in range(6)]


def _end_tools(before: list[str | None]) -> None:
    monitoring = _sys.monitoring
    for number, (old, new) in enumerate(zip(before, _tools(), strict=True)):
        if old is None and new is not None:  # a profiler, say, that was not stopped
            monitoring.set_events(number, 0)
            monitoring.free_tool_id(number)


def _pandas() -> dict[str, Any]:
    """The options of pandas; none where it is not loaded."""
    options: Any = getattr(sys.modules.get("pandas"), "options", None)
    return dict(_leaves(options.d)) if options is not None else {}


def _leaves(options: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


def _set_pandas(options: dict[str, Any]) -> None:
    if not options:  # the script has loaded it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of options with old names
            sys.modules["pandas"].reset_option("all")
        return
    present = _pandas()
    for name, value in options.items():
        if present.get(name) != value:
            sys.modules["pandas"].set_option(name, value)


_sys: Any = sys
"""What not every version of Python has is asked of it."""


def _digits() -> int:
    most: int = _sys.get_int_max_str_digits()
    return most


def _numpy() -> Any:
    return sys.modules["numpy"]


_SETTINGS: list[Setting] = [
    # First: what follows would be traced and profiled.
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (_tools, _end_tools),
    (threading.gettrace, threading.settrace),
    (threading.getprofile, threading.setprofile),
    (tracemalloc.is_tracing, _trace_memory),
    *of_torch(),
    attribute("threading", "excepthook"),
    attribute("warnings", "formatwarning"),
    attribute("tempfile", "tempdir"),
    attribute("sys", "ps1"),
    attribute("sys", "dont_write_bytecode"),
    (_digits, lambda most: _sys.set_int_max_str_digits(most)),  # noqa: PLW0108 - see _sys
    (threading.stack_size, threading.stack_size),
    (sys.getswitchinterval, sys.setswitchinterval),
    (gc.get_threshold, lambda counts: gc.set_threshold(*counts)),
    (gc.isenabled, _collect_garbage),
    (gc.get_freeze_count, _unfreeze),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
    (lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)),
    (lambda: os.getpriority(os.PRIO_PROCESS, 0), lambda to: os.setpriority(os.PRIO_PROCESS, 0, to)),
    (_decimal, _set_decimal),
    (lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    (lambda: _numpy().get_printoptions(), lambda to: _numpy().set_printoptions(**to)),
    (lambda: _numpy().geterr(), lambda to: _numpy().seterr(**to)),
    (_pandas, _set_pandas),
]
"""Process-wide settings of Python, torch, NumPy and pandas."""


def _asked(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except Exception:  # noqa: BLE001 - another version has none, or torch refuses to say
        return _UNKNOWN


_UNKNOWN: Any = object()


@contextmanager
def put_back() -> Iterator[None]:
    """Restore, at the end of the block, the settings at its beginning."""
    before = [_asked(ask) for ask, _ in _SETTINGS]
    try:
        yield
    finally:
        for value, (ask, set_to) in zip(before, _SETTINGS, strict=True):
            if value is not _UNKNOWN and _asked(ask) != value:
                with suppress(Exception):  # each for itself
                    set_to(value)


_LIMITS = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}


@contextmanager
def limits() -> Iterator[None]:
    """Restore resource limits at the end of the block, or the highest that are still allowed."""
    before = {number: resource.getrlimit(number) for number in _LIMITS}
    try:
        yield
    finally:
        for number, limit in before.items():
            if resource.getrlimit(number) == limit:
                continue
            try:
                resource.setrlimit(number, limit)
            except (ValueError, OSError):  # the hard limit was lowered
                hard = resource.getrlimit(number)[1]
                resource.setrlimit(number, (hard, hard))


@contextmanager
def descriptors() -> Iterator[None]:
    """Restore the standard descriptors of the process at the end of the block.

    They can be redirected or closed. The next sockets would get the numbers of closed ones, and
    other code would write there.
    """
    kept = {number: os.dup(number) for number in range(3)}
    try:
        yield
    finally:
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
