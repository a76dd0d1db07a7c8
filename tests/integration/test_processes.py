"""What a session leaves behind, listens on and imports."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path

import psutil
import pytest
from kernels import kernel_manager
from processes import (
    child_that_runs,
    commands,
    family,
    has_ended,
    listening,
    run_python,
    wait_until,
)

import rankbook
from rankbook import lastcalls
from rankbook.errors import ClusterError


def test_a_local_session_listens_on_loopback_only():
    session = rankbook.start("gloo", 3)
    try:
        assert session.run("x = torch.ones(1)\ndist.all_reduce(x)").ok
        mine = psutil.Process()
        assert listening([mine, *family(mine)]) <= {"127.0.0.1", "::1"}
    finally:
        session.shutdown()


@pytest.mark.skipif(sys.platform != "linux", reason="signals a thread from outside its process")
def test_the_controller_ends_at_once_whatever_its_loop_waits_for():
    """Python's own handlers wait for Python code, and while the loop sleeps there is none."""
    session = rankbook.start("gloo", 2)
    try:
        controller = child_that_runs("rankbook.cluster.processes.controller")
        other = next(t.id for t in controller.threads() if t.id != controller.pid)
        # As good as one that comes right before the main thread sleeps: it does not wake it.
        assert ctypes.CDLL(None).tgkill(controller.pid, other, signal.SIGTERM) == 0
        assert psutil.wait_procs([controller], timeout=10)[1] == []
    finally:
        session.shutdown()


def test_a_controller_that_ends_while_its_session_closes_stops_no_other_session():
    """They share ZeroMQ's thread, which must not wait until the end is noticed."""
    code = """
        import psutil
        import rankbook
        import zmq

        def main():
            session = rankbook.start("gloo", 2)
            [controller] = [
                p for p in psutil.Process().children()
                if "rankbook.cluster.processes.controller" in p.cmdline()
            ]
            # A client closes its sockets one after the other: here the one that is watched is
            # still open as the controller ends.
            client = session.pool.launcher.client
            client._io_loop.add_callback(client._io_loop.remove_handler, client._control_socket)
            client.close = lambda linger: client._stop_io_thread()
            session.pool.wire.close()
            del client.close
            controller.kill()
            controller.wait(10)
            with zmq.Context.instance().socket(zmq.PAIR) as one:
                with zmq.Context.instance().socket(zmq.PAIR) as other:
                    other.connect(f"tcp://127.0.0.1:{one.bind_to_random_port('tcp://127.0.0.1')}")
                    other.send(b"")
                    print(bool(one.poll(10_000)))
            session.shutdown()

        main()
    """
    assert run_python(code).stdout == "True\n"


def test_a_hub_shut_down_by_another_client_is_lost_at_once_and_stops_no_other_session():
    """The client would close itself then, and threads that wait would never notice."""
    code = """
        import threading
        import ipyparallel
        import rankbook
        from rankbook.errors import ClusterError

        def run(session):
            try:
                session.run("import time; time.sleep(600)")
            except ClusterError as error:
                print(error, flush=True)

        def main():
            session = rankbook.start("gloo", 2)
            running = threading.Thread(target=run, args=(session,), daemon=True)
            running.start()
            controller = session.pool.launcher.cluster.controller
            other = ipyparallel.Client(controller.connection_files["client"])
            # Of its shutdown(hub=True) the half that is not about engines.
            other._send(other._query_stream, "shutdown_request")
            running.join(10)
            print(running.is_alive(), flush=True)
            run(session)
            session.shutdown()
            again = rankbook.start("gloo", 2)
            print(again.run("dist.barrier()").ok)
            again.shutdown()

        main()
    """
    gone = "The cluster's controller is gone, and its engines cannot be reached: "
    gone += "start again with %dist_init.\n"
    assert run_python(code).stdout == f"{gone}False\n{gone}True\n"


def files_of_last_calls(cluster):
    """Files in which ranks of a cluster have left what they called last."""
    return [path for path in lastcalls._files(lastcalls._folder()) if cluster in path.name]


