"""Announcing waits in any code and any thread, however the handle is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import wraps
from types import FrameType
from typing import Any

import torch
import torch.distributed.distributed_c10d as c10d
from torch._C import Future

from rankbook.calls.callbacks import calling_back
from rankbook.calls.cut import explain, is_of_function, of_results, refuse
from rankbook.calls.keys import wait_until_set
from rankbook.calls.ledger import Ledger
from rankbook.calls.questions import of_questions
from rankbook.calls.records import is_from_anyone, is_open
from rankbook.calls.waits import seconds

__all__ = [
    "FUTURE",
    "OPENING",
    "OTHER_STORE",
    "P2P",
    "STORE",
    "WORK",
    "awaited",
    "install",
    "is_ours",
    "of_futures",
    "of_works",
    "remove",
]

WORK, P2P, FUTURE = "work", "p2p", "future"
"""The kinds of waits seen on a thread: a collective, a send or recv, or any future."""

STORE, OTHER_STORE, OPENING = "store", "other store", "opening"
"""Kinds of waits: for keys in the store in which the ranks meet, which nobody else can reach; in
any other, whose keys another process may set; for who opens a store as well."""


_OF_TWO = {12, 13, 14}
"""torch's numbers for send, recv and recv from any source among the operations of a ``Work``."""

_WORK, _GET_FUTURE, _RESULT = (vars(c10d.Work)[name] for name in ("wait", "get_future", "result"))
_FUTURE, _VALUE, _THEN = (vars(Future)[name] for name in ("wait", "value", "then"))
_COLLECT: Any = getattr(torch._C, "_collect_all", None)
_ASKED: tuple[tuple[Any, str], ...] = (
    (c10d.Work, "is_completed"),
    (c10d.Work, "is_success"),
    (Future, "done"),
)
"""Functions that answer at once whether a call is done."""

_DEVICE = (
    (torch.cuda, "synchronize"),
    (torch.cuda.Stream, "synchronize"),
    (torch.cuda.Event, "synchronize"),
)

_replaced: list[tuple[Any, str, Any]] = []


def install(ledger: Ledger, stores: Iterable[type] = ()) -> None:
    """Report waits to an account from now on, instead of another.

    Args:
        ledger: The account.
        stores: Classes beside torch's own, which wait in Python; their ``kind`` says of what kind.
    """
    remove()
    _replace(c10d.Work, "wait", of_works(ledger, _WORK.__func__))
    _replace(c10d.Work, "get_future", _of_futures_given(ledger))
    _replace(Future, "wait", of_futures(ledger, _FUTURE.__func__))
    _replace(Future, "value", of_futures(ledger, _VALUE.__func__))
    then = _of_futures_made(ledger, calling_back(ledger, _THEN.__func__), lambda future: (future,))
    _replace(Future, "then", then)
    if _COLLECT is not None:
        _replace(torch._C, "_collect_all", _of_futures_made(ledger, _COLLECT, tuple))
    _replace(c10d.Work, "result", of_results(ledger, _WORK.__func__, _RESULT.__func__))
    for owner, name in _ASKED:
        _replace(owner, name, of_questions(ledger, vars(owner)[name]))
    for store in (c10d.Store, *stores):
        kind = OTHER_STORE if store is c10d.Store else STORE
        for name in {"wait", "get"} & vars(store).keys():
            _replace(store, name, _of_stores(ledger, vars(store)[name], kind))
    for owner, name in _DEVICE:
        if name in vars(owner):
            _replace(owner, name, _telling(ledger, vars(owner)[name], "device"))


def remove() -> None:
    """Restore torch's own functions."""
    while _replaced:
        setattr(*_replaced.pop())


def is_ours(code: Any) -> bool:
    """Whether code belongs to one of our replacements of torch functions."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def awaited(frame: FrameType) -> str:
    """The wait of a thread's innermost frame: ``WORK``, ``P2P``, ``FUTURE``, or nothing."""
    if frame.f_code.co_filename != __file__:
        return ""
    name = frame.f_code.co_name
    if name != "wait":
        return {"wait_for_future": FUTURE, "wait_for_anyone": P2P}.get(name, "")
    # The frame has no arguments yet before its first line runs.
    kind = getattr(frame.f_locals.get("work"), "_get_op_type", int)()
    return P2P if kind in _OF_TWO else WORK


def _replace(owner: Any, name: str, by: Any) -> None:
    _replaced.append((owner, name, vars(owner)[name]))
    setattr(owner, name, by)


