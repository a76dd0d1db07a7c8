"""The dispatcher's door, through which all passes that reaches a backend, from whatever issued it.

torch sends each collective through its dispatcher, as ``c10d::allreduce_`` and so on. A kernel of
ours at a key that stands before the backends' tells the account, and sends it on. So DDP's reducer
is seen, and all else that issues in C++. What Python issued has been told of by ``methods`` and
comes past this key.

Functional collectives are seen where they enter, as ``_c10d_functional::all_reduce`` and so on:
there they still have names, and to take their arguments apart costs less. Their key is one that
inference mode does not switch off. Tensors without data (fake ones, or of the device ``meta``) are
no calls.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
import torch.distributed.distributed_c10d as c10d

from rankbook.calls.ledger import Ledger
from rankbook.calls.methods import unseen
from rankbook.calls.taps import FUNCTIONAL, OPS, Tap, is_fake, reduction, tensors_of

__all__ = ["install", "is_ours", "remove"]

_BEFORE_BACKENDS, _BEFORE_FUNCTIONS = "ADInplaceOrView", "BackendSelect"
_WITHOUT_DATA = torch._C.DispatchKey.Meta

_libraries: list[torch.library.Library] = []


def install(ledger: Ledger) -> None:
    """Begin to tell an account, in place of another."""
    remove()
    for name, tap in OPS.items():
        _register("c10d", name, _BEFORE_BACKENDS, partial(_issuing, ledger, tap))
    for name, tap in FUNCTIONAL.items():
        _register("_c10d_functional", name, _BEFORE_FUNCTIONS, partial(_functional, ledger, tap))
    _register("_c10d_functional", "wait_tensor", _BEFORE_FUNCTIONS, partial(_waiting, ledger))


def remove() -> None:
    """Take our kernels out."""
    while _libraries:
        _libraries.pop()._destroy()


def is_ours(code: Any) -> bool:
    """Whether code is that of one of our kernels."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def _register(namespace: str, name: str, key: str, make: Callable[[Any], Any]) -> None:
    """Put a kernel in the way of an operator, if this torch has it."""
    with suppress(AttributeError):
        operator = getattr(getattr(torch.ops, namespace), name).default
        go_on, here = operator._handle.redispatch_boxed, getattr(torch._C.DispatchKey, key)

        def go(keys: Any, args: Any, kwargs: Any) -> Any:
            return go_on(keys.remove(here), *args, **kwargs)

        library = torch.library.Library(namespace, "IMPL")
        library.impl(name, make(go), key, with_keyset=True)
        _libraries.append(library)


def _issuing(ledger: Ledger, tap: Tap, go: Any) -> Callable[..., Any]:
    """Make a kernel for what C++ issues."""

    def issue(keys: Any, *args: Any, **kwargs: Any) -> Any:
        tensors: Any = () if tap.tensors is None else tensors_of(args[tap.tensors])
        if is_fake(tensors):
            return go(keys, args, kwargs)
        record = ledger.issue(
            c10d.ProcessGroup.unbox(args[tap.group]),
            tap.op,
            tensors,
            "" if tap.reduces is None else reduction(args[tap.reduces]),
            None if tap.root is None else args[tap.root],
            None if tap.peer is None else args[tap.peer],
            None if tap.tag is None else args[tap.tag],
        )
        try:
            if ledger.keeper is not None:
                ledger.keeper.before(record, args)
            if ledger.check is not None:
                ledger.check.before(ledger, record, is_blocking=False)
            done = go(keys, args, kwargs)
        except BaseException:
            ledger.ended(record, failed=True)
            raise
        boxed = done[-1] if isinstance(done, tuple) else done
        work = None if boxed is None else c10d.Work.unbox(boxed)
        ledger.returned(record, work)
        return done

    return issue


def _functional(ledger: Ledger, tap: Tap, go: Any) -> Callable[..., Any]:
    """Make a kernel for a functional collective."""

    def issue(keys: Any, *args: Any, **kwargs: Any) -> Any:
        if keys.has(_WITHOUT_DATA):
            return go(keys, args, kwargs)
        tensors = tensors_of(args[tap.tensors or 0])
        group = args[tap.group]
        if isinstance(group, str):
            group = c10d._resolve_process_group(group)  # type: ignore[attr-defined,arg-type]
        else:
            group = c10d.ProcessGroup.unbox(group)
        record = ledger.issue(
            group,
            tap.op,
            tensors,
            "" if tap.reduces is None else reduction(args[tap.reduces]),
            None if tap.root is None else args[tap.root],
            None if tap.peer is None else args[tap.peer],
            None if tap.tag is None else args[tap.tag],
        )
        try:
            if ledger.keeper is not None:
                ledger.keeper.before(record, args[:1])
            if ledger.check is not None:
                ledger.check.before(ledger, record, is_blocking=False)
            with unseen():
                given = go(keys, args, kwargs)
        except BaseException:
            ledger.ended(record, failed=True)
            raise
        ledger.gave(record, tensors_of(given))
        return given

    return issue


def _waiting(ledger: Ledger, go: Any) -> Callable[..., Any]:
    """Make the kernel of ``wait_tensor``."""

    def wait(keys: Any, *args: Any, **kwargs: Any) -> Any:
        if keys.has(_WITHOUT_DATA):
            return go(keys, args, kwargs)
        record = ledger.handles.giver_of(args[0])
        outer, failed = None, True
        try:
            outer = ledger.wait("tensor", record)
            done = go(keys, args, kwargs)
            failed = False
            return done
        finally:
            ledger.waited(outer)
            if record is not None:
                ledger.ended(record, failed=failed)

    return wait
