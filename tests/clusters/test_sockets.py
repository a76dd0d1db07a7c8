"""What listens on which host and address, and that the controller refuses strangers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zmq

from clusters.conftest import PYTHON
from clusters.test_starts import LINES, REDUCE

ADDRESSES = {"login": "10.98.0.1", "alpha": "10.98.0.11", "beta-2": "10.98.0.12"}
THEIRS = ("slurm", "sshd", "munged", "srun", "mpiexec", "orted")
"""Programs of Slurm, OpenSSH and Open MPI, which listen as their sites configure them."""

ASK = """
import json, sys, zmq
from jupyter_client.session import Session
info, key = json.loads(sys.argv[1]), sys.argv[2]
socket = zmq.Context().socket(zmq.DEALER)
socket.linger = 0
if key:
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.curve_serverkey = key.encode()
socket.connect(info["interface"] + ":" + str(info["registration"]))
socket.sndtimeo = 3000  # there is nothing to send to while the other side refuses
try:
    Session(key=b"").send(socket, "connection_request", {})
except zmq.Again:
    pass
print("answered" if socket.poll(3000) else "nothing")
"""


def listeners(hosts, host):
    """By address and port, the programs that listen on a host, apart from theirs."""
    found = {}
    for line in hosts.ask("ss", "-Htlnp", host=host).splitlines():
        words = line.split()
        if not any(f'"{daemon}' in words[-1] for daemon in THEIRS):
            address, _, port = words[3].rpartition(":")
            found[address.strip("[]"), int(port)] = words[-1]
    return found


@pytest.mark.sample(every=3)
@pytest.mark.parametrize("kind", LINES)
def test_all_listen_on_their_hosts_address_and_no_command_shows_a_key(notebook, clean, kind):
    notebook.ok(f"%dist_init gloo {LINES[kind]} --no-dashboard")
    notebook.ok(REDUCE)
    for host, own in ADDRESSES.items():
        seen = {address for address, _ in listeners(clean, host)}
        assert seen <= {own, "127.0.0.1"}, (host, listeners(clean, host))
        assert seen, host
    # Everybody on a host may read command lines.
    [path] = Path(notebook.folder, "ipython").glob("profile_*/security/*-engine.json")
    key = json.loads(path.read_text())["curve_serverkey"].encode()
    assert key
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in clean.pids()]
    assert any(b"rankbook.engine." in command for command in commands)
    assert not [command for command in commands if key in command]
    notebook.ok("%dist_shutdown")


def test_the_controller_answers_only_who_has_its_key(notebook, clean):
    notebook.ok(f"%dist_init gloo {LINES['ssh']} --no-dashboard")
    [path] = Path(notebook.folder, "ipython").glob("profile_*/security/*-engine.json")
    assert path.stat().st_mode & 0o077 == 0
    info = json.loads(path.read_text())
    assert info["interface"] == "tcp://10.98.0.1"
    guessed = zmq.curve_keypair()[0].decode()
    keys = {"none": "", "guessed": guessed, "right": info["curve_serverkey"]}
    seen = {
        which: clean.ask(PYTHON, "-c", ASK, json.dumps(info), key, host="alpha").strip()
        for which, key in keys.items()
    }
    assert seen == {"none": "nothing", "guessed": "nothing", "right": "answered"}
    # Not even its ports for clients can be reached from there.
    client = json.loads(path.with_name(path.name.replace("engine", "client")).read_text())
    assert client["interface"] == "tcp://127.0.0.1"
    notebook.ok("%dist_shutdown")
