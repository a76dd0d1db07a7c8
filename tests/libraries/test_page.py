"""The cells of the page about libraries, on two ranks: ``make test-libraries``."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "libraries.md"
CELLS = re.findall(r"^```python\n# (\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)

KEEP_THEIR_GROUP = {"deepspeed"}
"""Libraries that keep the group of their first call: with another one they need new processes."""


@pytest.mark.parametrize(
    ("library", "code"), CELLS, ids=[f"{library}{n}" for n, (library, _) in enumerate(CELLS)]
)
def test_a_cell_of_the_page_works_on_two_ranks(session, library, code):
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    result = session.run(code, timeout=300)
    result.raise_for_error()
    session.run("dist.barrier()", timeout=60).raise_for_error()


@pytest.mark.parametrize(
    ("library", "code"), CELLS, ids=[f"{library}{n}" for n, (library, _) in enumerate(CELLS)]
)
def test_a_cell_of_the_page_works_as_a_script(session, library, code, tmp_path):
    """It makes the group by itself, as under torchrun."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    head = (
        "import torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "rank, world_size, device = dist.get_rank(), dist.get_world_size(), torch.device('cpu')\n"
    )
    if library in KEEP_THEIR_GROUP:
        session.reset(hard=True)
    script = tmp_path / "train.py"
    script.write_text(f"{head}{code}")
    session.run_script(script, timeout=300).raise_for_error()
    session.run("dist.barrier()", timeout=60).raise_for_error()
