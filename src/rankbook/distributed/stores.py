"""Opening the key-value stores through which ranks meet.

torch's own TCPStore server listens on every interface, and its client waits in C++, where Ctrl+C
does not reach it. Here a server listens on one address, and a client is awaited in Python.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torch.distributed import DistStoreError

from rankbook.distributed.environment import is_loopback
from rankbook.distributed.listening import listen, serve
from rankbook.errors import InputError

if TYPE_CHECKING:  # torch.distributed exports these, but its stubs do not
    from torch._C._distributed_c10d import FileStore, HashStore, PrefixStore, Store, TCPStore
else:
    from torch.distributed import FileStore, HashStore, PrefixStore, Store, TCPStore

__all__ = [
    "FileStore",
    "HashStore",
    "Interruptible",
    "PrefixStore",
    "Store",
    "TCPStore",
    "first_line",
    "host",
    "in_file",
    "loopback_interface",
    "outbound_address",
    "own_addresses",
    "poll",
    "rank_key",
    "resolve",
    "wait_until_set",
]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.05

_OF_EACH = "of each rank"

_KEY_OF_A_RANK = re.compile(rf"(.*(?://\w+//\d+|{_OF_EACH}/\w+)/)(\d+)")
"""What every rank sets once and all read: :func:`rank_key`; and gloo's key for the addresses
of a rank, made of the group, the device, which of its meshes, the rank (torch 2.9 to 2.15; were it
another one, the store would be asked more often, and nothing be wrong)."""


def rank_key(topic: str, rank: int) -> str:
    """The key of what every rank sets once for all to read; together, by :class:`Interruptible`.

    Args:
        topic: What it is about, a word.
        rank: Whose.
    """
    return f"{_OF_EACH}/{topic}/{rank}"


def poll(ready: Callable[[], bool], deadline: float) -> bool:
    """Wait in Python, where Ctrl+C works, until something is ready.

    Args:
        ready: Called repeatedly, after pauses of 0.5 to 50 ms; must not block for long.
        deadline: When to give up, in seconds of ``time.monotonic()``.

    Returns:
        Whether it became ready before the deadline.
    """
    pause = _SHORTEST_PAUSE
    while not ready():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    return True


def wait_until_set(
    store: Any, keys: Sequence[str], seconds: float, ready: Callable[[], bool] | None = None
) -> None:
    """Wait in Python until keys of a store are set.

    Args:
        store: Any, of torch's interface.
        keys: All of them.
        seconds: When to give up, with a DistStoreError.
        ready: Whether they are set; None: the store is asked.
    """
    listed = list(keys)
    if not poll(ready or (lambda: store.check(listed)), time.monotonic() + seconds):
        missing = ", ".join(key for key in listed if not store.check([key]))
        raise DistStoreError(f"{missing} was not set within {seconds:g} s")


class Interruptible(Store):
    """A store that waits in Python, so that Ctrl+C ends waits even below torch's C++.

    Gloo waits in its store for ranks that it wants to connect to, both for the default group and
    for every ``new_group``; a rank that dies before it has come would be waited for until the
    timeout, in C++ that no signal ends.

    What every rank sets and all read is read together as soon as it is all there: one by one, 64
    ranks would ask the one that serves the store 20,000 times.
    """

    kind = "store"
    """What an account calls a wait in it: another word where processes of others may reach it."""

    def __init__(self, store: Store, timeout: timedelta, size: int = 0) -> None:
        """Wrap a store.

        Args:
            store: Where the keys are kept.
            timeout: Of waits that are given none.
            size: Of the group whose ranks meet here; 0: not known.
        """
        super().__init__()
        self._store = store
        self._timeout = timeout
        self._size = size
        self._ahead: dict[str, bytes] = {}
        """What was read ahead, and is asked for once."""
        self._clones: list[Interruptible] = []
        """C++ keeps no Python object alive."""

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are set.

        Raises:
            DistStoreError: They are not within the timeout.
        """
        if len(keys) == 1 and keys[0] in self._ahead:
            return
        siblings = self._siblings(keys)

        def ready() -> bool:
            if not siblings:
                return self._store.check(keys)
            # In a group of fewer ranks, or while some are late, one at a time.
            return self._read(siblings) or self._read(keys)

        wait_until_set(self._store, keys, (timeout or self._timeout).total_seconds(), ready)

    def get(self, key: str) -> bytes:
        """Return a value, once it is set."""
        self.wait([key])
        return self._ahead.pop(key, None) or self._store.get(key)

    def _siblings(self, keys: list[str]) -> list[str]:
        """The keys of all ranks, from that of one rank on; none if it is another key."""
        found = _KEY_OF_A_RANK.fullmatch(keys[0]) if len(keys) == 1 else None
        if found is None:
            return []
        last = max(self._size, int(found[2]) + 1)
        return [f"{found[1]}{rank}" for rank in range(int(found[2]), last)]

    def _read(self, keys: list[str]) -> bool:
        """Read keys ahead, if all are there; return whether they are."""
        store: Any = self._store  # whose type information leaves out half of its methods
        if not store.check(keys):
            return False
        several = store.has_extended_api()
        values = store.multi_get(keys) if several else [store.get(key) for key in keys]
        self._ahead = dict(zip(keys, values, strict=True))
        return True

    def set(self, key: str, value: str) -> None:
        """Set a value."""
        self._store.set(key, value)

    def add(self, key: str, value: int) -> int:
        """Add to a counter; return the result."""
        return self._store.add(key, value)

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are set."""
        return self._store.check(keys)

    def compare_set(self, key: str, expected_value: str, desired_value: str) -> bytes:
        """Set a value if it equals the expected one; return the resulting value."""
        return self._store.compare_set(key, expected_value, desired_value)

    def delete_key(self, key: str) -> bool:
        """Delete a value; return whether there was one."""
        return self._store.delete_key(key)

    def num_keys(self) -> int:
        """Number of keys in the store."""
        return self._store.num_keys()

    # C++ calls it by these names, below a PrefixStore.
    deleteKey, getNumKeys = delete_key, num_keys  # noqa: N815

    def clone(self) -> Interruptible:
        """Return a store with a connection of its own."""
        store: Any = self._store
        copy = type(self)(store.clone(), self._timeout, self._size)
        self._clones.append(copy)
        return copy

    def set_timeout(self, timeout: timedelta) -> None:
        """Set the timeout of waits that are given none."""
        self._timeout = timeout
        self._store.set_timeout(timeout)

    def has_extended_api(self) -> bool:
        """Whether it can append, and set and get several keys at once; plain keys suffice."""
        return False


def resolve(name: str) -> list[str]:
    """Addresses of a host, IPv4 first.

    Raises:
        OSError: The name cannot be resolved.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def loopback_interface() -> str | None:
    """Name of the loopback interface (``lo``, on macOS ``lo0``); None if it has another one."""
    names = {name for _, name in socket.if_nameindex()}
    return next((name for name in ("lo", "lo0") if name in names), None)


