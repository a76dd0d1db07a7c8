"""Hosts that are lost are found before anything is ended, and reached again where needed."""

from __future__ import annotations

import platform
import sys
import threading
from math import inf

import pytest
from processes import wait_until

from rankbook import __version__
from rankbook.cluster.hosts.addresses import refuse_foreign
from rankbook.cluster.launchers import answering
from rankbook.cluster.launchers.base import Ended
from rankbook.cluster.launchers.host import Host
from rankbook.cluster.launchers.hosts import HostsLauncher
from rankbook.errors import ClusterError, InputError

HELLO = {"event": "hello", "rankbook": __version__, "python": platform.python_version()}

SERVES = f"""
import json, sys
print({HELLO!r}.__repr__().replace("'", '"'), flush=True)
for line in sys.stdin:
    if "ping" in line: print('{{"event": "pong"}}', flush=True)
"""
"""Says hello and answers pings, as the process on a host does."""


class TwoHosts(HostsLauncher):
    """Two hosts with two seats each, whose processes are here."""

    def __init__(self):
        super().__init__(4)
        self.commands = {"alpha": SERVES, "beta": SERVES}
        self.reached = []

    def describe(self):
        return "two hosts"

    def preview(self):
        return []

    def find_address(self):
        return "10.98.0.1"

    def reach(self):
        return [self._host(name) for name in self.commands]

    def reach_again(self, host):
        return self._host(host.name)

    def why_it_ended(self, host):
        return f"{host.name} ended: {host.process.last_words()}"

    def _host(self, name):
        self.reached.append(Host(name, 2, [sys.executable, "-c", self.commands[name]]))
        return self.reached[-1]


@pytest.fixture
def launcher():
    made = TwoHosts()
    made.reach_all()
    for first, host in zip((0, 2), made.hosts, strict=True):
        host.engines = {first, first + 1}
    yield made
    for host in made.reached:
        host.process.close()


def lose(launcher, *, and_off=True):
    """End the process on beta; the host is off then, or can be reached again."""
    beta = launcher.hosts[1]
    if and_off:
        launcher.commands["beta"] = "import sys; sys.exit('No route to host.')"
    beta.process.abandon()
    wait_until(lambda: beta.has_ended)
    return beta


ALL = range(4)


def test_while_all_hosts_answer_nothing_is_refused_and_nothing_reached(launcher):
    launcher.refuse_start(4, ALL)
    launcher.refuse_start(None, ALL)
    launcher.refuse_start(1)  # more than there are seats for
    assert len(launcher.reached) == 2


@pytest.mark.parametrize("n", [3, 4, None])
def test_a_lost_host_that_is_needed_is_named_with_what_to_do(launcher, n):
    lose(launcher)
    with pytest.raises(ClusterError) as caught:
        launcher.refuse_start(n, ALL)
    assert str(caught.value) == (
        "beta ended: No route to host; nothing was ended. Try again when beta can be reached; "
        "%dist_init -n 2 (or initialize(nproc=2)) goes on without it."
    )
    assert launcher.hosts[0].engines == {0, 1}
    assert not launcher.hosts[0].has_ended


def test_a_lost_host_that_is_not_needed_is_left_alone(launcher):
    lose(launcher)
    launcher.refuse_start(2, ALL)
    launcher.refuse_start(1, [1])
    assert len(launcher.reached) == 2
    assert launcher.stop_engines() == 2


def test_one_more_engine_needs_the_lost_host_when_the_others_have_no_seat(launcher):
    lose(launcher)
    with pytest.raises(ClusterError, match="beta ended: No route to host; nothing was ended"):
        launcher.add(1)


def test_a_host_that_is_back_takes_its_place_once(launcher):
    beta = lose(launcher, and_off=False)
    launcher.refuse_start(4, ALL)
    launcher.refuse_start(4, ALL)
    assert len(launcher.reached) == 3
    assert launcher.stop_engines() == 4
    launcher.take_back()
    assert [host.name for host in launcher.hosts] == ["alpha", "beta"]
    assert beta not in launcher.hosts
    assert launcher.silent(launcher.hosts) == []


def test_a_host_that_was_only_slow_keeps_its_process(launcher):
    beta = lose(launcher, and_off=False)
    launcher.refuse_start(4, ALL)
    again = launcher.reached[-1]
    beta.has_ended = False  # as one that has not answered in time
    launcher.take_back()
    assert launcher.hosts[1] is beta
    wait_until(lambda: again.has_ended)


