"""Interrupts while torch imports a part of itself, which would stay half imported."""

from __future__ import annotations

import threading

import pytest
from processes import let_pass, wait_until
from steps import SOON

IMPORT = """
import time
from pathlib import Path
source = '''
began.touch()
while not end.exists():
    time.sleep(0.01)
is_complete = True
'''
folder = Path({folder!r})
late = {{"__name__": {name!r}, "began": folder / str(rank), "end": folder / "end", "time": time}}
exec(compile(source, "late.py", "exec"), late)
while True:
    time.sleep(0.01)
"""
"""Runs a module's code as an import does."""


@pytest.mark.parametrize(("name", "completes"), [("torch._late", True), ("mine", False)])
def test_an_interrupt_waits_for_an_import_of_torch_only(two, tmp_path, name, completes):
    results = []
    code = IMPORT.format(folder=str(tmp_path), name=name)
    cell = two.in_background(lambda: results.append(two.run(code)))
    wait_until(lambda: {"0", "1"} <= {path.name for path in tmp_path.iterdir()})
    interrupt = threading.Thread(target=two.interrupt)
    interrupt.start()
    let_pass(0.5)  # the interrupt arrives
    (tmp_path / "end").touch()
    interrupt.join(SOON)
    cell.join(SOON)
    assert [results[0][rank].error.ename for rank in (0, 1)] == ["KeyboardInterrupt"] * 2
    two.run("is_complete = late.get('is_complete', False)").raise_for_error()
    assert set(two.pull("is_complete").values()) == {completes}
