"""The RPC framework of torch in a process that begins it again and again, as scripts on a rank do.

Torch has one account of references to remote objects in a process. It keeps the agent of the first
RPC for as long as the process lives, and sends with it what concerns them; Python cannot replace
it. In a later RPC such a reference fails with a misleading message, or C++ waits for it without
end. So this module refuses it.

And every process counts for itself by which numbers it meets the others. After an RPC that some
have not ended, they would wait for each other under different numbers, up to its timeout.

(``_finalize_shutdown`` and the counts are private in torch 2.9 to 2.15; without them, less works.)
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["count_anew", "end", "explain", "has_begun", "watch"]

_FINALIZE = "_finalize_shutdown"

_COUNTS = ("_all_gather_sequence_id", "_all_gather_sequence_id_to_states")

_SENT = "RPC is no longer running on this node"
"""In what torch raises, here or on the rank that was asked, where the first agent is to send."""

_REFUSED = (
    "references to remote objects (RRef, rpc.remote) work in the first RPC of a process only, and "
    "this process has had one: run %dist_reset --hard for new processes, then this again"
)

_is_over = False
"""Whether an RPC of this process has ended."""
_watched: Any = None
"""The module whose functions were replaced."""


def has_begun() -> bool:
    """Whether RPC has begun in this process, and has not been shut down."""
    try:
        return _rpc().get_worker_info() is not None
    except (AttributeError, RuntimeError):  # it was not imported, or has not begun
        return False


def end() -> None:
    """Shut RPC down here, without waiting for the other ranks."""
    with suppress(Exception):  # of objects that other ranks refer to
        _rpc().shutdown(graceful=False)


def count_anew() -> None:
    """Have the next RPC count from the start; call it where the other ranks do, too."""
    rpc = _rpc()
    if rpc is None or has_begun():
        return
    for name in _COUNTS:
        getattr(rpc.api, name, {}).clear()
    if hasattr(rpc, "_init_counter"):
        rpc._init_counter = 0


def watch() -> None:
    """From the end of the RPC that begins, refuse what makes such references."""
    global _watched  # noqa: PLW0603
    rpc = _rpc()
    if hasattr(rpc, "remote") and rpc.api is not _watched:
        _watched = rpc.api
        rpc.remote = rpc.api.remote = _refusing(rpc.remote)
        if hasattr(rpc.api, _FINALIZE):
            setattr(rpc.api, _FINALIZE, _noting(getattr(rpc.api, _FINALIZE)))


def explain(error: BaseException) -> RuntimeError | None:
    """The error for such a reference that came from elsewhere; None for any other error."""
    if isinstance(error, RuntimeError) and _SENT in str(error) and has_begun():
        return RuntimeError(_REFUSED)
    return None


def _refusing(remote: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(remote)
    def refuse(*args: Any, **options: Any) -> Any:
        if _is_over:
            raise RuntimeError(_REFUSED)
        return remote(*args, **options)

    return refuse


def _noting(finalize: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(finalize)
    def note() -> None:
        global _is_over  # noqa: PLW0603
        _is_over = True
        finalize()

    return note


def _rpc() -> Any:
    return sys.modules.get("torch.distributed.rpc")
