"""The dispatcher's door, through which all passes that reaches a backend, from whatever issued it.

torch sends each collective through its dispatcher, as ``c10d::allreduce_`` and so on. A kernel of
ours at a key that stands before the backends' tells the account, and sends it on. So DDP's reducer
is seen, and all else that issues in C++. What Python issued has been told of by ``methods`` and
comes past this key.

Functional collectives are seen where they enter, as ``_c10d_functional::all_reduce`` and so on:
there they still have names, and to take their arguments apart costs less. Their key is one that
inference mode does not switch off. Tensors without data (fake ones, or of the device ``meta``) are
no calls.

The kernels are the process's, and so are their copies in what it forks. Which account they tell is
said later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.calls import dispatch
from rankbook.calls.dispatch import (
    BEFORE_BACKENDS,
    BEFORE_FUNCTIONS,
    aside,
    group_named,
    has_no_data,
    is_aside,
    is_fake,
)
from rankbook.calls.ledger import Ledger
from rankbook.calls.records import Record
from rankbook.calls.taps import FUNCTIONAL, OPS, Tap, reduction, tensors_of

__all__ = ["install", "is_ours", "prepare", "remove"]

_registered: list[Callable[[], object]] = []
"""Each takes one of our kernels out."""

_told: Ledger | None = None
"""The account that the kernels tell; None: they let everything pass."""


def prepare() -> None:
    """Put our kernels in the way; once, for this process and for all that it forks."""
    if _registered:
        return
    for name, tap in OPS.items():
        _register("c10d", name, BEFORE_BACKENDS, partial(_issuing, tap))
    for name, tap in FUNCTIONAL.items():
        _register("_c10d_functional", name, BEFORE_FUNCTIONS, partial(_functional, tap))
    _register("_c10d_functional", "wait_tensor", BEFORE_FUNCTIONS, _waiting)


def install(ledger: Ledger) -> None:
    """Begin to tell an account, in place of another."""
    global _told  # noqa: PLW0603 - the kernels are the process's, too
    prepare()
    _told = ledger


def remove() -> None:
    """Take our kernels out."""
    global _told  # noqa: PLW0603
    _told = None
    while _registered:
        _registered.pop()()


def is_ours(code: Any) -> bool:
    """Whether code is that of one of our kernels."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def _register(namespace: str, name: str, key: str, make: Callable[[Any], Any]) -> None:
    """Put a kernel in the way of an operator, if this torch has it."""
    if (take_out := dispatch.register(namespace, name, key, make)) is not None:
        _registered.append(take_out)


def _issue(ledger: Ledger, tap: Tap, group: Any, tensors: Any, args: Any) -> Record:
    """Announce a call whose arguments stand where its operator has them."""
    return ledger.issue(
        group,
        tap.op,
        tensors,
        "" if tap.reduces is None else reduction(args[tap.reduces]),
        None if tap.root is None else args[tap.root],
        None if tap.peer is None else args[tap.peer],
        None if tap.tag is None else args[tap.tag],
    )


def _before(ledger: Ledger, record: Record, args: Any) -> None:
    """Do what a person has asked for before each call."""
    if ledger.keeper is not None:
        ledger.keeper.before(record, args)
    if ledger.check is not None:
        ledger.check.before(ledger, record, is_blocking=False)


def _issuing(tap: Tap, go: Any) -> Callable[..., Any]:
    """Make a kernel for what C++ issues."""

    def issue(keys: Any, *args: Any, **kwargs: Any) -> Any:
        ledger = _told
        tensors: Any = () if tap.tensors is None else tensors_of(args[tap.tensors])
        if ledger is None or is_aside() or is_fake(tensors):
            return go(keys, args, kwargs)
        record = _issue(ledger, tap, c10d.ProcessGroup.unbox(args[tap.group]), tensors, args)
        try:
            if ledger.check is not None or ledger.keeper is not None:
                _before(ledger, record, args)
            done = go(keys, args, kwargs)
        except BaseException as error:
            ledger.not_issued(record, error)
            raise
        boxed = done[-1] if isinstance(done, tuple) else done
        work = None if boxed is None else c10d.Work.unbox(boxed)
        ledger.returned(record, work)
        return done

    return issue


def _functional(tap: Tap, go: Any) -> Callable[..., Any]:
    """Make a kernel for a functional collective."""

    def issue(keys: Any, *args: Any, **kwargs: Any) -> Any:
        ledger = _told
        if ledger is None or has_no_data(keys):
            return go(keys, args, kwargs)
        tensors = tensors_of(args[tap.tensors or 0])
        group = args[tap.group]
        is_name = isinstance(group, str)
        group = group_named(group) if is_name else c10d.ProcessGroup.unbox(group)
        record = _issue(ledger, tap, group, tensors, args)
        try:
            if ledger.check is not None or ledger.keeper is not None:
                _before(ledger, record, args[:1])
            with aside():
                given = go(keys, args, kwargs)
        except BaseException as error:
            ledger.not_issued(record, error)
            raise
        ledger.gave(record, tensors_of(given))
        return given

    return issue


def _waiting(go: Any) -> Callable[..., Any]:
    """Make the kernel of ``wait_tensor``."""

    def wait(keys: Any, *args: Any, **kwargs: Any) -> Any:
        ledger = _told
        if ledger is None or has_no_data(keys):
            return go(keys, args, kwargs)
        record = ledger.handles.giver_of(args[0])
        outer, failed = None, True
        try:
            outer = ledger.waits.begin("tensor", record)
            done = go(keys, args, kwargs)
            failed = False
            return done
        finally:
            ledger.waits.end(outer)
            if record is not None:
                ledger.ended(record, failed=failed)

    return wait
