"""The rendezvous of ranks, any number of times in the same processes.

A rank opens the store once and keeps it. For every initialisation the ranks first call the roll
in that store, waiting in Python, and only then enter torch's blocking C++ calls, on a prefix of
the store that was never used before: keys of an earlier process group are never seen again.

The roll: every rank writes its own token under ``here/RANK``. When all are there, rank 0 numbers
the meeting and answers each token with that number. A rank that gives up replaces its token, so
that no rank enters C++ to wait for it. So do several that come as one rank: each token is replaced.

A session tells its engines where to meet with :func:`use`; otherwise they meet where the launcher
said (MASTER_ADDR and MASTER_PORT, or the store of torchrun's agent).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from torch.distributed import DistError

from rankbook.distributed import connecting, stores
from rankbook.distributed.environment import Launch, is_loopback, master_address
from rankbook.distributed.stores import HashStore, PrefixStore, Store
from rankbook.errors import EnvironmentVariableError, InputError, RendezvousError
from rankbook.folders import where_full

__all__ = ["Meeting", "at", "forget", "host", "meet", "port", "shared", "use"]

# The final values of a rank's token: the meeting took place, or the rank gave up waiting.
_MET, _LEFT = "met", "left"

_LOOKS_FOR_ANOTHER = 0.3  # seconds
_SAME_RANK = (
    "several processes came as rank {0}: each needs its own, 0 to {1} (RANK, or rank= of"
    " init_process_group)"
)


@dataclass(frozen=True)
class Meeting:
    """What ``init_process_group`` needs once all ranks are there.

    Attributes:
        store: New for this process group: no key has been set in it.
        one_host: True if every rank is known to run on this host.
    """

    store: Store
    one_host: bool


@dataclass
class _Process:
    """What this process remembers between initialisations."""

    place: tuple[str, int] | None = None  # url and generation, given by a session
    opened: dict[str, Store] = field(default_factory=dict)  # at most one, by url
    hosted: dict[str, Store] = field(default_factory=dict)  # served from here, by url


_process = _Process()


def host(address: str = "127.0.0.1") -> str:
    """Serve a store from this process, on one address and a free port.

    It is served until :func:`use` names another place, or :func:`forget`.

    Args:
        address: One of this host's own; loopback is enough where all ranks share the host.

    Returns:
        Its URL, ``tcp://address:port``, for :func:`use` on every rank.

    Raises:
        InputError: The address is not one of this host.
    """
    try:
        store, bound, port = stores.host(stores.resolve(address), 0, timedelta(minutes=1))
    except OSError as error:
        raise InputError(
            f"cannot listen on {address!r} ({error.strerror}): give an address of this host"
        ) from error
    url = f"tcp://[{bound}]:{port}" if ":" in bound else f"tcp://{bound}:{port}"
    _process.hosted[url] = store
    return url


def use(url: str, generation: int) -> None:
    """Meet here from now on, whatever the environment says about MASTER_ADDR and MASTER_PORT.

    The ranks may initialise, destroy and initialise again under one generation.

    Args:
        url: ``file:///path`` of a file that all ranks, on one host, can write and that need not
            exist (no port is opened), or ``tcp://address:port`` from :func:`host`.
        generation: Number of the session's process group: ranks that were given different
            numbers never meet.

    Raises:
        InputError: The URL is of another kind.
    """
    parts = urlsplit(url)
    if not (parts.scheme == "file" and parts.path) and not (parts.scheme == "tcp" and parts.port):
        raise InputError(f"cannot meet at {url!r}: write file:///path or tcp://address:port")
    _process.place = (url, generation)
    for known in (_process.opened, _process.hosted):
        for other in known.keys() - {url}:
            del known[other]


def forget() -> None:
    """Meet where the launcher says again, and close the stores that are open."""
    _process.place = None
    _process.opened.clear()
    _process.hosted.clear()


@contextmanager
def at(url: str, generation: int) -> Iterator[None]:
    """Meet here within the block; see :func:`use`. The store stays open for the next time."""
    before = _process.place
    use(url, generation)
    try:
        yield
    finally:
        _process.place = before


def port() -> int:
    """The port where a session meets; 0 if that is a file."""
    return urlsplit(_process.place[0]).port or 0 if _process.place else 0


def shared() -> Store:
    """The store for exchanges between ranks of a session's generation, once they have met."""
    if _process.place is None:
        raise RendezvousError("no session has said where to meet: initialise first")
    url, generation = _process.place
    return PrefixStore(f"shared{generation}", _process.hosted.get(url) or _process.opened[url])


