"""torch's dispatcher: all of its private names, and the behaviour without them.

They are those of torch 2.9 to 2.15; ``tests/unit/test_private_api.py`` fails if one goes. None of
them is taken for granted: a rank starts without any of them. :func:`lacking` says what the account
then does not see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
import torch.distributed.distributed_c10d as c10d

__all__ = [
    "aside",
    "backend_of",
    "group_named",
    "has_no_data",
    "is_aside",
    "is_fake",
    "is_tried_out",
    "lacking",
    "quickly_aside",
    "register",
    "stand_before",
    "waits_when_used",
]

_C: Any = torch._C

BEFORE_BACKENDS, BEFORE_FUNCTIONS = "ADInplaceOrView", "BackendSelect"
"""Dispatch keys of our kernels; inference mode does not switch the second one off."""


def _found(*names: str) -> Any:
    """Look up a name below ``torch._C``; None if it does not exist."""
    found = _C
    for name in names:
        found = getattr(found, name, None)
    return found


def _key_set() -> Any:
    key, keys = _found("DispatchKey", BEFORE_BACKENDS), _found("DispatchKeySet")
    return None if key is None or keys is None else keys(key)


_HERE = _key_set()
_EXCLUDE, _BELOW = _found("_ExcludeDispatchKeyGuard"), _found("_AutoDispatchBelowADInplaceOrView")
_WITHOUT_DATA = _found("DispatchKey", "Meta")
_FAKE = _found("_TorchDispatchModeKey", "FAKE")
_MODE = _found("_get_dispatch_mode")
_RESOLVE = getattr(c10d, "_resolve_process_group", None)


def _can_listen() -> bool:
    operator = getattr(getattr(torch.ops.c10d, "allreduce_", None), "default", None)
    handle = getattr(operator, "_handle", None)
    return _found("DispatchKey", BEFORE_BACKENDS) is not None and hasattr(
        handle, "redispatch_boxed"
    )


_LISTENS = _can_listen()


class _Aside(threading.local):
    depth = 0


_aside = _Aside()


@contextmanager
def _marked() -> Any:
    """Replace a missing dispatcher feature by a flag of the thread: calls stay in a thread."""
    _aside.depth += 1
    try:
        yield
    finally:
        _aside.depth -= 1


def _excluded() -> Any:
    return _EXCLUDE(_HERE)


aside: Callable[[], Any] = _marked if _EXCLUDE is None or _HERE is None else _excluded
"""Let calls issued in this context pass our kernels unseen."""

quickly_aside: Callable[[], Any] = aside if _BELOW is None else _BELOW
"""The same, but quicker, as calls skip autograd, too: only for tensors without gradients."""

is_tried_out: Callable[[], int] = _found("_len_torch_dispatch_stack") or (lambda: 1)
"""Whether a mode is active in which a call may only be traced, as when torch compiles."""


def is_aside() -> bool:
    """Whether this thread is in a context of :func:`aside` that the dispatcher does not know."""
    return _aside.depth > 0


def is_fake(tensors: Sequence[Any]) -> bool:
    """Whether a call is only traced, on tensors without data, as when torch compiles."""
    if _MODE is not None and _FAKE is not None and is_tried_out() and _MODE(_FAKE) is not None:
        return True
    if not tensors:
        return False
    first = tensors[0]
    return first.is_meta or (
        type(first) is not torch.Tensor and type(first).__name__ == "FakeTensor"
    )


def has_no_data(keys: Any) -> bool:
    """Whether the tensors of a call have no data, judging by its dispatch keys."""
    return _WITHOUT_DATA is not None and bool(keys.has(_WITHOUT_DATA))


_KEYS_OF, _FOR_BACKENDS = _found("_dispatch_keys"), _found("_after_ADInplaceOrView_keyset")
_LEVEL, _PROFILES = (
    _found("_functorch", "maybe_current_level"),
    _found("_autograd", "_profiler_enabled"),
)
_KNOWS_ALL = all(each is not None for each in (_KEYS_OF, _FOR_BACKENDS, _LEVEL, _PROFILES, _BELOW))


def _backends() -> dict[int, Any]:
    keys = [_found("DispatchKey", name) for name in ("CPU", "CUDA")] if _KNOWS_ALL else []
    return {(only := _C.DispatchKeySet(key)).raw_repr(): only for key in keys}


_BACKENDS = _backends()
"""The dispatch keys of backends, by what is left of a plain tensor's keys before a backend's."""


def backend_of(tensor: Any) -> Any:
    """The dispatch key of the backend, if nothing else has to do with a call with this tensor.

    Such as autograd, a mode, a class of tensors, a transform, or a profiler. None if something has.
    """
    if (tensor.requires_grad and torch.is_grad_enabled()) or is_tried_out() or not _BACKENDS:
        return None
    if _LEVEL() is not None or _PROFILES():
        return None
    return _BACKENDS.get((_KEYS_OF(tensor) & _FOR_BACKENDS).raw_repr())


def waits_when_used(tensor: Any) -> bool:
    """Whether a tensor waits for a collective when it is used, and nobody looks on."""
    if type(tensor).__name__ != "AsyncCollectiveTensor":  # importing it takes 30 ms
        return False
    return not tensor.requires_grad and backend_of(tensor.elem) is not None


def group_named(name: str) -> Any:
    """The process group with torch's name."""
    if _RESOLVE is not None:
        return _RESOLVE(name)
    return next(group for group, known in c10d._world.pg_names.items() if known == name)


