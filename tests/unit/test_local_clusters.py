"""Local clusters as ipyparallel sees them: the controller's ports, engines of another process."""

from __future__ import annotations

import socket
import sys

import pytest
import zmq

from rankbook.cluster.controller import Controller
from rankbook.cluster.launchers import LocalEngines


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be kept")
def test_a_port_is_kept_for_zeromq_from_everybody_else():
    controller = Controller()
    ports = [controller.next_port("engine") for _ in range(20)]
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as queue:
        queue.bind(f"tcp://127.0.0.1:{ports[0]}")
        with socket.create_connection(("127.0.0.1", ports[0]), timeout=5):
            pass
    for keeper in controller._reserved:
        keeper.close()


def test_that_engines_of_another_process_have_ended_can_be_logged(tmp_path):
    engines = LocalEngines(profile_dir=str(tmp_path), cluster_id="x")
    engines.state = "running"
    engines.notify_stop({"exit_code": 0})
    assert engines.state == "after"
