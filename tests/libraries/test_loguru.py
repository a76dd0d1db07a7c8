"""Loguru's tracebacks on two ranks, which begin with the code of the cell, or of the script."""

from __future__ import annotations

import pytest

pytest.importorskip("loguru")

HEAD = """
import sys
from loguru import logger
logger.remove()
logger.add(sys.stderr, format="{message}")
"""
CAUGHT = """
try:
    1 / 0
except ZeroDivisionError:
    logger.exception("caught")
"""
DECORATED = """
@logger.catch
def divide(x):
    return x / 0

def work():
    divide(1)

work()
"""


@pytest.mark.parametrize(
    ("code", "lines"), [(CAUGHT, ["1 / 0"]), (DECORATED, ["work()", "divide(1)"])]
)
@pytest.mark.parametrize("way", ["cell", "script"])
def test_a_traceback_of_loguru_begins_with_a_persons_code(session, tmp_path, code, lines, way):
    if way == "cell":
        result = session.run(HEAD + code)
    else:
        script = tmp_path / "train.py"
        script.write_text(HEAD + code)
        result = session.run_script(script)
    result.raise_for_error()
    for its in result.values():
        assert "ZeroDivisionError" in its.stderr
        assert "rankbook" not in its.stderr
        assert "interactiveshell" not in its.stderr
        assert all(line in its.stderr for line in lines)
