"""What a script sets up in logging ends with it; what libraries have set up stays."""

from __future__ import annotations

import logging
import logging.config
import sys
import warnings
from types import ModuleType

import pytest

from rankbook.engine.cells import logs


@pytest.fixture
def name(request):
    """A name for loggers of one test."""
    name = request.node.name
    yield name
    for each in [*logging.root.manager.loggerDict]:
        if each.partition(".")[0] == name:
            logging.getLogger(each).handlers.clear()
            del logging.root.manager.loggerDict[each]


def test_a_logger_that_a_script_sets_up_twice_writes_each_line_once(name, tmp_path):
    for _ in range(2):
        with logs.put_back():
            logger = logging.getLogger(f"{name}.train")
            handler = logging.FileHandler(tmp_path / "log")
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.info("a line")
        assert handler.stream is None  # it is closed
        assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
    assert (tmp_path / "log").read_text() == "a line\n" * 2


def test_a_logger_that_was_there_before_is_as_before(name):
    logger, handler = logging.getLogger(name), logging.NullHandler()
    logger.addHandler(handler)
    with logs.put_back():
        logger.disabled = True
        logger.handlers.clear()
        logger.addFilter(lambda _: False)
        logging.disable(logging.CRITICAL)
    assert (logger.handlers, logger.filters, logger.disabled) == ([handler], [], False)
    assert logging.root.manager.disable == logging.NOTSET


def test_what_a_library_has_set_up_when_it_was_imported_stays(name, monkeypatch):
    handler = logging.NullHandler()
    with logs.put_back():
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        logging.getLogger(name).addHandler(handler)
    assert logging.getLogger(name).handlers == [handler]


def test_settings_of_all_loggers_are_as_before(capfd):
    before = logging.getLoggerClass(), logging.getLogRecordFactory(), logging.lastResort
    for _ in range(2):
        with logs.put_back():
            logging.setLoggerClass(type("Mine", (logging.Logger,), {}))
            logging.setLogRecordFactory(type("Record", (logging.LogRecord,), {}))
            logging.lastResort, logging.raiseExceptions = None, False
            logging.captureWarnings(capture=True)
            handler = logging.StreamHandler(sys.stdout)
            logging.getLogger("py.warnings").addHandler(handler)
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("careful")  # noqa: B028 - any
        assert "UserWarning: careful" in capfd.readouterr().out
    assert before == (
        *(logging.getLoggerClass(), logging.getLogRecordFactory()),
        logging.lastResort,
    )
    assert logging.raiseExceptions


def test_a_logger_of_the_last_run_is_not_one_that_exists(name):
    for _ in range(2):
        with logs.put_back():
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": True})
            assert not logging.getLogger(name).disabled
