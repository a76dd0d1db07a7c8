"""Copying the variables of a rank to one that was replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.wire import Request

__all__ = ["Copies", "Copy", "Holdings", "SayDigests", "SayHoldings", "Settle", "Settled", "Take"]


@dataclass(frozen=True)
class SayHoldings(Request):
    """Say which variables there are; the answer are :class:`Holdings`."""

    op = "holdings"


@dataclass(frozen=True)
class Holdings:
    """Variables of a rank; answered whatever its main thread does."""

    names: tuple[str, ...] = ()
    """Modules, optimizers and loaders first; without what cells import and define."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """By name of a variable, torch's name of the process group that it holds."""


@dataclass(frozen=True)
class Copy(Request):
    """Send the variables, pickled in a buffer; the answer are :class:`Copies`."""

    ranks: tuple[int, ...]
    """Who is to get them."""
    without: tuple[str, ...] = ()
    """Names that are left out."""
    with_shards: bool = False
    """Copy sharded modules and optimizers, too, without their values."""
    op = "copy"


@dataclass(frozen=True)
class Copies:
    """What a rank has sent to be taken by others, or taken."""

    names: tuple[str, ...] = ()
    """Of the variables, in the order of the pickle."""
    left: Mapping[str, str] = field(default_factory=dict)
    """By name of what is not copied, the reason."""
    cells: Mapping[str, str] = field(default_factory=dict)
    """The cells whose imports, functions and classes are wanted: by their code, IPython's syntax
    replaced, what they are called."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """By name of a variable, torch's name of the process group that it holds."""
    unbound: tuple[str, ...] = ()
    """First lines of imports and definitions of which the sender has nothing."""


@dataclass(frozen=True)
class Take(Request):
    """Set variables to what the request's buffer holds; the answer are :class:`Copies`.

    If one of them cannot be set, none is, and it is the only one in ``left``.
    """

    source: int
    """The rank that has sent them."""
    names: tuple[str, ...]
    cells: Mapping[str, str]
    """As :attr:`Copies.cells`, whose imports, functions and classes are run first."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a variable, the names of the process groups that other ranks have in it."""
    op = "fill"


@dataclass(frozen=True)
class SayDigests(Request):
    """Tell variables of different ranks apart; the answer is a digest by name.

    It is missing where only looking at the values themselves could tell.
    """

    names: tuple[str, ...]
    op = "digests"


@dataclass(frozen=True)
class Settle(Request):
    """Have what waited for a replaced rank go on; the answer is :class:`Settled`."""

    op = "settle"


@dataclass(frozen=True)
class Settled:
    """What of it goes on, and what waits still, in the plural: ``DDP modules``."""

    healed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
