"""The walk that is made on other versions of IPython and ipykernel, on the present ones."""

from __future__ import annotations

import subprocess

from kernels import notebook_with_magics
from walk import STEPS, walk


def test_every_step_of_the_walk_succeeds():
    with notebook_with_magics(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as notebook:
        wrong = {name: its for name, step in STEPS.items() if (its := walk(notebook, step))}
    assert wrong == {}
