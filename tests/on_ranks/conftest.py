"""The plugin's ranks: as a library's, in a folder of their own."""

from __future__ import annotations

import pytest

from rankbook import pytest_plugin


@pytest.fixture(scope="module", autouse=True)
def ranks_end(tmp_path_factory, request):
    """Ranks end with a module: other tests look at the processes that this one has.

    Their connection files and logs stay away from the user's own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        yield
        pytest_plugin.pytest_unconfigure(request.config)