def of_works(ledger: Ledger, call: Callable[..., Any]) -> Callable[..., Any]:
    """Make the replacement of ``Work.wait``.

    Args:
        ledger: The account to which it reports.
        call: torch's own, which waits in C++.
    """
    # Bound once: every blocking collective passes here, with cold CPU caches after its wait, so
    # that memory accesses cost more than computation.
    record_of = ledger.handles.record_of
    begin, end, ended = ledger.waits.begin, ledger.waits.end, ledger.ended

    def wait(work: c10d.Work, timeout: timedelta | None = None) -> Any:
        __tracebackhide__ = True  # in a debugger
        record = record_of(work)
        if record is None:
            refuse(ledger, call, work)
        outer, failed = None, True
        try:  # from here on, because an interrupt may come at any call
            outer = begin("work", record, seconds(timeout))
            if record is not None and record.peer is None and is_from_anyone(record):
                done = wait_for_anyone(call, work, timeout)
            else:
                done = call(work) if timeout is None else call(work, timeout)
        except RuntimeError as error:
            explain(ledger, record or ledger.handles.former(work), error)
            raise
        else:
            failed = False
            return done
        finally:
            end(outer)
            # A wait that timed out, or was interrupted, leaves the call as it is.
            if record is not None and (not failed or work.is_completed()):
                ended(record, failed=failed)

    return wait


def wait_for_anyone(call: Callable[..., Any], *given: Any) -> Any:
    """Have another thread wait, and wait for that thread, so that an interrupt can end the wait.

    gloo never wakes a thread that waits for a message from any rank, not even when the connections
    end. That thread then stays until the timeout of the group.
    """
    __tracebackhide__ = True
    done = threading.Lock()
    outcome: list[tuple[Any, BaseException | None]] = []
    done.acquire()

    def wait_in_thread() -> None:
        try:
            outcome.append((call(*[each for each in given if each is not None]), None))
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            outcome.append((None, error))
        finally:
            done.release()

    threading.Thread(target=wait_in_thread, daemon=True).start()
    done.acquire()
    [(value, error)] = outcome
    if error is not None:
        raise error
    return value


def _of_futures_given(ledger: Ledger) -> Callable[..., Any]:
    """Make the replacement of ``Work.get_future``."""
    call = _GET_FUTURE.__func__

    def get_future(work: c10d.Work) -> Any:
        future = call(work)
        ledger.handles.add_future(future, work)
        return future

    return get_future


def of_futures(ledger: Ledger, call: Callable[..., Any]) -> Callable[..., Any]:
    """Make the replacement of a future's ``wait`` or ``value``; arguments as for works."""

    def wait_for_future(future: Any) -> Any:
        __tracebackhide__ = True
        record = ledger.handles.record_of_future(future)
        outer, failed, of_call = None, True, False
        try:
            outer = ledger.waits.begin("future", record)
            done = call(future)
        except RuntimeError as error:
            of_call = not is_of_function(error)
            explain(ledger, record, error)
            raise
        else:
            failed = False
            return done
        finally:
            ledger.waits.end(outer)
            # A future made of others may fail by itself.
            if record is not None and not is_open(record):
                ledger.ended(record, failed=failed, was_under_way=of_call)

    return wait_for_future


def _of_futures_made(
    ledger: Ledger, call: Callable[..., Any], sources: Callable[[Any], Iterable[Any]]
) -> Callable[..., Any]:
    """Make the replacement of a function whose future is of the calls of others, its sources."""

    def make(given: Any, *args: Any, **kwargs: Any) -> Any:
        made = call(given, *args, **kwargs)
        ledger.handles.add_made_future(made, sources(given))
        return made

    return make


def _of_stores(ledger: Ledger, original: Any, kind: str) -> Callable[..., Any]:
    """Make the replacement of a store function that waits for keys."""
    call = getattr(original, "__func__", original)

    @wraps(call)
    def stand_in(store: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = args[0] if args else next(iter(kwargs.values()), ())
        limit = seconds(args[1] if len(args) > 1 else kwargs.get("timeout"))
        above, keys = ledger.waits.of_this_thread(), (given,) if isinstance(given, str) else given
        is_below = above is not None and above[1] in (STORE, OTHER_STORE)
        told = above[3:] if above and is_below else (limit, keys)  # as called above a prefix
        outer = None
        try:
            outer = ledger.waits.begin(getattr(store, "kind", kind), None, *told)
            wait_until_set(store, keys, limit)
            return call(store, *args, **kwargs)
        finally:
            ledger.waits.end(outer)

    return stand_in


def _telling(ledger: Ledger, original: Any, kind: str) -> Callable[..., Any]:
    """Make the replacement of any other blocking function."""
    call = getattr(original, "__func__", original)

    @wraps(call)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        outer = None
        try:
            outer = ledger.waits.begin(kind)
            return call(*args, **kwargs)
        finally:
            ledger.waits.end(outer)

    return stand_in