def register(
    namespace: str, name: str, key: str, make: Callable[[Any], Any]
) -> Callable[[], object] | None:
    """Insert a kernel in front of an operator.

    Args:
        namespace: ``c10d``, for example.
        name: The operator's name.
        key: The dispatch key of the kernel.
        make: Makes the kernel; its argument sends a call on.

    Returns:
        A function that removes it; None if this torch lacks the operator, or a way to do this.
    """
    if not _LISTENS:
        return None
    with suppress(AttributeError):
        operator = getattr(getattr(torch.ops, namespace), name).default
        go_on, here = operator._handle.redispatch_boxed, getattr(_C.DispatchKey, key)

        def go(keys: Any, args: Any, kwargs: Any) -> Any:
            return go_on(keys.remove(here), *args, **kwargs)

        library = torch.library.Library(namespace, "IMPL")
        library.impl(name, make(go), key, with_keyset=True)
        owned = [library]  # which lives as long as its owner

        def take_out() -> None:
            getattr(owned.pop(), "_destroy", lambda: None)()

        return take_out
    return None


def stand_before(
    namespace: str, name: str, make: Callable[[Any, Callable[..., Any]], Any]
) -> list[Callable[[], None]]:
    """Replace what Python calls for an operator, by its name and by that of its only overload.

    Args:
        namespace: ``c10d``, for example.
        name: The operator's name.
        make: Makes what is called instead, of what is called now, and of a function that calls a
            backend alone: its dispatch key comes first.

    Returns:
        Functions that restore it; none if this torch lacks the operator, or a way to do this.
    """
    found: list[Callable[[], None]] = []
    with suppress(AttributeError):  # this torch lacks it
        packet = getattr(getattr(torch.ops, namespace), name)
        direct = packet.default._handle.redispatch_boxed

        def unseen(*args: Any) -> Any:
            with quickly_aside():
                return direct(*args)

        for owner in (packet, packet.default) if _LISTENS and _BACKENDS else ():
            original = owner._op
            owner._op = _in_the_guise_of(original, make(original, unseen))
            found.append(partial(setattr, owner, "_op", original))
    return found


def _in_the_guise_of(original: Any, call: Callable[..., Any]) -> Any:
    """Make a function that torch takes for another: its tables go by the hash of that."""
    described = {
        "__call__": staticmethod(call),
        "__getattr__": lambda _, name: getattr(original, name),
        "__hash__": lambda _: hash(original),
        "__module__": original.__module__,
    }
    return type("Operator", (), described)()


def lacking() -> tuple[str, ...]:
    """What the account cannot see in this torch, one sentence each; empty if it sees everything."""
    if _LISTENS:
        return ()
    lack = (
        "torch's dispatcher cannot be observed: collectives that C++ calls (DDP's gradients, "
        "functional collectives) are not recorded, and a hang in one is explained by its line only."
    )
    return (lack,)
