"""Starting a cluster the way a profile says: here with ipyparallel's own local launchers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from IPython.core.profiledir import ProfileDir

import rankbook
from rankbook.errors import ClusterError


@pytest.fixture
def profile(ipython_dir):
    directory = ProfileDir.create_profile_dir_by_name(str(ipython_dir), "site")
    config = "c = get_config()\nc.Cluster.engine_launcher_class = 'Local'\nc.Cluster.delay = 0\n"
    Path(directory.location, "ipcluster_config.py").write_text(config)
    return "site"


@pytest.mark.slow
def test_a_profile_starts_the_engines_and_shutdown_stops_them(profile):
    session = rankbook.start("gloo", 2, profile=profile)
    try:
        result = session.run("x = torch.ones(1)\ndist.all_reduce(x)\nx.item()")
        assert [result[rank].result_repr for rank in (0, 1)] == ["2.0", "2.0"]
        # Not forked by us: each has its own Python, and ipyparallel's nanny.
        pids = [state.pid for state in session.states()]
        assert all("ipyparallel.engine" in psutil.Process(pid).cmdline() for pid in pids)
        session.reset(hard=True)
        assert {state.pid for state in session.states()}.isdisjoint(pids)
        with pytest.raises(ClusterError, match="has 2 engines and rankbook cannot add"):
            session.initialize(nproc=3)
        assert session.run("1").ok
    finally:
        session.shutdown()


def test_a_profile_that_does_not_exist_is_named_and_nothing_is_started():
    with pytest.raises(ClusterError) as caught:
        rankbook.start("gloo", 2, profile="nosuch")
    assert "\n" not in str(caught.value)
    assert "nosuch" in str(caught.value)
