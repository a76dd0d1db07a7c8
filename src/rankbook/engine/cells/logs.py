"""What a script sets up in ``logging``, undone at its end.

Under a launcher it ends with the process. In a rank, the next run of the script would find its own
loggers with their handlers, add them again, and write each line twice.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

__all__ = ["put_back"]


_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (logging.getLoggerClass, logging.setLoggerClass),
    (logging.getLogRecordFactory, logging.setLogRecordFactory),
    (lambda: logging.raiseExceptions, lambda on: setattr(logging, "raiseExceptions", on)),
    (lambda: logging.lastResort, lambda handler: setattr(logging, "lastResort", handler)),
]
"""What asks for settings of all loggers, and what sets them."""


@dataclass(frozen=True)
class _State:
    """How a logger is set up; by default as when it was made."""

    handlers: tuple[logging.Handler, ...] = ()
    filters: tuple[Any, ...] = field(default=())
    level: int = logging.NOTSET
    propagate: bool = True
    disabled: bool = False

    @classmethod
    def of(cls, logger: logging.Logger) -> _State:
        return cls(
            tuple(logger.handlers),
            tuple(logger.filters),
            logger.level,
            logger.propagate,
            logger.disabled,
        )

    def put_back(self, logger: logging.Logger) -> None:
        if logger.level != self.level:
            logger.setLevel(self.level)
        logger.handlers[:], logger.filters[:] = self.handlers, self.filters
        logger.propagate, logger.disabled = self.propagate, self.disabled


@contextmanager
def put_back() -> Iterator[None]:
    """Restore all loggers at the end of the block, and close the handlers that were added.

    What libraries, which stay imported, have set up for their own loggers when they were imported
    stays, too: they do it only once.
    """
    before = {logger: _State.of(logger) for logger in _loggers()}
    disabled, settings = logging.root.manager.disable, [ask() for ask, _ in _SETTINGS]
    shown, captured = warnings.showwarning, _captures_warnings()
    try:
        yield
    finally:
        known = logging.root.manager.loggerDict
        kept = {handler for state in before.values() for handler in state.handlers}
        for logger in _loggers():
            state = before.get(logger, _State())
            if logger not in before and _is_of_a_library(logger):
                continue
            added = set(logger.handlers) - kept
            state.put_back(logger)
            if logger not in before and known.get(logger.name) is logger:
                del known[logger.name]  # else a configuration of the next run would disable it
            for handler in added:
                with suppress(Exception):  # as Python does at its end
                    handler.flush()
                    handler.close()
        logging.disable(disabled)
        for value, (_, set_to) in zip(settings, _SETTINGS, strict=True):
            set_to(value)
        if _captures_warnings() and not captured:
            logging.captureWarnings(capture=False)
        warnings.showwarning = shown


def _captures_warnings() -> bool:
    return getattr(logging, "_warnings_showwarning", None) is not None


def _loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


def _is_of_a_library(logger: logging.Logger) -> bool:
    top = logger.name.partition(".")[0]
    return top in sys.modules and top != "__main__"
