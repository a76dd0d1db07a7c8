"""torch.distributed, interactive: one notebook, N ranks.

In a notebook::

    %load_ext rankbook
    %dist_init gloo -n 4

The magics are thin over :func:`start`, :func:`connect`, :func:`session` and :class:`Session`.
:func:`initialize_distributed` and its companions need no notebook: they work the same under
``torchrun``.

Importing this package imports neither torch nor ipyparallel; each name loads its module when it
is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook import lazy
from rankbook._version import __version__
from rankbook.errors import (
    BackendError,
    CheckFailed,
    ClusterError,
    DeviceError,
    EngineError,
    EnvironmentVariableError,
    HangError,
    InputError,
    LessonError,
    MismatchError,
    PromptError,
    RankbookError,
    RankError,
    RendezvousError,
    ReportError,
    SessionError,
    StaleGroupError,
    StuckError,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.api import clusters, connect, preview, session, start
    from rankbook.display.report import load_report
    from rankbook.distributed.init_utils import (
        DistInfo,
        destroy_global_state,
        get_local_rank_preinit,
        get_local_world_size_preinit,
        get_rank_safe,
        get_world_size_safe,
        initialize_distributed,
    )
    from rankbook.models import Diagnosis
    from rankbook.notebook import Session

__all__ = [
    "BackendError",
    "CheckFailed",
    "ClusterError",
    "DeviceError",
    "Diagnosis",
    "DistInfo",
    "EngineError",
    "EnvironmentVariableError",
    "HangError",
    "InputError",
    "LessonError",
    "MismatchError",
    "PromptError",
    "RankError",
    "RankbookError",
    "RendezvousError",
    "ReportError",
    "Session",
    "SessionError",
    "StaleGroupError",
    "StuckError",
    "__version__",
    "clusters",
    "connect",
    "destroy_global_state",
    "get_local_rank_preinit",
    "get_local_world_size_preinit",
    "get_rank_safe",
    "get_world_size_safe",
    "initialize_distributed",
    "load_report",
    "preview",
    "session",
    "start",
]

_HOMES = {
    "Diagnosis": "rankbook.models",
    "DistInfo": "rankbook.distributed.init_utils",
    "destroy_global_state": "rankbook.distributed.init_utils",
    "get_local_rank_preinit": "rankbook.distributed.init_utils",
    "get_local_world_size_preinit": "rankbook.distributed.init_utils",
    "get_rank_safe": "rankbook.distributed.init_utils",
    "get_world_size_safe": "rankbook.distributed.init_utils",
    "initialize_distributed": "rankbook.distributed.init_utils",
    "load_report": "rankbook.display.report",
    "Session": "rankbook.notebook",
    "clusters": "rankbook.api",
    "connect": "rankbook.api",
    "preview": "rankbook.api",
    "session": "rankbook.api",
    "start": "rankbook.api",
}

# Hidden from type checkers, which would accept any name because of a module's __getattr__.
if not TYPE_CHECKING:
    __getattr__ = lazy.from_homes(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics; called by ``%load_ext rankbook``."""
    from rankbook import magics

    magics.load_ipython_extension(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove the magics; called by ``%unload_ext rankbook``."""
    from rankbook import magics

    magics.unload_ipython_extension(ipython)
