"""The rendezvous of a generation's ranks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rankbook import folders
from rankbook.cluster.placement import LOOPBACK, Placement
from rankbook.errors import ClusterError
from rankbook.models.requests import HostStore, LookAt, Reach
from rankbook.sessions.members import Members
from rankbook.words import how_to_replace, in_words

__all__ = ["MeetingPlace"]

_CONNECT = 30.0
"""Seconds for a store to be opened, and for the other hosts to try to reach it."""


class MeetingPlace:
    """A private folder of rendezvous files for ranks of one host; a store for those of several.

    A file opens no port and outlives every rank. A store listens on one address of rank 0's host,
    the first one that all the others can connect to.
    """

    def __init__(self, cluster_id: str) -> None:
        # The process that forks engines removes it, by this name, when the kernel was killed.
        self._prefix = folders.begin_of(cluster_id)
        self._folder = tempfile.mkdtemp(prefix=self._prefix)
        self._is_left = False

    def open(self, members: Members, placement: Placement, generation: int) -> tuple[str, str]:
        """Make the rendezvous of one generation.

        Returns:
            Its URL, and an address of rank 0's host that every rank reaches.

        Raises:
            ClusterError: The hosts cannot reach each other.
        """
        if not Path(self._folder).is_dir():
            # Another session on these engines removes the folder when they leave our group.
            self._folder = tempfile.mkdtemp(prefix=self._prefix)
        if placement.is_local:
            return f"file://{self._file(generation)}", LOOPBACK
        _refuse_silent(members, placement)
        first = placement.places[0]
        elsewhere = members.ranks([p.rank for p in placement.places if p.host != first.host])
        for address in placement.addresses:
            url: str = members.all_of([0]).ask(HostStore(address), _CONNECT)[0]
            if all(elsewhere.ask(Reach(url), _CONNECT).values()):
                return url, address
        hosts = ", ".join(sorted({placement.places[rank].host for rank in elsewhere}))
        raise ClusterError(
            f"No address of {first.host} ({', '.join(placement.addresses)}) can be "
            f"reached from {hosts}: the hosts need a network between them without a firewall."
        )

    def leave(self, generation: int) -> None:
        """Leave a generation's file to the session that joins its engines next.

        The engines remove it when they form another group.
        """
        file = self._file(generation)
        if file.exists():
            self._is_left = True
            for other in set(file.parent.iterdir()) - {file}:
                other.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the files, unless they were left."""
        if not self._is_left:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, generation: int) -> Path:
        return Path(self._folder, f"store-{generation}")


def _refuse_silent(members: Members, placement: Placement) -> None:
    """Raise for a host that does not answer, instead of waiting for its ranks."""
    heard = members.ranks().look(LookAt()).values
    for host, ranks in placement.hosts_within(set(members.ranks()) - heard.keys()).items():
        raise ClusterError(
            f"{host} does not answer ({in_words(ranks)}): the host or the network is down. When it "
            f"is back, {how_to_replace(ranks)} replaces what is lost; %dist_init -n "
            f"{placement.world_size - len(ranks)} goes on without it."
        )