def test_a_shutdown_removes_the_files_of_its_session(ipython_dir):
    session = rankbook.start("gloo", 2)
    cluster = session.pool.cluster_id
    assert list(ipython_dir.glob(f"*/security/*{cluster}*"))
    # The controller would write it again when the engines leave, which may be later.
    assert not list(ipython_dir.glob(f"*/log/engines{cluster}*"))
    assert len(files_of_last_calls(cluster)) == 2
    assert list(Path(tempfile.gettempdir()).glob(f"rankbook-{cluster}-*"))
    session.shutdown()
    assert list(ipython_dir.glob(f"*/*/*{cluster}*")) == []
    assert files_of_last_calls(cluster) == []
    assert list(Path(tempfile.gettempdir()).glob(f"rankbook-{cluster}-*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="where engines end with what forked them")
def test_a_session_whose_forking_process_was_killed_is_shut_down_cleanly(ipython_dir):
    session = rankbook.start("gloo", 2)
    cluster = session.pool.cluster_id
    try:
        child_that_runs("rankbook.engine.starting.server").kill()
        wait_until(lambda: set(session.dead_ranks) == {0, 1})
        with pytest.raises(ClusterError, match="%dist_reset --hard"):
            session.restart_ranks()
    finally:
        session.shutdown()
    assert list(ipython_dir.glob(f"*/*/*{cluster}*")) == []


def test_loading_the_extension_imports_neither_torch_nor_ipyparallel():
    code = """
        import json, sys
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "rankbook")
        names = {name.partition(".")[0] for name in sys.modules}
        print(json.dumps(sorted(names & {"torch", "ipyparallel", "ipywidgets", "numpy"})))
    """
    assert json.loads(run_python(code).stdout) == []


def test_a_notebook_imports_no_torch_to_run_cells():
    code = """
        import sys
        import rankbook
        session = rankbook.start("gloo", 2)
        assert session.run("dist.barrier()").ok
        session.reset()
        session.snapshot()
        print("torch" in sys.modules)
        session.shutdown()
    """
    assert run_python(code).stdout.strip() == "False"


@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_kernel_leaves_no_process_running(busy, ipython_dir):
    with kernel_manager() as manager:
        kill_kernel_and_see_all_end(manager, ipython_dir, busy=busy)


def kill_kernel_and_see_all_end(manager, ipython_dir, *, busy):
    files = partial(ipython_dir.glob, "*/security/ipcontroller-*-client.json")
    others = {*files()}  # of tests before that failed
    manager.kernel_spec_manager.ensure_native_kernel = True
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=30)
        reply = client.execute_interactive(
            "%load_ext rankbook\n%dist_init gloo -n 3 --no-dashboard", timeout=60
        )
        assert reply["content"]["status"] == "ok"
        [cluster] = [
            path.name.split("-", 1)[1].removesuffix("-client.json") for path in {*files()} - others
        ]
        kernel = psutil.Process(manager.provisioner.pid)
        started = family(kernel)
        assert len(started) >= 5  # a controller and its heart monitor, a server, three engines
        if busy:
            client.execute("%%dist\nif rank: dist.barrier()\nwhile True: pass")
            engines = [p for p in started if p.cpu_percent() is not None]
            wait_until(lambda: max(p.cpu_percent(0.1) for p in engines) > 20)
        kernel.kill()
        _, alive = psutil.wait_procs(started, timeout=10)
        assert commands(alive) == []
        assert list(ipython_dir.glob(f"*/log/*{cluster}*")) == []
        assert files_of_last_calls(cluster) == []
        assert list(Path(tempfile.gettempdir()).glob(f"rankbook-{cluster}-*")) == []
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("moment", ["server", "engines", "registered"])
def test_ctrl_c_during_the_start_leaves_no_process_running(moment):
    """SIGINT at the first sign of each stage of the start."""
    code = """
        import sys, time
        import rankbook
        print("starting", flush=True)
        try:
            rankbook.start("gloo", 3)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.readline()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "starting\n"
        mine = psutil.Process(process.pid)
        count = {"server": 1, "engines": 4, "registered": 6}[moment]
        wait_until(lambda: len(family(mine)) >= count, timeout=30)
        started = family(mine)
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        _, alive = psutil.wait_procs(started, timeout=10)
        assert commands(alive) == []
        assert family(mine) == []
    finally:
        process.communicate("\n", timeout=20)


def test_a_notebook_that_ends_in_order_leaves_no_process_running():
    code = """
        import psutil
        import rankbook
        session = rankbook.start("gloo", 2)
        print(*[p.pid for p in psutil.Process().children(recursive=True)])
    """
    pids = [int(pid) for pid in run_python(code).stdout.split()]
    assert len(pids) >= 4
    wait_until(lambda: all(map(has_ended, pids)), timeout=10)
