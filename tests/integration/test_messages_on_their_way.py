"""Ranks that wait for a message that is coming: not taken for stuck, and not cut in two."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading

import pytest
from processes import wait_until

SOON = 20.0

IP, TC = shutil.which("ip"), shutil.which("tc")

CAN_SLOW_DOWN = sys.platform == "linux" and os.geteuid() == 0 and IP and TC

SLOWLY = (
    f"{IP} link set lo up && {TC} qdisc add dev lo root tbf rate 40mbit burst 256kb latency 50ms "
    '&& exec "$@"'
)
"""In a network of its own: what goes over its loopback takes its time."""

A_BIG_MESSAGE = """
import sys
from rankbook import api

session = api.start("gloo", 2)
try:
    result = session.run('''
x = torch.ones(16 * 2**18) * (rank + 1)
if rank == 0:
    handle = dist.isend(x, 1)
else:
    dist.recv(x, 0)
x[-1].item()
''')
    print(result.diagnosis, result.note, [result[rank].result_repr for rank in (0, 1)])
finally:
    session.shutdown()
"""


@pytest.fixture
def slow_network():
    """The beginning of a command line that runs the rest where the network is slow."""
    if not CAN_SLOW_DOWN:
        pytest.skip("needs root and iproute2 to make a slow network")
    command = ["unshare", "--net", "sh", "-c", SLOWLY, "sh"]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"cannot make a slow network: {tried.stderr.strip()}")
    return command


def test_a_rank_that_slowly_receives_a_big_message_does_not_count_as_stuck(slow_network):
    """Its sender's cell has ended: it was sent with isend, which is not recorded."""
    done = subprocess.run(
        [*slow_network, sys.executable, "-c", A_BIG_MESSAGE],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "None  ['1.0', '1.0']\n", done.stderr


def interrupted(session, code):
    """Run a cell that does not end, interrupt it when it has begun, and return its result."""
    ended = []
    cell = threading.Thread(target=lambda: ended.append(session.run(code, on_hang="wait")))
    cell.start()
    wait_until(lambda: all(state.state != "idle" for state in session.states()), SOON)
    session.interrupt()
    cell.join(SOON)
    [result] = ended
    return result


def test_a_loop_of_big_collectives_can_be_interrupted_at_any_moment(two):
    assert two.run("big = torch.ones(64 * 2**18); count = 0").ok
    for _ in range(8):
        result = interrupted(two, "while True:\n    dist.all_reduce(big)\n    count += 1")
        assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
        assert "replaced" not in result.note
        assert two.run("dist.all_reduce(torch.ones(1)); count").ok
