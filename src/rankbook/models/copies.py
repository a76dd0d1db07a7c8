"""Copying the variables of a rank to a replaced rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = ["Copies", "Copy", "GetDigests", "GetHoldings", "Holdings", "Settle", "Settled", "Take"]


@dataclass(frozen=True)
class GetHoldings(Request):
    """Report the variables; the answer is :class:`Holdings`."""

    op = "holdings"


@dataclass(frozen=True)
class Holdings:
    """Variables of a rank; answered at any time."""

    names: tuple[str, ...] = ()
    """Modules, optimizers and loaders first; without what cells import and define."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """By name of a variable, torch's name of the process group that it holds."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """By place in a definition or a module, torch's name of the process group there."""


@dataclass(frozen=True)
class Copy(Request):
    """Send the variables, pickled in a buffer; the answer is :class:`Copies`."""

    ranks: tuple[int, ...]
    """The ranks that will get them."""
    without: tuple[str, ...] = ()
    """Names that are left out."""
    with_shards: bool = False
    """Copy sharded modules and optimizers, too, without their values."""
    op = "copy"


@dataclass(frozen=True)
class Copies:
    """The variables that a rank sent, or took."""

    names: tuple[str, ...] = ()
    """Names of the variables, in the order of the pickle."""
    left: Mapping[str, str] = field(default_factory=dict)
    """The reasons, by name of what is not copied."""
    cells: Mapping[str, str] = field(default_factory=dict)
    """The cells with the needed imports, functions and classes: their names by their code, with
    IPython syntax replaced."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """By name of a variable, torch's name of the process group that it holds."""
    unbound: tuple[str, ...] = ()
    """First lines of imports and definitions of which the sender has nothing."""
    path: tuple[str, ...] = ()
    """The sender's ``sys.path``."""


@dataclass(frozen=True)
class Take(Request):
    """Set variables from the request's buffer; the answer is :class:`Copies`.

    If one of them cannot be set, none is, and it is the only one in ``left``.
    """

    source: int
    """The rank that sent them."""
    names: tuple[str, ...]
    cells: Mapping[str, str]
    """As :attr:`Copies.cells`, whose imports, functions and classes are run first."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The names of the process groups that other ranks have in a variable, by its name."""
    kept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same by place in a definition or a module."""
    path: tuple[str, ...] = ()
    """The sender's ``sys.path``, in which the imports are found."""
    op = "fill"


@dataclass(frozen=True)
class GetDigests(Request):
    """Compute digests, to compare variables of ranks; the answer is a digest by name.

    It is missing where only the values themselves could tell.
    """

    names: tuple[str, ...]
    op = "digests"


@dataclass(frozen=True)
class Settle(Request):
    """Have objects that waited for a replaced rank go on; the answer is :class:`Settled`."""

    op = "settle"


@dataclass(frozen=True)
class Settled:
    """Kinds of objects that go on, and that still wait, in the plural: ``DDP modules``."""

    healed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    lacking: tuple[int, ...] = ()
    """Ranks that do not have what still waits."""