def meet(
    launch: Launch, timeout: timedelta, meanwhile: Callable[[], object] | None = None
) -> Meeting:
    """Wait, interruptibly, until every rank is here.

    Args:
        launch: This process among the ranks.
        timeout: How long to wait; also the timeout of the store's own waits afterwards.
        meanwhile: Called again and again; what it raises ends the wait.

    Raises:
        RendezvousError: Not every rank came in time, several came as this one, or the store went.
        EnvironmentVariableError: The launcher's variables do not say where to meet.
    """
    if launch.world_size == 1:
        return Meeting(HashStore(), one_host=True)
    deadline = time.monotonic() + timeout.total_seconds()
    url, generation, one_host = _place(launch)
    try:
        store = _open(url, launch, timeout, deadline)
        roll = PrefixStore(f"roll{generation}/{launch.job}", store)
        number = _call_roll(roll, launch, timeout, deadline, meanwhile)
        store.set_timeout(timeout)
    except DistError as error:
        _process.opened.clear()
        if full := where_full(error):
            raise RendezvousError(f"the ranks cannot meet: {full}") from error
        raise RendezvousError(
            f"the store at {url} went away ({stores.first_line(error)}):"
            " initialise again on every rank"
        ) from error
    name = f"gen{generation}/{launch.job}/{number}"
    return Meeting(PrefixStore(name, store), one_host)


def _place(launch: Launch) -> tuple[str, int, bool]:
    """URL, generation, and whether all ranks run on this host."""
    if _process.place is None:
        name, port = master_address(launch)
        return (
            f"tcp://{name}:{port}" if ":" not in name else f"tcp://[{name}]:{port}",
            0,
            (launch.one_host),
        )
    url, generation = _process.place
    parts = urlsplit(url)
    return url, generation, parts.scheme == "file" or is_loopback(parts.hostname or "")


def _open(url: str, launch: Launch, timeout: timedelta, deadline: float) -> Store:
    known = _process.hosted.get(url) or _process.opened.get(url)
    if known is not None:
        return known
    parts = urlsplit(url)
    if parts.scheme == "file":
        store = stores.in_file(unquote(parts.path))
    elif launch.rank == 0 and _process.place is None and not _agent_serves():
        store = _serve(parts.hostname or "", parts.port or 0, launch, timeout)
    else:
        store = connecting.connect(parts.hostname or "", parts.port or 0, timeout, deadline)
    _process.opened = {url: store}
    return store


def _agent_serves() -> bool:
    """Whether torchrun's agent serves the store at MASTER_ADDR:MASTER_PORT itself."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _serve(name: str, port: int, launch: Launch, timeout: timedelta) -> Store:
    try:
        addresses = stores.own_addresses(name, one_host=launch.one_host)
        return stores.host(addresses, port, timeout)[0]
    except OSError as error:
        raise EnvironmentVariableError(
            f"rank 0 cannot listen on MASTER_ADDR={name} MASTER_PORT={port} ({error.strerror}):"
            " MASTER_ADDR must be rank 0's host and MASTER_PORT free there, the same on every rank"
        ) from error


def _call_roll(
    roll: Store,
    launch: Launch,
    timeout: timedelta,
    deadline: float,
    meanwhile: Callable[[], object] | None,
) -> str:
    """Wait for all ranks; return the number of the meeting, the same on each."""
    own_key, token = f"here/{launch.rank}", uuid.uuid4().hex
    everyone = [f"here/{rank}" for rank in range(launch.world_size)]

    another = time.monotonic() + _LOOKS_FOR_ANOTHER

    def answered() -> bool:
        nonlocal another
        if launch.rank == 0:
            _try_to_open_meeting(roll, everyone)
        if roll.check([token]):
            return True
        if meanwhile is not None:
            meanwhile()
        if time.monotonic() > another:
            another += _LOOKS_FOR_ANOTHER
            if roll.get(own_key).decode() not in (token, _MET):
                raise RendezvousError(_SAME_RANK.format(launch.rank, launch.world_size - 1))
        return False

    roll.set(own_key, token)
    complete = False
    try:
        complete = stores.poll(answered, deadline)
    finally:
        if not complete:
            with suppress(DistError):  # the store is gone: then nobody reads it
                roll.set(own_key, _LEFT)
    if not complete:
        raise RendezvousError(_who_is_missing(roll, everyone, launch.rank, timeout))
    return roll.get(token).decode()


def _try_to_open_meeting(roll: Store, everyone: list[str]) -> None:
    if not roll.check(everyone):
        return
    tokens = [roll.get(key).decode() for key in everyone]
    if _MET in tokens or _LEFT in tokens:
        return
    number = str(roll.add("meetings", 1))
    for key, token in zip(everyone, tokens, strict=True):
        roll.set(key, _MET)
        roll.set(token, number)


def _who_is_missing(roll: Store, everyone: list[str], rank: int, timeout: timedelta) -> str:
    tokens = [roll.get(key).decode() if roll.check([key]) else _MET for key in everyone]
    absent = [other for other, token in enumerate(tokens) if token == _MET]
    left = [other for other, token in enumerate(tokens) if token == _LEFT and other != rank]
    words = []
    if absent:
        words.append(f"{_ranks(absent)} of {len(everyone)} did not arrive")
    if left:
        words.append(f"{_ranks(left)} of {len(everyone)} came and gave up")
    seconds = f"{timeout.total_seconds():g} s"
    return (
        f"{', '.join(words) or 'rank 0 did not answer'} within {seconds}:"
        " start what is missing or look at its log, then initialise again on every rank"
    )


def _ranks(ranks: Sequence[int]) -> str:
    *most, last = map(str, ranks)
    return f"ranks {', '.join(most)} and {last}" if most else f"rank {last}"
