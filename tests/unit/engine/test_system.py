"""`!command` on a rank."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rankbook.engine.cells import system


def descriptors():
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize(
    ("shell", "outcome"), [("/bin/sh", 3), ("/no/such/shell", FileNotFoundError)]
)
def test_a_command_leaves_no_descriptor_open_though_the_shell_is_missing(
    monkeypatch, shell, outcome
):
    monkeypatch.setitem(os.environ, "SHELL", shell)
    before = descriptors()
    for _ in range(3):
        if isinstance(outcome, int):
            assert system.run("exit 3") == outcome
        else:
            with pytest.raises(outcome):
                system.run("exit 3")
    assert descriptors() == before
