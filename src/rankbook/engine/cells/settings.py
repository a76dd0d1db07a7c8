"""Process-wide settings of torch and Python."""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.multiprocessing

__all__ = ["descriptors", "limits", "put_back"]


def _collect_garbage(is_on: bool) -> None:  # noqa: FBT001
    (gc.enable if is_on else gc.disable)()


def _hooks() -> tuple[Any, Any]:
    return threading.excepthook, warnings.formatwarning


def _set_hooks(hooks: tuple[Any, Any]) -> None:
    threading.excepthook, warnings.formatwarning = hooks


def _print_options() -> dict[str, Any]:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (_print_options, lambda options: vars(torch._tensor_str.PRINT_OPTS).update(options)),
    (_hooks, _set_hooks),
    (sys.getswitchinterval, sys.setswitchinterval),
    (gc.get_threshold, lambda counts: gc.set_threshold(*counts)),
    (gc.isenabled, _collect_garbage),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
]
"""Process-wide settings of torch and Python: the getter and the setter of each."""

_FLAGS = ("benchmark", "deterministic", "enabled")
"""The same of cuDNN."""


@contextmanager
def put_back() -> Iterator[None]:
    """Restore, at the end of the block, the settings at its beginning."""
    before = [ask() for ask, _ in _SETTINGS]
    flags = {name: getattr(torch.backends.cudnn, name) for name in _FLAGS}
    try:
        yield
    finally:
        for value, (ask, set_to) in zip(before, _SETTINGS, strict=True):
            if ask() != value:
                set_to(value)
        for name, flag in flags.items():
            if getattr(torch.backends.cudnn, name) != flag:
                setattr(torch.backends.cudnn, name, flag)


_LIMITS = {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}


@contextmanager
def limits() -> Iterator[None]:
    """Restore resource limits at the end of the block, or the highest that are still allowed."""
    before = {number: resource.getrlimit(number) for number in _LIMITS}
    try:
        yield
    finally:
        for number, limit in before.items():
            if resource.getrlimit(number) == limit:
                continue
            try:
                resource.setrlimit(number, limit)
            except (ValueError, OSError):  # the hard limit was lowered
                hard = resource.getrlimit(number)[1]
                resource.setrlimit(number, (hard, hard))


@contextmanager
def descriptors() -> Iterator[None]:
    """Restore the standard descriptors of the process at the end of the block.

    They can be redirected or closed. The next sockets would get the numbers of closed ones, and
    other code would write there.
    """
    kept = {number: os.dup(number) for number in range(3)}
    try:
        yield
    finally:
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
