"""The methods of ``ProcessGroup``, each replaced by one that reports to the account.

A reported call passes the kernels in ``kernels`` unseen: it goes on with their dispatch key
switched off (``dispatch.aside``). A call whose form of arguments the table does not know is not
reported here, and seen there.

Setting methods of pybind11 classes works in torch 2.9 to 2.15; ``tests/unit/test_private_api.py``
fails if one of them goes.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import index
from typing import Any

import torch.distributed.distributed_c10d as c10d

from rankbook.calls.dispatch import aside, is_fake, is_tried_out, quickly_aside
from rankbook.calls.ledger import Ledger
from rankbook.calls.taps import METHODS, REDUCTIONS, Tap, reduction, tensors_of
from rankbook.calls.waits import seconds

__all__ = ["install", "is_ours", "remove"]

_ORIGINALS: dict[str, Any] = {
    name: vars(c10d.ProcessGroup)[name] for name in METHODS if name in vars(c10d.ProcessGroup)
}
_WITH_A_TIMEOUT = {"monitored_barrier"}
_ENDS: dict[str, Any] = {name: vars(c10d.ProcessGroup)[name] for name in ("abort", "shutdown")}


def install(ledger: Ledger) -> None:
    """Report calls to an account from now on, instead of another."""
    for name, original in _ORIGINALS.items():
        call = original.__func__
        if name in _WITH_A_TIMEOUT:
            call = _within_a_timeout(ledger, call)
        setattr(c10d.ProcessGroup, name, _telling(ledger, call, METHODS[name]))
    for name, original in _ENDS.items():
        setattr(c10d.ProcessGroup, name, _releasing(ledger, original))


def remove() -> None:
    """Restore torch's own methods."""
    for name, original in (_ORIGINALS | _ENDS).items():
        setattr(c10d.ProcessGroup, name, original)


def is_ours(code: Any) -> bool:
    """Whether code belongs to one of our replacements of torch methods."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def _telling(ledger: Ledger, call: Callable[..., Any], tap: Tap) -> Callable[..., Any]:
    """Make the replacement of a torch method."""
    op, at, reduces, root, peer, tag = tap.op, tap.tensors, tap.reduces, tap.root, tap.peer, tap.tag
    needed = max(position for position in (at, peer, tag, -1) if position is not None) + 1
    issue, returned, not_issued = ledger.issue, ledger.returned, ledger.not_issued

    def method(group: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = len(args)
        if given < needed:
            return call(group, *args, **kwargs)
        tensors: Any = () if at is None else tensors_of(args[at])
        if is_tried_out() and is_fake(tensors):
            return call(group, *args, **kwargs)
        reduced, rooted = "", None
        if reduces is not None:
            value: Any = args[reduces] if given > reduces else kwargs.get("opts", kwargs.get("op"))
            if isinstance(value, int):  # one of the old forms
                return call(group, *args, **kwargs)
            try:  # options, the usual form
                reduced = REDUCTIONS[hash(value.reduceOp)]
            except AttributeError:
                reduced = reduction(value)
        if root is not None:
            value = args[root] if given > root else kwargs.get("opts", kwargs.get("root", 0))
            rooted = value if isinstance(value, int) else value.rootRank
        record = issue(
            group,
            op,
            tensors,
            reduced,
            rooted,
            None if peer is None else _existing(group, op, args[peer]),
            None if tag is None else _number(args[tag]),
        )
        # Without gradients autograd is not needed: skipping it, too, is faster.
        is_plain = not tensors or (len(tensors) == 1 and not tensors[0].requires_grad)
        try:
            if ledger.check is not None or ledger.keeper is not None:
                _before(ledger, record, args)
            with quickly_aside() if is_plain else aside():
                work = call(group, *args, **kwargs)
        except BaseException as error:
            not_issued(record, error)
            raise
        returned(record, work)
        return work

    return method


def _within_a_timeout(ledger: Ledger, call: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a blocking method, whose first argument is its timeout, to announce its wait."""

    def wait(group: Any, timeout: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        waits, outer = ledger.waits, None
        try:
            outer = waits.begin("issue", waits.issued_here(), seconds(timeout))
            return call(group, timeout, *args, **kwargs)
        finally:
            waits.end(outer)

    return wait


def _number(value: Any) -> int | None:
    """A number as torch takes it; None for what is none, which torch then refuses."""
    try:
        return index(value)
    except TypeError:
        return None


def _existing(group: Any, op: str, given: Any) -> int | None:
    """The rank at the other end, if there is one; gloo ends the process if not."""
    peer, size = _number(given), group.size()
    if peer is None or 0 <= peer < size:
        return peer
    way = "to" if op == "send" else "from"
    raise ValueError(
        f"{op} {way} rank {peer}: there is no such rank, this group has ranks 0 to {size - 1}"
    )


def _before(ledger: Ledger, record: Any, args: Any) -> None:
    """Run the checks and copies that the user requested before each call."""
    if ledger.keeper is not None:
        ledger.keeper.before(record, args)
    if ledger.check is not None:
        is_blocking = not getattr(args[-1] if args else None, "asyncOp", True)
        ledger.check.before(ledger, record, is_blocking=is_blocking)


def _releasing(ledger: Ledger, original: Any) -> Callable[..., Any]:
    """Make the replacement of a method that ends a group."""
    call = original.__func__

    def method(group: Any, *args: Any, **kwargs: Any) -> Any:
        ledger.handles.release()
        return call(group, *args, **kwargs)

    return method
