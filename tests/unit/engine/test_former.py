"""What the last script has left running ends when the next one begins."""

from __future__ import annotations

import queue
import socket
import socketserver
import threading
import time
import weakref

import pytest
from torch.distributed import HashStore

from rankbook.engine.cells.former import Former
from rankbook.engine.cells.left import Left

# Threads end with SystemExit, of which Python says nothing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def server(port=0):
    return socketserver.TCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler)


def test_ports_can_be_used_again_and_other_names_stay():
    former, before = Former(), Left()
    names = {"server": server(), "model": [1], "port": socket.socket()}
    thread = threading.Thread(target=names["server"].serve_forever, daemon=True)
    thread.start()
    names["port"].bind(("127.0.0.1", 0))
    ports = [names[name].getsockname()[1] for name in ("port",)]
    ports.append(names["server"].server_address[1])
    namespace = {**names, "mine": 2}
    former.keep(names, before.since())
    former.end(namespace)
    assert namespace == {"model": [1], "mine": 2}
    assert not thread.is_alive()
    for port in ports:
        server(port).server_close()
    former.end(namespace)  # a third script finds nothing more


def test_a_store_is_let_go_of():
    former, store = Former(), HashStore()
    namespace = {"store": store, "other": 1}
    gone = weakref.ref(store)
    former.keep(dict(namespace), Left(set(), set()))
    del store
    former.end(namespace)
    assert namespace == {"other": 1}
    assert gone() is None


def test_a_store_is_let_go_of_that_an_object_of_the_script_has_too():
    class Heartbeat:
        __module__ = "__main__"

    former, store, heartbeat = Former(), HashStore(), Heartbeat()
    heartbeat.store = store
    namespace = {"store": store, "heartbeat": heartbeat, "other": 1}
    gone = weakref.ref(store)
    former.keep(dict(namespace), Left(set(), set()))
    del store, heartbeat
    former.end(namespace)
    assert namespace == {"other": 1}
    assert gone() is None


def test_a_name_that_a_cell_has_given_to_something_else_stays():
    former, names = Former(), {"server": socket.socket()}
    former.keep(names, Left(set(), set()))
    namespace = {"server": "of a cell"}
    former.end(namespace)
    assert namespace == {"server": "of a cell"}


def test_a_thread_that_does_not_return_to_python_is_not_waited_for_long():
    former, before, go = Former(), Left(), queue.SimpleQueue()
    thread = threading.Thread(target=go.get, daemon=True)
    thread.start()
    former.keep({}, before.since())
    began = time.monotonic()
    former.end({})
    assert time.monotonic() - began < 2
    assert thread.is_alive()
    go.put(None)
    thread.join()
