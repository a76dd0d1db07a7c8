"""Importing, once for all engines that are forked from this process, what each of them would."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from threading import Thread

__all__ = ["load"]


def load() -> None:
    """Import what engines need. When it returns, this process has one thread."""
    # Imports leave hardly any garbage, and collecting takes a seventh of their time.
    gc.disable()
    libraries = Thread(target=_load_torchs_libraries)
    libraries.start()
    _import_whats_without_torch()
    libraries.join()  # before anything forks
    _import_whats_with_torch()
    # Keep the collector from touching (and so copying) pages that the engines share.
    gc.freeze()


def _load_torchs_libraries() -> None:
    """Load torch's libraries as torch does: a sixth of its import, which needs no lock of Python's.

    On a build for CUDA it is more. What fails here fails, or is found elsewhere, as torch is
    imported.
    """
    spec = find_spec("torch")
    for folder in spec.submodule_search_locations or () if spec else ():
        with suppress(OSError):
            ctypes.CDLL(f"{folder}/lib/libtorch_global_deps.so", ctypes.RTLD_GLOBAL)
            ctypes.CDLL(f"{folder}/lib/libtorch_python.so")


def _import_whats_without_torch() -> None:
    import ipyparallel.engine.app  # noqa: F401

    # Each engine would import or find out these as it starts, several of them on each core.
    for name in (
        "IPython.core.completerlib",
        "IPython.extensions.storemagic",
        "tornado.platform.asyncio",
    ):
        import_module(name)
    import_module("jupyter_client.localinterfaces").local_ips()

    # An engine's kernel looks for debugpy, whose import takes longer than all else that it does;
    # no front end reaches an engine's debugger. A cell may still import debugpy itself.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    with suppress(ImportError):
        import ipykernel.debugger  # noqa: F401
    del sys.modules["debugpy"]


def _import_whats_with_torch() -> None:
    import rankbook.engine.app  # noqa: F401
    from rankbook import calls
    from rankbook.engine.operations import every_operation

    every_operation()
    calls.prepare()
