"""Which address of this host others reach: that which they see, by IPv4."""

from __future__ import annotations

import pytest

from rankbook.cluster.hosts.addresses import address_to, seen_from
from rankbook.errors import ClusterError


def test_the_way_to_this_host_is_loopback():
    assert address_to("me@127.0.0.1") == "127.0.0.1"


def test_a_name_that_nobody_knows_is_told_from_a_way_that_there_is_not():
    with pytest.raises(ClusterError, match=r"^nosuch\.invalid is not known here \(.*--address"):
        address_to("me@nosuch.invalid")
    with pytest.raises(ClusterError, match="no way from here to ::1 by IPv4"):
        address_to("::1")


def test_what_a_host_sees_by_ipv4_is_the_address():
    assert seen_from("alpha", "127.0.0.1") == "127.0.0.1"


def test_a_host_behind_another_one_gives_the_way_to_it():
    """It sees the host that the login came through."""
    assert seen_from("far", "203.0.113.7", {"far": "me@127.0.0.1"}.get) == "127.0.0.1"
    with pytest.raises(ClusterError, match=r"^far is reached through 203\.0\.113\.7, which is not"):
        seen_from("far", "203.0.113.7", {"far": "nosuch.invalid"}.get)


@pytest.mark.parametrize("client", ["::1", "fe80::1%lo", "fd00:99::1"])
def test_a_login_by_ipv6_leads_to_the_way_by_ipv4(client):
    assert seen_from("me@127.0.0.1", client) == "127.0.0.1"


@pytest.mark.parametrize("host", ["::1", "me@::1"])
def test_a_host_that_only_ipv6_reaches_is_refused_by_its_name(host):
    with pytest.raises(ClusterError, match=rf"^{host} is reached by IPv6 only \(fd00:99::1\)"):
        seen_from(host, "fd00:99::1")


def test_a_host_that_does_not_say_is_refused():
    with pytest.raises(ClusterError, match="SSH_CONNECTION is empty"):
        seen_from("alpha", "")
