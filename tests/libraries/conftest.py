"""A session for the tests of libraries."""

from __future__ import annotations

import pytest

import rankbook


@pytest.fixture(scope="module")
def session():
    """Two gloo ranks on this machine."""
    session = rankbook.start("gloo", 2)
    yield session
    session.shutdown()
