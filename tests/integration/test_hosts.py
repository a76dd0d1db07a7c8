"""Two hosts: network namespaces with names of their own, joined by a virtual cable.

A controller and one engine run in the first, two engines in the second. This is how several
machines look to rankbook: other host names, other addresses, no loopback between them.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import uuid

import psutil
import pytest
from processes import wait_until

IP = shutil.which("ip") or "ip"
CAN_MAKE_HOSTS = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("ip")

pytestmark = pytest.mark.skipif(
    not CAN_MAKE_HOSTS, reason="needs root and iproute2 to make network namespaces"
)

NOTEBOOK = """
import json, sys, time
import rankbook
from rankbook.sessions.live.collector import Timeline

session = rankbook.connect("gloo", connection_file=sys.argv[1])
reduce = "import os, psutil, socket; x = torch.ones(1); dist.all_reduce(x); "
facts = "[x.item(), socket.gethostname(), local_rank, int(os.environ['LOCAL_WORLD_SIZE']), "
facts += "os.environ['MASTER_ADDR']]"
ports = "[c.laddr.ip for c in psutil.Process().net_connections('tcp') if c.status == 'LISTEN']"

def values(code):
    result = session.run(code)
    result.raise_for_error()
    return [result[rank].result_repr for rank in result]

seen = {"first": values(reduce + facts), "listening": values(ports)}
session.reset()
seen["again"] = values(reduce + "x.item()")
seen["hosts"] = [state.host for state in session.states()]
timeline, until = Timeline(session.members), time.monotonic() + 20
while not len(timeline.kept) and time.monotonic() < until:
    timeline.collect(session.states(), session.cells)
    time.sleep(0.05)
seen["clocks"], seen["bars"] = timeline.clocks, len(timeline.kept)
print(json.dumps(seen))
session.shutdown()
"""


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=20)


@pytest.fixture
def hosts():
    """Two network namespaces, 10.99.0.1 and 10.99.0.2, on a cable of their own."""
    tag = uuid.uuid4().hex[:6]
    names = [f"rb{tag}a", f"rb{tag}b"]
    cables = [f"v{tag}a", f"v{tag}b"]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for i, (name, cable) in enumerate(zip(names, cables, strict=True)):
            run("ip", "link", "set", cable, "netns", name)
            run("ip", "-n", name, "addr", "add", f"10.99.0.{i + 1}/24", "dev", cable)
            run("ip", "-n", name, "link", "set", cable, "up")
    except subprocess.CalledProcessError as error:
        remove(names)
        pytest.skip(f"cannot make network namespaces: {error.stderr.decode().strip()}")
    yield names
    remove(names)


def remove(names):
    for name in names:
        subprocess.run([IP, "netns", "del", name], check=False, capture_output=True)


def on_host(namespace, hostname, *command, **options):
    """Start a command in a namespace whose processes call their machine ``hostname``."""
    script = 'hostname "$0" && exec "$@"'
    inside = ["ip", "netns", "exec", namespace, "unshare", "--uts", "sh", "-c", script]
    return subprocess.Popen([*inside, hostname, *command], **options)


@pytest.fixture
def cluster(hosts, tmp_path):
    """A controller and an engine on the first host, two engines on the second."""
    profile = ["--profile-dir", str(tmp_path), "--log-level=ERROR"]
    (tmp_path / "log").mkdir()
    log = (tmp_path / "log" / "all.txt").open("wb")
    options = {"stdout": log, "stderr": log, "cwd": tmp_path}
    module = [sys.executable, "-m"]
    started = [
        on_host(
            hosts[0],
            "anna",
            *[*module, "ipyparallel.controller", "--ip=10.99.0.1", "--location=10.99.0.1"],
            *profile,
            **options,
        )
    ]
    files = [tmp_path / "security" / f"ipcontroller-{kind}.json" for kind in ("client", "engine")]
    try:
        wait_for(lambda: all(f.exists() for f in files), tmp_path)
        for namespace, name in ((hosts[0], "anna"), (hosts[1], "berta"), (hosts[1], "berta")):
            engine = [*module, "ipyparallel.engine", f"--file={files[1]}", *profile]
            started.append(on_host(namespace, name, *engine, **options))
        yield hosts, files[0]
    finally:
        below = [p for s in started for p in psutil.Process(s.pid).children(recursive=True)]
        for process in started[::-1]:
            process.terminate()
        for process in started:
            process.wait(20)
        _, alive = psutil.wait_procs(below, timeout=20)
        for process in alive:
            process.kill()
        log.close()


def wait_for(condition, tmp_path, timeout=30):
    wait_until(condition, timeout, pause=0.05, why=(tmp_path / "log" / "all.txt").read_text)


def engines_of(client_file, namespace):
    """How many engines the controller knows, asked from the first host."""
    code = "import ipyparallel, sys; print(len(ipyparallel.Client(sys.argv[1]).ids))"
    asked = [IP, "netns", "exec", namespace, sys.executable, "-c", code, str(client_file)]
    return int(subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout)


def test_a_group_forms_and_works_over_two_hosts(cluster, tmp_path):
    (anna, _), client_file = cluster
    wait_for(lambda: engines_of(client_file, anna) == 3, tmp_path, timeout=60)
    notebook = on_host(
        anna, "anna", sys.executable, "-c", NOTEBOOK, str(client_file), stdout=subprocess.PIPE
    )
    out, _ = notebook.communicate(timeout=90)
    assert notebook.returncode == 0
    seen = json.loads(out)
    by_host = {}
    for rank, shown in enumerate(seen["first"]):
        value, host, local_rank, local_world_size, address = ast.literal_eval(shown)
        assert (value, address) in {(3.0, "10.99.0.1"), (3.0, "10.99.0.2")}
        by_host.setdefault(host, []).append((rank, local_rank, local_world_size))
    # Local ranks are counted per host, and the ranks of a host are neighbours.
    assert sorted(len(ranks) for ranks in by_host.values()) == [1, 2]
    for ranks in by_host.values():
        assert [local for _, local, _ in ranks] == list(range(len(ranks)))
        assert {size for _, _, size in ranks} == {len(ranks)}
        assert [rank for rank, _, _ in ranks] == list(range(ranks[0][0], ranks[0][0] + len(ranks)))
    assert len(set(seen["hosts"])) == 2
    # The store and gloo listen on the address that the others reach, never on all of them.
    everywhere = {"0.0.0.0", "::"}  # noqa: S104 - what must not be
    assert all(everywhere.isdisjoint(ast.literal_eval(its)) for its in seen["listening"])
    assert seen["again"] == ["3.0"] * 3
    # Both hosts are this machine, so their clocks are one; what is measured must agree with that.
    [clock] = seen["clocks"]
    assert clock["host"] == "berta"
    assert abs(clock["offset"]) <= clock["error"] < 0.1
    assert seen["bars"] >= 3