def test_hosts_that_all_are_lost_leave_nothing_to_go_on_with(launcher):
    lose(launcher)
    launcher.commands["alpha"] = launcher.commands["beta"]
    launcher.hosts[0].process.abandon()
    wait_until(lambda: launcher.hosts[0].has_ended)
    with pytest.raises(ClusterError) as caught:
        launcher.refuse_start(4, ALL)
    assert str(caught.value) == (
        "alpha ended: No route to host; nothing was ended. "
        "Try again when alpha, beta can be reached."
    )


def test_the_end_of_engines_is_reported_when_their_host_is_given_up(launcher):
    events = launcher.events()
    lose(launcher)
    assert [next(events), next(events)] == [Ended(2, None), Ended(3, None)]
    assert launcher.why_lost(2).startswith("beta ended")


CUT_OFF = SERVES.replace("print(", "if sys.argv[1:]: sys.exit('No route to host.')\nprint(", 1)
CUT_OFF = CUT_OFF.replace('"ping"', '"nothing"')
BUSY = SERVES.replace('"ping"', '"nothing"')
"""Says hello, and then nothing, as a process that imports torch."""


@pytest.fixture
def start(monkeypatch):
    """Starts two hosts, the second as a program says, and looks after hosts that are late."""
    monkeypatch.setattr(answering, "_LATE", 0.1)
    monkeypatch.setattr(answering, "SOON", 0.1)
    made = TwoHosts()

    def start(beta):
        made.commands["beta"] = beta
        made.reach_all()
        made.hosts[1].engines = {0}
        made.expect()
        return made

    yield start
    made._close(made.hosts)


def wait(launcher, *, until=lambda: False):
    """Wait for engines as a pool does."""
    wait_until(lambda: launcher.check() or until())


def test_a_host_that_is_cut_off_while_its_engines_start_ends_the_wait(start):
    launcher = start(CUT_OFF)
    with pytest.raises(ClusterError, match=r"^beta ended: No route to host\.$"):
        wait(launcher)
    # What runs here for it is not waited for.
    assert launcher.hosts[1].is_unreachable


def test_a_host_that_is_cut_off_before_it_says_hello_ends_the_wait(start):
    silent = "import sys, time\nif sys.argv[1:]: sys.exit('No route to host.')\ntime.sleep(60)"
    with pytest.raises(ClusterError, match=r"^beta ended: No route to host\.$"):
        start(silent)


def test_a_host_that_is_busy_while_its_engines_start_is_waited_for(start):
    launcher = start(BUSY)
    tried = []

    def was_tried_twice():
        if (now := launcher._tried) and now not in tried:
            tried.append(now)
        return len(tried) == 2

    wait(launcher, until=was_tried_twice)
    wait_until(lambda: tried[0][0].has_ended)
    assert not launcher.hosts[1].is_unreachable


def test_hosts_whose_engines_are_ready_are_not_tried(start):
    launcher = start(BUSY)
    for thread in threading.enumerate():  # on a busy machine a host is late in saying hello
        if thread.name == "rankbook-late":
            thread.join()
    launcher._tried, launcher._ready = [], {0}
    launcher.expect()
    first = launcher._try_at
    wait(launcher, until=lambda: first < launcher._try_at < inf)
    assert launcher._tried == []


@pytest.mark.parametrize(("given", "taken"), [("", "10.98.0.1"), ("10.0.0.5", "10.0.0.5")])
def test_the_address_is_the_one_that_was_given_or_found(launcher, given, taken):
    launcher.address = given
    launcher.settle_address()
    assert launcher.address == taken


def test_loopback_is_refused_where_others_need_another_address(launcher):
    launcher.address = "127.0.0.1"
    with pytest.raises(InputError, match=r"is loopback.*leave out --address.*it is 10\.98\.0\.1"):
        launcher.settle_address()
    launcher.find_address = lambda: "127.0.1.1"  # all hosts are this one
    launcher.settle_address()
    assert launcher.address == "127.0.0.1"


@pytest.mark.parametrize("address", ["192.0.2.7", "0.0.0.0", "login", "::1"])  # noqa: S104
def test_an_address_that_this_host_does_not_have_is_refused(address):
    with pytest.raises(InputError, match=f"{address} is no IPv4 address of this host"):
        refuse_foreign(address)


def test_an_address_that_this_host_has_passes():
    refuse_foreign("127.0.0.1")
