"""Requests to run ranks on other hosts: parsed and checked, without starting anything."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rankbook.cluster.hosts import sbatch
from rankbook.cluster.hosts.sbatch import JobOptions
from rankbook.cluster.hosts.slurm import own_tasks
from rankbook.errors import InputError
from rankbook.words import plural

__all__ = [
    "Hosts",
    "JobOptions",
    "Mpi",
    "Slurm",
    "Ssh",
    "Target",
    "read_hosts",
    "read_job",
    "read_target",
    "shares",
]

Hosts: TypeAlias = "str | Mapping[str, int] | Iterable[str]"
"""``"alpha:4,beta:4"``, ``{"alpha": 4}`` or ``["alpha", "beta"]``."""


@dataclass(frozen=True)
class Ssh:
    """Hosts that ``ssh`` reaches, and how many ranks each has."""

    hosts: tuple[tuple[str, int], ...]

    @property
    def nproc(self) -> int:
        """Number of ranks."""
        return sum(seats for _, seats in self.hosts)


@dataclass(frozen=True)
class Mpi:
    """Ranks that ``mpiexec`` starts: how many, on this host or on others."""

    nproc: int
    hosts: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Slurm:
    """A Slurm job."""

    nproc: int
    nodes: int | None = None
    """Number of nodes; None lets Slurm decide."""
    options: tuple[str, ...] = ()
    """Options for sbatch: ``--partition=gpu``, ``--exclusive``."""

    def option(self, *names: str) -> str | None:
        """The value of an option that has one of these names, with its dashes."""
        return sbatch.value_of(self.options, *names)


Target: TypeAlias = "Ssh | Mpi | Slurm"


def read_target(
    nproc: int | None,
    *,
    slurm: JobOptions | None = None,
    ssh: Hosts | None = None,
    mpi: Hosts | bool | None = None,
    nodes: int | None = None,
    profile: str | None = None,
) -> Target | None:
    """Read where to run ranks; see :func:`rankbook.start`.

    In a Slurm job, the number of tasks is the default number of ranks.

    Returns:
        The target; None for this machine, or for a profile.

    Raises:
        InputError: Two targets are given, or an option lacks its target.
    """
    asked = {"--slurm": slurm, "--ssh": ssh, "--mpi": mpi, "--profile": profile}
    given = [name for name, value in asked.items() if value is not None and value is not False]
    if len(given) > 1:
        raise InputError(f"{given[0]} and {given[1]} exclude each other: leave out one of them.")
    if nodes is not None and "--slurm" not in given:
        raise InputError("--nodes needs --slurm: add --slurm, or leave out --nodes.")
    if slurm is not None and slurm is not False:
        return read_job(slurm, nodes, own_tasks() if nproc is None else nproc)
    if ssh is not None:
        return Ssh(read_hosts(ssh, nproc, "--ssh"))
    if mpi is None or mpi is False:
        return None
    if mpi is True or mpi == "":
        if nproc is None:
            raise InputError(
                "The number of ranks is missing: add it, for example -n 4 (or nproc=4)."
            )
        return Mpi(nproc)
    hosts = read_hosts(mpi, nproc, "--mpi")
    return Mpi(sum(seats for _, seats in hosts), hosts)


# -- hosts -----------------------------------------------------------------------------------

_MOST = 1024
"""The most ranks on one host: more must be a typing error, and would bring the host down."""

_NAME = r"[^-\s@:/,\[\]][^\s@:/,\[\]]*"
_HOST = re.compile(rf"({_NAME}@)?({_NAME}|[\w.]*:[\w.:]*(%[\w.-]+)?)")
"""A name or an address, also IPv6, with or without a user."""

_SEATS = re.compile(r"(?P<name>.*[^:]):(?P<seats>\d+)")


def read_hosts(asked: Hosts, nproc: int | None, option: str) -> tuple[tuple[str, int], ...]:
    """Read hosts and their numbers of ranks.

    Args:
        asked: See :data:`Hosts`. A host without a number gets its share of ``nproc``, else one.
        nproc: Number of ranks from ``-n``, if given.
        option: The option that gave the hosts, for messages: ``--ssh``.

    Raises:
        InputError: It is not a list of hosts, or its numbers contradict ``nproc``.
    """
    pairs = list(_pairs(asked, option))
    if not pairs:
        raise InputError(f"{option} needs hosts: {option} alpha:4,beta:4.")
    for name, seats in pairs:
        _refuse_name(name, option)
        if seats is not None and not 0 < seats <= _MOST:
            raise InputError(
                f"{seats} ranks on {name}: each host has 1 to {_MOST}, or leave it out."
            )
    names = [name for name, _ in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice} is named twice: name it once, with its ranks, {twice}:4.")
    given = sum(seats or 0 for _, seats in pairs)
    open_ = [name for name, seats in pairs if seats is None]
    rest = len(open_) if nproc is None else nproc - given
    if (nproc is not None and not open_ and rest) or rest < len(open_):
        shown = ",".join(name if seats is None else f"{name}:{seats}" for name, seats in pairs)
        least = given + len(open_)
        raise InputError(
            f"-n {nproc} contradicts {option} {shown}, "
            f"{'at least ' if open_ else ''}{plural(least, 'rank')}: leave out one of them."
        )
    given_out = dict(zip(open_, shares(rest, len(open_)), strict=True))
    return tuple((name, given_out[name] if seats is None else seats) for name, seats in pairs)


def _refuse_name(name: str, option: str) -> None:
    if not name:
        raise InputError(f"A host is missing beside a comma: {option} alpha:4,beta:4.")
    if "://" in name or re.fullmatch(r".*[^:]:\d+", name):
        raise InputError(
            f"{name!r} is not a host: {option} alpha:4 means 4 ranks there; a port belongs in "
            "~/.ssh/config."
        )
    if not _HOST.fullmatch(name):
        raise InputError(f"{name!r} is not a host: {option} alpha:4,beta:4.")


def _pairs(asked: Hosts, option: str) -> Iterable[tuple[str, int | None]]:
    if isinstance(asked, Mapping):
        for name, seats in asked.items():
            if not isinstance(seats, int) or isinstance(seats, bool):
                raise InputError(
                    f"{seats!r} is not a number of ranks for {name}: use 4, for example."
                )
            yield str(name), seats
        return
    if isinstance(asked, (bytes, bool, int)):  # the types exclude these, but users pass them
        raise InputError(f"{asked!r} are not hosts: {option} alpha:4,beta:4.")
    words = asked.split(",") if isinstance(asked, str) else list(asked)
    for word in (str(word).strip() for word in words):
        if _is_ipv6(word):  # whose last part would be a number of ranks
            raise InputError(f"{word}: write an IPv6 address in brackets, {option} [{word}]:4.")
        if match := _SEATS.fullmatch(word):
            yield _plain(match["name"]), int(match["seats"])
        elif word.endswith(":") or (":" in word and "[" not in word):
            raise InputError(
                f"{word!r} is not a host with a number of ranks: {option} alpha:4,beta:4."
            )
        else:
            yield _plain(word), None


def _is_ipv6(word: str) -> bool:
    try:
        return ipaddress.ip_address(word.rpartition("@")[2]).version == 6  # noqa: PLR2004
    except ValueError:
        return False


def _plain(name: str) -> str:
    """A name, an IPv6 address without its brackets, as ssh and mpiexec take it."""
    return re.sub(r"^([^@]*@)?\[([^\[\]]*)\]$", r"\1\2", name)


def shares(n: int, parts: int) -> list[int]:
    """Divide ``n`` into parts as equal as possible, the larger ones first."""
    return [n // parts + (i < n % parts) for i in range(parts)]


# -- jobs ------------------------------------------------------------------------------------


def read_job(asked: JobOptions, nodes: int | None, nproc: int | None) -> Slurm:
    """Read options of sbatch, which pass through as they are.

    Args:
        asked: See :data:`JobOptions`.
        nodes: Number of nodes from ``--nodes``, if given.
        nproc: Number of ranks from ``-n``, if given.

    Raises:
        InputError: rankbook itself decides an option, an option contradicts ``nodes`` or ``nproc``,
            or the number of ranks is missing.
    """
    options = tuple(sbatch.read(asked))
    if nodes is not None and nodes < 1:
        raise InputError(f"A job needs at least 1 node, not {nodes}.")
    nodes = sbatch.number(options, "--nodes", "--nodes", nodes)
    nproc = sbatch.number(options, "--ntasks", "-n", nproc)
    per_node = sbatch.value_of(options, "--ntasks-per-node")
    if nproc is None and nodes and per_node and per_node.isdigit():
        nproc = nodes * int(per_node)
    if nproc is None:
        nproc = _gpus_asked(options, nodes)
    if nproc is None:
        raise InputError("The number of ranks is missing: add it, for example -n 8 (or nproc=8).")
    if nodes is not None and nodes > nproc:
        raise InputError(
            f"{plural(nproc, 'rank')} on {plural(nodes, 'node')} leave some without a rank: "
            f"ask for --nodes {nproc} or fewer."
        )
    rest = tuple(o for o in options if sbatch.name_of(o) not in ("--nodes", "--ntasks"))
    return Slurm(nproc, nodes, rest)


def _gpus_asked(options: Iterable[str], nodes: int | None) -> int | None:
    """Number of GPUs that a job asks for: one rank each is the default."""
    options = tuple(options)
    per_node = sbatch.value_of(options, "--gpus-per-node")
    total = sbatch.value_of(options, "--gpus")
    for value, factor in ((total, 1), (per_node, nodes or 1)):
        if value and value.rpartition(":")[2].isdigit():
            return int(value.rpartition(":")[2]) * factor
    return None
