"""The account of a process: its calls of ``torch.distributed``, and its waits.

Every call is announced when it is issued, every wait when it begins and when it ends; everything
else reads that account. ``taps`` lists the entry points, ``methods`` and ``kernels`` see calls,
``blocking`` sees waits, and the ``Ledger`` keeps them: a ring of calls in memory, with the last of
them in a file that outlives the process, and the ``Waits`` of its threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from rankbook.calls import blocking, checks, cut, groups, kernels, keys, meshes, methods, questions
from rankbook.calls.dispatch import lacking
from rankbook.calls.kernels import prepare
from rankbook.calls.ledger import Ledger

__all__ = ["Ledger", "install", "installed", "is_ours", "lacking", "prepare", "remove"]

_installed: Ledger | None = None
_stores: tuple[type, ...] = ()


def install(ledger: Ledger, stores: Iterable[type] = ()) -> None:
    """Report all calls and waits of this process to an account from now on.

    There is one account at a time: a second one replaces the first. A forked child begins its own
    account, which is empty and has no file.

    Args:
        ledger: The account.
        stores: Classes of stores that wait in Python, besides torch's own.
    """
    global _installed, _stores
    methods.install(ledger)
    kernels.install(ledger)
    groups.install(ledger)
    meshes.install(ledger)
    _installed, _stores = ledger, tuple(stores)
    blocking.install(ledger, _stores)


def installed() -> Ledger | None:
    """The account of this process; None if there is none."""
    return _installed


def remove() -> None:
    """Stop reporting, and restore torch's own functions."""
    global _installed  # noqa: PLW0603
    blocking.remove()
    meshes.remove()
    groups.remove()
    kernels.remove()
    methods.remove()
    _installed = None


def is_ours(code: object) -> bool:
    """Whether code is that of a function that stands where one of torch's does."""
    rooms = methods, blocking, questions, cut, kernels, checks, keys, meshes
    return any(room.is_ours(code) for room in rooms)


def _in_child() -> None:
    if _installed is not None:
        _installed.reset()
        install(_installed, _stores)  # our replacements refer to the old parts


os.register_at_fork(after_in_child=_in_child)
