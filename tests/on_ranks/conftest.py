"""The plugin's ranks: as a library's, in a folder of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def ipython_dir(tmp_path_factory):
    """Connection files and logs of these tests, away from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield
