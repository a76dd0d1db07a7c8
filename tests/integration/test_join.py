"""Joining a cluster that another process has started, with ipyparallel's own engines."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import ipyparallel
import psutil
import pytest
from kernels import notebook_with_magics
from processes import has_ended, wait_until

import rankbook
from rankbook.cluster.pool import Pool
from rankbook.errors import ClusterError, EngineError, SessionError
from rankbook.sessions.members import found
from rankbook.sessions.session import Session
from rankbook.timing import Timing


@contextmanager
def running_cluster():
    """A cluster of two plain engines, as ``ipcluster start -n 2`` makes it."""
    cluster = ipyparallel.Cluster(n=2, delay=0, log_level=40, shutdown_atexit=False)
    try:
        cluster.start_controller_sync()
        cluster.start_engines_sync(2)
        client = cluster.connect_client_sync()
        client.wait_for_engines(2, timeout=60, block=True, interactive=False)
        client.close()
        yield cluster
    finally:
        cluster.stop_cluster_sync()


@pytest.fixture(scope="module")
def cluster():
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def connect(cluster):
    """Joins the cluster; a session that a test leaves open is shut down."""

    def connect(**options):
        return rankbook.connect("gloo", cluster_id=cluster.cluster_id, **options)

    yield connect
    if (session := rankbook.session()) is not None:
        session.shutdown()


def test_a_session_that_joined_engines_runs_cells_and_leaves_the_engines_running(connect, cluster):
    session = connect()
    assert session.snapshot().cluster == cluster.cluster_id
    pids = [state.pid for state in session.states()]
    result = session.run("kept = 41\nx = torch.ones(1)\ndist.all_reduce(x)\nprint('hi')\nx.item()")
    assert [result[rank].result_repr for rank in (0, 1)] == ["2.0", "2.0"]
    assert result[0].stdout == "hi\n"
    session.reset()
    assert session.generation == 2
    session.shutdown()
    assert not any(map(has_ended, pids))

    again = connect()
    assert [state.pid for state in again.states()] == pids
    assert again.run("kept + 1")[0].result_repr == "42"
    again.shutdown()


def test_a_cluster_can_be_joined_by_its_connection_file(cluster):
    path = cluster.controller.connection_files["client"]
    session = rankbook.connect("gloo", connection_file=path)
    assert session.world_size == 2
    session.shutdown()


def test_a_joined_cluster_can_have_fewer_ranks_than_engines_and_not_more(connect):
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


def test_a_cluster_that_does_not_exist_is_refused():
    with pytest.raises(ClusterError, match="There is no cluster 'nope': `ipcluster list` shows"):
        rankbook.connect(cluster_id="nope")


@contextmanager
def one_engine(path):
    """A cluster of one plain engine whose Python looks for modules in a directory first."""
    cluster = ipyparallel.Cluster(n=1, delay=0, log_level=40, shutdown_atexit=False)
    search = os.pathsep.join(filter(None, (os.fspath(path), os.environ.get("PYTHONPATH"))))
    try:
        cluster.start_controller_sync()
        cluster.start_engines_sync(1, environment={"PYTHONPATH": search})
        client = cluster.connect_client_sync()
        client.wait_for_engines(1, timeout=60, block=True, interactive=False)
        client.close()
        yield cluster
    finally:
        cluster.stop_cluster_sync()


def test_an_engine_without_rankbook_is_named_by_its_host(tmp_path):
    (tmp_path / "rankbook.py").write_text("raise ImportError('No module named rankbook')")
    with one_engine(tmp_path) as cluster:
        with pytest.raises(EngineError, match=f"Engine 0 on {socket.gethostname()} .*pip install"):
            rankbook.connect("gloo", cluster_id=cluster.cluster_id)
        assert rankbook.session() is None
    assert "rankbook" in sys.modules


def test_an_engine_with_another_version_of_rankbook_is_refused_in_one_line(tmp_path):
    code = "import rankbook._version\nrankbook._version.__version__ = '9.8.7'"
    (tmp_path / "sitecustomize.py").write_text(code)
    with one_engine(tmp_path) as cluster:
        with pytest.raises(EngineError) as caught:
            rankbook.connect("gloo", cluster_id=cluster.cluster_id)
        assert rankbook.session() is None
    assert re.fullmatch(
        rf"Engine 0 on {socket.gethostname()} has rankbook 9\.8\.7 and this notebook has "
        rf"{re.escape(rankbook.__version__)}: .+",
        str(caught.value),
    )


# -- a group that is there already -----------------------------------------------------------

ALL_REDUCE = "x = torch.ones(1)\ndist.all_reduce(x)\nx.item()"


@pytest.fixture
def raw(cluster):
    """Somebody else's client of the same engines."""
    client = ipyparallel.Client(cluster.controller.connection_files["client"])
    yield client
    client.close()


@pytest.fixture
def notebook(ipython_dir, tmp_path):
    """A notebook whose temporary files are its own."""
    with notebook_with_magics(env=os.environ | {"TMPDIR": str(tmp_path)}) as notebook:
        yield notebook


@pytest.fixture
def lab(cluster, notebook):
    """The notebook, in a group of two."""
    said = init(notebook, f"gloo --timeout 3 --cluster-id {cluster.cluster_id}")
    assert said == "2 ranks, gloo, generation 1\n"
    notebook.cluster = cluster.cluster_id
    yield notebook
    notebook.run("%dist_shutdown")


def init(notebook, line):
    """What ``%dist_init`` says."""
    notebook.run(f"%dist_init --no-dashboard {line}")
    return notebook.stdout or notebook.stderr


def hang(notebook, tmp_path):
    """Have rank 0 wait endlessly in a cell that is not freed; return the file that shows it."""
    sign = tmp_path / "waits"
    notebook.start(
        "%%dist --on-hang wait\nkept = rank + 40\n"
        f"if rank == 0:\n    open({str(sign)!r}, 'w').close()\n    dist.all_reduce(torch.ones(1))"
    )
    wait_until(sign.exists)


def waits(notebook):
    """Whether some rank is seen in a collective."""
    notebook.run("%dist_status")
    return "all_reduce" in notebook.shown[0]


def test_a_restarted_kernel_finds_group_and_variables_as_they_were(lab, tmp_path):
    lab.run("%dist_reset")
    lab.run("%%dist\nkept = rank + 40\nfirst = dist.group.WORLD")
    lab.restart()
    assert init(lab, f"--cluster-id {lab.cluster}") == "2 ranks, gloo, generation 2\n"
    lab.run("import rankbook\ns = rankbook.session()\nprint(s.timeout_minutes, s.groups[1])")
    assert lab.stdout.startswith("3.0 GroupInfo(backend='gloo', rank=1, world_size=2, device='cpu'")
    lab.run("%dist kept, first is dist.group.WORLD")
    assert "\n".join(lab.shown) == "[0] (40, True)\n[1] (41, True)"
    # A new group needs the store that the former kernel made.
    lab.run("%%dist\nx = torch.ones(1)\ndist.all_reduce(x, group=dist.new_group([0, 1]))\nx.item()")
    assert lab.shown == ["[0-1] 2.0"]
    former = set(tmp_path.glob("rankbook-*/store-*"))
    lab.run("%dist_reset")
    assert lab.stdout == "2 ranks, gloo, generation 3; subgroups made before go on.\n"
    lab.run(f"%%dist\n{ALL_REDUCE}")
    assert lab.shown == ["[0-1] 2.0"]
    assert len(former) == 1
    assert [path.name for path in tmp_path.glob("rankbook-*/*")] == ["store-3"]


@pytest.mark.parametrize("way_out", ["%dist_interrupt", "%dist_reset"])
def test_a_hang_left_by_a_killed_kernel_is_found_explained_and_freed(lab, tmp_path, way_out):
    hang(lab, tmp_path)
    lab.restart(kill=True)
    refused = init(lab, f"gloo --cluster-id {lab.cluster}")
    assert re.match(r"UsageError: Rank.* 0.* busy: join with --cluster-id alone", refused), refused
    begin = time.monotonic()
    assert init(lab, f"--cluster-id {lab.cluster}") == "2 ranks, gloo, generation 1\n"
    wait_until(lambda: waits(lab))
    lab.run("%dist_why")
    [why] = lab.shown
    assert "rank 0" in why.lower()
    assert "all_reduce" in why
    lab.run(way_out)
    # Subgroups that another test has made on these ranks go on.
    reset = r"2 ranks, gloo, generation 2(; subgroups made before go on\.)?"
    expected = r"Interrupted\." if "interrupt" in way_out else reset
    assert re.fullmatch(f"{expected}\n", lab.stdout), lab.stdout
    assert time.monotonic() - begin < 20
    lab.run(f"%%dist\n{ALL_REDUCE} + kept")
    assert "\n".join(lab.shown) == "[0] 42.0\n[1] 43.0"
    lab.run("print(__import__('rankbook').session().generation)")
    assert lab.stdout == "2\n"


def test_a_cell_behind_an_adopted_hang_ends_with_an_error_and_frees_it(lab, tmp_path):
    hang(lab, tmp_path)
    lab.restart(kill=True)
    init(lab, f"--cluster-id {lab.cluster}")
    assert lab.run("%%dist\nkept")["status"] == "error"
    lab.run(f"%%dist\n{ALL_REDUCE}")
    assert lab.shown == ["[0-1] 2.0"]


def test_a_kernel_restart_during_a_hang_ends_the_cell_first(lab, tmp_path):
    hang(lab, tmp_path)
    lab.restart()
    assert init(lab, f"--cluster-id {lab.cluster}").startswith("2 ranks, gloo, generation")
    lab.run(f"%%dist\n{ALL_REDUCE} + kept")
    assert "\n".join(lab.shown) == "[0] 42.0\n[1] 43.0"


def test_a_joining_session_leaves_a_silent_rank_alone(cluster, connect, tmp_path, monkeypatch):
    """What it does is not known: it may be at work for another notebook."""
    first, sign, over = connect(), tmp_path / "begun", tmp_path / "over"
    results = []
    code = f"""import ctypes, os, time
if rank == 1:
    open({str(sign)!r}, 'w').close()
    while not os.path.exists({str(over)!r}):
        time.sleep(0.5)
        ctypes.PyDLL(None).sleep(3)  # lets no other thread of Python's run
'done'"""
    cell = first.in_background(lambda: results.append(first.run(code)))
    wait_until(sign.exists)
    # Between two of those moments it says that it is there.
    second = Session(Pool.join(cluster_id=cluster.cluster_id), Timing(adopt=0.2))
    wait_until(lambda: not found.look(second.members)[1])
    try:
        for join in (second.adopt, lambda: second.initialize("gloo")):
            with pytest.raises(ClusterError, match=r"^Engine 1 does not answer and may be at work"):
                join()
    finally:
        second.detach()
        over.touch()
    cell.join(30)
    assert [results[0][rank].result_repr for rank in (0, 1)] == ["'done'"] * 2
    assert first.generation == 1
    first.shutdown()


def test_a_kernel_that_ends_leaves_the_group_and_a_shutdown_destroys_it(cluster, connect, raw):
    there = "__import__('torch').distributed.is_initialized()"
    with notebook_with_magics() as notebook:
        init(notebook, f"gloo --cluster-id {cluster.cluster_id}")
    assert raw[:].apply(eval, there).get() == [True, True]
    session = rankbook.connect(cluster_id=cluster.cluster_id)
    assert (session.generation, session.backend) == (1, "gloo")
    session.shutdown()
    assert raw[:].apply(eval, there).get() == [False, False]


def test_joining_with_another_number_of_ranks_makes_a_new_group(cluster, connect):
    connect().detach()
    session = connect(nproc=1)
    assert (session.generation, session.world_size) == (2, 1)
    session.detach()
    found = rankbook.connect(cluster_id=cluster.cluster_id)
    assert (found.generation, found.world_size, len(found.states())) == (2, 1, 2)
    found.initialize(nproc=2)
    assert found.run(ALL_REDUCE)[1].result_repr == "2.0"
    found.shutdown()


def test_a_mistake_in_joining_leaves_the_group_as_it_is(cluster, connect):
    connect().detach()
    for mistake in ({"backend": "nosuch"}, {"nproc": 7}):
        with pytest.raises(rankbook.RankbookError):
            rankbook.connect(cluster_id=cluster.cluster_id, **mistake)
    found = rankbook.connect(cluster_id=cluster.cluster_id)
    assert found.generation == 1
    assert found.run(ALL_REDUCE)[0].result_repr == "2.0"
    found.shutdown()


def test_joining_a_group_that_lost_a_rank_makes_a_new_one_with_a_higher_number():
    with running_cluster() as cluster:
        session = rankbook.connect("gloo", cluster_id=cluster.cluster_id)
        session.reset()
        session.run("kept = rank")
        killed = session.pool.engines[0]
        pid = session.states()[0].pid
        died = session.run("import os, signal\nif rank == 0: os.kill(os.getpid(), signal.SIGKILL)")
        assert died.note.startswith("%dist_init -n 1 goes on without it; or start 1 engine where")
        session.detach()
        client = cluster.connect_client_sync()
        wait_until(lambda: killed not in client.ids and not psutil.pid_exists(pid))
        client.close()
        found = rankbook.connect(cluster_id=cluster.cluster_id)
        assert (found.generation, found.world_size) == (3, 1)
        assert found.run("kept")[0].result_repr == "1"
        found.shutdown()


def ipcluster(*arguments):
    command = [sys.executable, "-m", "ipyparallel.cluster", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_ipcluster_lists_and_stops_the_cluster_of_a_session():
    session = rankbook.start("gloo", 2)
    try:
        listed = ipcluster("list")
        assert listed.stderr == ""
        assert re.search(rf"{session.pool.cluster_id} +True +2 ", listed.stdout)
        stopped = ipcluster("stop", f"--cluster-id={session.pool.cluster_id}")
        assert "Traceback" not in stopped.stderr
        with pytest.raises(rankbook.RankbookError, match=r"controller is gone|Rank . ended"):
            session.run("import time\ntime.sleep(60)")
    finally:
        session.shutdown()
    assert session.pool.cluster_id not in ipcluster("list").stdout


def test_a_second_notebook_shares_the_group_of_the_first(notebook):
    first = rankbook.start("gloo", 2)
    try:
        client = first.pool.launcher.cluster.connect_client_sync()
        client.wait_for_engines(2, timeout=20, block=True, interactive=False)
        client.close()
        first.run("kept = rank")
        said = init(notebook, f"--cluster-id {first.pool.cluster_id}")
        assert said == "2 ranks, gloo, generation 1\n"
        notebook.run("%dist kept")
        assert "\n".join(notebook.shown) == "[0] 0\n[1] 1"
        assert first.run(ALL_REDUCE)[0].result_repr == "2.0"
        notebook.run("%dist_reset")
        assert notebook.stdout == "2 ranks, gloo, generation 2\n"
        assert first.run(ALL_REDUCE)[0].result_repr == "2.0"
        # The directory of the first session's store is gone with its group: it makes another.
        first.reset()
        assert first.run(ALL_REDUCE)[0].result_repr == "2.0"
        notebook.restart()
        assert first.run(ALL_REDUCE)[0].result_repr == "2.0"
    finally:
        first.shutdown()
