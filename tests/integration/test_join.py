"""Joining a cluster that somebody else has started, with ipyparallel's own engines."""

from __future__ import annotations

import os
import socket
import sys

import ipyparallel
import psutil
import pytest

import rankbook
from rankbook.errors import ClusterError, EngineError, SessionError


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two plain engines, as ``ipcluster start -n 2`` makes it."""
    cluster = ipyparallel.Cluster(n=2, delay=0, log_level=40, shutdown_atexit=False)
    cluster.start_controller_sync()
    cluster.start_engines_sync(2)
    client = cluster.connect_client_sync()
    client.wait_for_engines(2, timeout=60, block=True, interactive=False)
    client.close()
    yield cluster
    cluster.stop_cluster_sync()


@pytest.fixture
def connect(cluster):
    """Joins the cluster; a session that a test leaves open is shut down."""

    def connect(**options):
        return rankbook.connect("gloo", cluster_id=cluster.cluster_id, **options)

    yield connect
    if (session := rankbook.session()) is not None:
        session.shutdown()


def test_joining_runs_cells_and_leaves_the_engines_when_it_goes(connect):
    session = connect()
    pids = [state.pid for state in session.states()]
    result = session.run("kept = 41\nx = torch.ones(1)\ndist.all_reduce(x)\nprint('hi')\nx.item()")
    assert [result[rank].result_repr for rank in (0, 1)] == ["2.0", "2.0"]
    assert result[0].stdout == "hi\n"
    session.reset()
    assert session.generation == 2
    session.shutdown()
    assert all(psutil.pid_exists(pid) for pid in pids)

    again = connect()
    assert [state.pid for state in again.states()] == pids
    assert again.run("kept + 1")[0].result_repr == "42"
    again.shutdown()


def test_a_connection_file_will_do(cluster):
    path = cluster.controller.connection_files["client"]
    session = rankbook.connect("gloo", connection_file=path)
    assert session.world_size == 2
    session.shutdown()


def test_fewer_ranks_than_engines(connect):
    session = connect(nproc=1)
    assert (session.world_size, len(session.states())) == (1, 2)
    with pytest.raises(ClusterError, match="has 2 engines and rankbook cannot add"):
        session.initialize(nproc=3)
    session.shutdown()


def test_joined_engines_cannot_be_replaced(connect):
    session = connect()
    with pytest.raises(SessionError, match="cannot replace them"):
        session.reset(hard=True)
    session.shutdown()


def test_raw_px_still_works_beside_a_session(connect, cluster):
    session = connect()
    client = ipyparallel.Client(cluster.controller.connection_files["client"])
    result = client[:].execute("print('raw'); 6 * 7", silent=False, block=True)
    assert result.stdout == ["raw\n", "raw\n"]
    assert [r.execute_result["data"]["text/plain"] for r in result.get()] == ["42", "42"]
    client.close()
    session.shutdown()


def test_a_cluster_that_does_not_exist():
    with pytest.raises(ClusterError, match="There is no cluster 'nope': `ipcluster list` shows"):
        rankbook.connect(cluster_id="nope")


def test_an_engine_without_rankbook_is_named_by_its_host(tmp_path):
    (tmp_path / "rankbook.py").write_text("raise ImportError('No module named rankbook')")
    cluster = ipyparallel.Cluster(n=1, delay=0, log_level=40, shutdown_atexit=False)
    cluster.start_controller_sync()
    cluster.start_engines_sync(1, environment={"PYTHONPATH": os.fspath(tmp_path)})
    client = cluster.connect_client_sync()
    client.wait_for_engines(1, timeout=60, block=True, interactive=False)
    client.close()
    try:
        with pytest.raises(EngineError, match=f"Engine 0 on {socket.gethostname()} .*pip install"):
            rankbook.connect("gloo", cluster_id=cluster.cluster_id)
        assert rankbook.session() is None
    finally:
        cluster.stop_cluster_sync()
    assert "rankbook" in sys.modules