def outbound_address() -> str | None:
    """The address from which this host reaches other networks; None if it reaches none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only looks up the route: nothing is sent. The address is
            # reserved for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def host(addresses: list[str], port: int, timeout: timedelta) -> tuple[Store, str, int]:
    """Serve a TCPStore from this process, on one address only.

    Args:
        addresses: Addresses of this host; the first that can be bound is used.
        port: Where to listen; 0 for any free port.
        timeout: Timeout of the store's own waits.

    Returns:
        The store, and the address and port on which it listens.

    Raises:
        OSError: The port is in use, or none of the addresses is one of this host.
    """
    listener = listen(addresses, port)
    address, port = listener.getsockname()[:2]
    return serve(listener, timeout), address, port


def first_line(error: object) -> str:
    """The essence of torch's multi-line messages, which include a C++ stack."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def own_addresses(name: str, *, one_host: bool) -> list[str]:
    """Addresses on which rank 0 can listen so that ranks that were given ``name`` find it.

    On many systems a host's own name means loopback to itself (127.0.1.1 in /etc/hosts) and a real
    address to everyone else; a service's name means an address that no host has. The address from
    which this host reaches others is then the best guess.
    """
    found = resolve(name)
    if one_host or is_loopback(name):
        return found
    guess = outbound_address()
    return [*(a for a in found if not is_loopback(a)), *([guess] if guess else [])]


def in_file(path: str) -> Store:
    """A store in a file, for any number of ranks.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        with open(path, "ab"):  # noqa: PTH123 - torch itself would retry for five minutes
            return FileStore(path, -1)
    except OSError as error:
        raise InputError(
            f"cannot meet in file {path!r} ({error.strerror}): give a file in a directory that"
            " this user can write to"
        ) from error
