"""The dispatcher, through which every call passes on its way to a backend.

torch sends each collective through its dispatcher, as ``c10d::allreduce_`` and so on. One of our
kernels, at a key before the backends', reports it to the account, and sends it on. So DDP's reducer
is seen, and everything else that issues calls in C++. ``methods`` has already reported calls from
Python, which skip this key.

Functional collectives are seen where they enter, as ``_c10d_functional::all_reduce`` and so on:
there they still have names, and their arguments are cheaper to read. Inference mode does not switch
their key off. Calls with tensors without data (fake, or on the device ``meta``) do not count.

A kernel in Python costs 5 us each time, and a functional collective with its wait passes three. So
what Python calls by ``torch.ops`` is replaced, too: a call with which nothing but a backend has to
do is reported there, and goes to the backend. All others, and those of C++, come to the kernels.

The kernels belong to the process and to its forks. Their account is set later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed.distributed_c10d as c10d

from rankbook.calls import dispatch
from rankbook.calls.cut import explain, refuse_again
from rankbook.calls.dispatch import (
    BEFORE_BACKENDS,
    BEFORE_FUNCTIONS,
    aside,
    backend_of,
    group_named,
    has_no_data,
    is_aside,
    is_fake,
    waits_when_used,
)
from rankbook.calls.ledger import Ledger
from rankbook.calls.records import Record
from rankbook.calls.taps import FUNCTIONAL, OPS, Tap, reduction, tensors_of

__all__ = ["install", "is_ours", "prepare", "remove"]

_registered: list[Callable[[], object]] = []
"""Each removes one of our kernels."""

_told: Ledger | None = None
"""The account of the kernels; None: they let everything pass."""


def prepare() -> None:
    """Insert our kernels; once, for this process and all its forks."""
    if _registered:
        return
    for name, tap in OPS.items():
        _register("c10d", name, BEFORE_BACKENDS, partial(_issuing, tap))
    for name, tap in FUNCTIONAL.items():
        _register("_c10d_functional", name, BEFORE_FUNCTIONS, partial(_functional, tap))
        _stand_before(name, partial(_called, tap))
    _register("_c10d_functional", "wait_tensor", BEFORE_FUNCTIONS, _waiting)
    _stand_before("wait_tensor", _called_to_wait)


def install(ledger: Ledger) -> None:
    """Report to an account from now on, instead of another."""
    global _told  # noqa: PLW0603 - the kernels belong to the process, too
    prepare()
    _told = ledger


def remove() -> None:
    """Remove our kernels."""
    global _told  # noqa: PLW0603
    _told = None
    while _registered:
        _registered.pop()()


def is_ours(code: Any) -> bool:
    """Whether code belongs to one of our kernels."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def _register(namespace: str, name: str, key: str, make: Callable[[Any], Any]) -> None:
    """Insert a kernel in front of an operator, if this torch has it."""
    if (take_out := dispatch.register(namespace, name, key, make)) is not None:
        _registered.append(take_out)


def _stand_before(name: str, make: Callable[[Any, Any], Any]) -> None:
    """Replace what Python calls for a functional operator."""
    _registered.extend(dispatch.stand_before("_c10d_functional", name, make))


def _issue(ledger: Ledger, tap: Tap, group: Any, tensors: Any, args: Any) -> Record:
    """Announce a call with the argument positions of its operator."""
    reduces = None if tap.reduces is None else args[tap.reduces]
    is_boxed = isinstance(reduces, torch.ScriptObject)
    return ledger.issue(
        group,
        tap.op,
        tensors,
        "" if tap.reduces is None else "sum" if is_boxed else reduction(reduces),
        None if tap.root is None else args[tap.root],
        None if tap.peer is None else args[tap.peer],
        None if tap.tag is None else args[tap.tag],
        reduces if is_boxed else None,
    )


def _before(ledger: Ledger, record: Record, args: Any) -> None:
    """Run the checks and copies that the user requested before each call."""
    if ledger.keeper is not None:
        ledger.keeper.before(record, args)
    if ledger.check is not None:
        ledger.check.before(ledger, record, is_blocking=False)


def _issuing(tap: Tap, go: Any) -> Callable[..., Any]:
    """Make a kernel for calls issued in C++."""

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

        def go_on() -> Any:
            with aside():
                return go(keys, args, kwargs)

        return _issue_functional(ledger, tap, args, go_on)

    return issue


def _called(tap: Tap, original: Any, direct: Callable[..., Any]) -> Callable[..., Any]:
    """Make what Python calls instead of the operator of a functional collective."""
    needed = max(position for position in (tap.group, tap.reduces, tap.tag) if position) + 1

    def issue(*args: Any, **kwargs: Any) -> Any:
        ledger = _told
        backend = None if ledger is None or kwargs or len(args) != needed else _backend_of(args[0])
        if ledger is None or backend is None:
            return original(*args, **kwargs)
        return _issue_functional(ledger, tap, args, partial(direct, backend, *args))

    return issue


def _backend_of(given: Any) -> Any:
    """The dispatch key of the backend, if nothing else has to do with an operator's tensor."""
    return backend_of(given) if type(given) is torch.Tensor else None


def _issue_functional(ledger: Ledger, tap: Tap, args: Any, go_on: Callable[[], Any]) -> Any:
    """Report a functional collective while it is sent on."""
    group = args[tap.group]
    if isinstance(group, str):
        group = group_named(group)
    elif not isinstance(group, c10d.ProcessGroup):
        group = c10d.ProcessGroup.unbox(group)
    record = _issue(ledger, tap, group, tensors_of(args[tap.tensors or 0]), args)
    try:
        if ledger.check is not None or ledger.keeper is not None:
            _before(ledger, record, args[:1])
        given = go_on()
    except BaseException as error:
        ledger.not_issued(record, error)
        raise
    ledger.gave(record, tensors_of(given))
    return given


def _waiting(go: Any) -> Callable[..., Any]:
    """Make the kernel of ``wait_tensor``."""

    def wait(keys: Any, *args: Any, **kwargs: Any) -> Any:
        ledger = _told
        if ledger is None or has_no_data(keys):
            return go(keys, args, kwargs)
        return _wait(ledger, args[0], lambda: go(keys, args, kwargs))

    return wait


def _called_to_wait(original: Any, direct: Callable[..., Any]) -> Callable[..., Any]:
    """Make what Python calls instead of the operator ``wait_tensor``."""

    def wait(*args: Any, **kwargs: Any) -> Any:
        ledger = _told
        if ledger is None or kwargs or len(args) != 1:
            return original(*args, **kwargs)
        [tensor] = args
        if (backend := _backend_of(tensor)) is not None:
            return _wait(ledger, tensor, partial(direct, backend, tensor))
        if waits_when_used(tensor):
            return tensor.trigger_wait()  # what torch comes to in 20 us more: it calls this again
        return original(tensor)

    return wait


def _wait(ledger: Ledger, tensor: Any, go_on: Callable[[], Any]) -> Any:
    """Report a wait for a tensor while it lasts."""
    has_given = ledger.handles.has_given  # torch may wait twice, and the second time for nothing
    record = ledger.handles.giver_of(tensor) if has_given else None
    if record is None:
        refuse_again(ledger, tensor)
    if not has_given:
        return go_on()
    outer, failed = None, True
    try:
        outer = ledger.waits.begin("tensor", record)
        done = go_on()
    except RuntimeError as error:
        if record is not None:
            ledger.handles.leave(tensor, record)
            explain(ledger, record, error)
        raise
    else:
        failed = False
        return done
    finally:
        ledger.waits.end(outer)
        if record is not None:
            ledger.ended(record, failed=failed)
