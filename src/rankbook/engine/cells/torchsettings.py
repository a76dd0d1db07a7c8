"""The process-wide settings of torch: how each is asked for, and how it is set."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
import torch.nn.modules.module

__all__ = ["Setting", "attribute", "of_torch"]

Setting = tuple[Callable[[], Any], Callable[[Any], object]]
"""What asks for a setting, and what sets it."""

_ABSENT: Any = object()


def attribute(module: str, name: str) -> Setting:
    """An attribute of a module, or of an object in one; it may be missing."""

    def ask() -> Any:
        return getattr(_named(module), name, _ABSENT)

    def set_to(value: Any) -> None:
        if value is _ABSENT:
            delattr(_named(module), name)
        else:
            setattr(_named(module), name, value)

    return ask, set_to


def _named(path: str) -> Any:
    if path in sys.modules:
        return sys.modules[path]
    parent, _, name = path.rpartition(".")
    return getattr(_named(parent) if parent else importlib.import_module(path), name)


_WITH_PRECISION = [
    ".".join(filter(None, ("torch.backends", each)))
    for each in (
        *("", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn"),
        *("mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
    )
]

_ATTRIBUTES = {
    "torch.backends.cuda.matmul": [
        "allow_tf32",
        "allow_fp16_accumulation",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ],
    "torch.backends.cudnn": ["allow_tf32", "benchmark", "deterministic", "enabled"],
    "torch.backends.mkldnn": ["enabled", "deterministic"],
    "torch.backends.opt_einsum": ["enabled", "strategy"],
    "torch.utils.deterministic": ["fill_uninitialized_memory"],
    "torch.nn.utils.parametrize": ["_cache_enabled"],
}

_KERNELS = ("flash", "mem_efficient", "math", "cudnn")
"""The kinds of attention."""


def _kernel(name: str) -> Setting:
    cuda = torch.backends.cuda
    return getattr(cuda, f"{name}_sdp_enabled"), getattr(cuda, f"enable_{name}_sdp")


def _autocast(device: str) -> list[Setting]:
    return [
        (
            lambda: torch.is_autocast_enabled(device),
            lambda on: torch.set_autocast_enabled(device, on),
        ),
        (lambda: torch.get_autocast_dtype(device), lambda to: torch.set_autocast_dtype(device, to)),
    ]


def _print_options() -> dict[str, Any]:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


def _hooks() -> dict[str, Any]:
    """The hooks of all modules, and what says of which kind they are."""
    names = vars(torch.nn.modules.module)
    return {
        name: value.copy() if isinstance(value, dict) else value
        for name, value in names.items()
        if name.startswith("_global_") and (value is None or isinstance(value, (dict, bool)))
    }


def _set_hooks(hooks: dict[str, Any]) -> None:
    names = vars(torch.nn.modules.module)
    for name, value in hooks.items():
        if isinstance(value, dict):
            names[name].clear()  # the table itself is referred to
            names[name].update(value)
        else:
            names[name] = value


def _safe_globals() -> set[Any]:
    return {*torch.serialization.get_safe_globals()}


def _set_safe_globals(known: set[Any]) -> None:
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([*known])


def _device() -> Any:
    """The mode that makes tensors on the default device; None where nobody has set one."""
    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _set_device(mode: Any) -> None:
    torch.set_default_device(mode and mode.device)


def _saved_hooks() -> list[Any]:
    """The hooks for saved tensors that are in force; the innermost alone can be asked for."""
    return [torch._C._autograd._top_saved_tensors_default_hooks(True)]  # noqa: FBT003


def _leave_saved_hooks(before: list[Any]) -> None:
    while _saved_hooks() not in (before, [None]):
        torch._C._autograd._pop_saved_tensors_default_hooks()


def _profile(is_on: bool) -> None:  # noqa: FBT001
    if not is_on:
        _autograd._disable_profiler()


_FUTURE = torch.__future__
_autograd: Any = torch.autograd
_c10d: Any = torch.distributed


def of_torch() -> list[Setting]:
    """All of them; a version of torch without some raises at these when they are asked for."""
    # While some precisions are set, torch refuses to say what older settings are, and setting those
    # changes the precisions.
    precisions = [attribute(owner, "fp32_precision") for owner in _WITH_PRECISION]
    attributes = [attribute(owner, name) for owner, names in _ATTRIBUTES.items() for name in names]
    return [
        (_autograd._profiler_enabled, _profile),
        *precisions,
        *attributes,
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        *precisions,
        *(_kernel(name) for name in _KERNELS),
        *_autocast("cpu"),
        *_autocast("cuda"),
        (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (torch.get_default_dtype, torch.set_default_dtype),
        (_device, _set_device),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy),
        (torch.is_warn_always_enabled, torch.set_warn_always),
        (_print_options, lambda options: vars(torch._tensor_str.PRINT_OPTS).update(options)),
        (_hooks, _set_hooks),
        (_saved_hooks, _leave_saved_hooks),
        (_safe_globals, _set_safe_globals),
        (
            _FUTURE.get_overwrite_module_params_on_conversion,
            _FUTURE.set_overwrite_module_params_on_conversion,
        ),
        (
            _FUTURE.get_swap_module_params_on_conversion,
            _FUTURE.set_swap_module_params_on_conversion,
        ),
        (_c10d.get_debug_level, _c10d.set_debug_level),
    ]
