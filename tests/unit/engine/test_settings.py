"""Settings of the process that a script changes are put back at its end."""

from __future__ import annotations

import decimal
import gc
import io
import locale
import os
import sys
import threading
import tracemalloc
from cProfile import Profile
from functools import reduce
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.autograd import graph, profiler
from torch.nn.modules import module as modules
from torch.nn.utils import parametrize

from rankbook.engine.cells import settings

PROFILE = Profile()

CHANGES = {
    "the number format of NumPy": (
        lambda: np.set_printoptions(precision=2),
        lambda: np.get_printoptions()["precision"],
    ),
    "errors of NumPy": (lambda: np.seterr(all="raise"), np.geterr),
    "decimals": (
        lambda: decimal.getcontext().traps.update({decimal.Inexact: True}),
        lambda: decimal.Decimal(1) / 3,
    ),
    "the locale": (
        lambda: locale.setlocale(locale.LC_ALL, "C"),
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "digits of an integer": (
        lambda: sys.set_int_max_str_digits(700),
        lambda: sys.get_int_max_str_digits(),  # noqa: PLW0108 - as in the code
    ),
    "a prompt": (lambda: setattr(sys, "ps1", "> "), lambda: hasattr(sys, "ps1")),
    "stacks of threads": (lambda: threading.stack_size(1 << 20), threading.stack_size),
    "cores": (
        lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        lambda: os.sched_getaffinity(0),
    ),
    "traced memory": (tracemalloc.start, tracemalloc.is_tracing),
    "traced threads": (lambda: threading.settrace(print), threading.gettrace),
    "profiled calls": (PROFILE.enable, sys.getprofile),
    "a profiler of torch": (
        lambda: profiler.profile(use_kineto=True).__enter__(),
        torch.autograd._profiler_enabled,
    ),
    "precisions": (
        lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
        lambda: (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.fp32_precision,
        ),
    ),
    "the precision of products": (
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: (
            torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.fp32_precision,
        ),
    ),
    "an older name of a precision": (
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: torch.backends.cuda.matmul.allow_tf32,
    ),
    "a kernel of attention": (
        lambda: torch.backends.cuda.enable_flash_sdp(enabled=False),
        torch.backends.cuda.flash_sdp_enabled,
    ),
    "autocast": (
        lambda: torch.set_autocast_enabled("cpu", True),  # noqa: FBT003 - it takes no names
        lambda: torch.is_autocast_enabled("cpu"),
    ),
    "the type of autocast": (
        lambda: torch.set_autocast_dtype("cpu", torch.float16),
        lambda: torch.get_autocast_dtype("cpu"),
    ),
    "a hook of all modules": (
        lambda: modules.register_module_forward_hook(print),
        lambda: torch.nn.Identity()(1),
    ),
    "a hook for gradients of all modules": (
        lambda: modules.register_module_full_backward_hook(print),
        lambda: (modules._global_is_full_backward_hook, len(modules._global_backward_hooks)),
    ),
    "hooks of saved tensors": (
        lambda: graph.saved_tensors_hooks(print, print).__enter__(),
        lambda: torch.ones(1, requires_grad=True).exp().backward(),
    ),
    "a cache": (lambda: parametrize.cached().__enter__(), lambda: parametrize._cache_enabled),
    "classes that may be loaded": (
        lambda: torch.serialization.add_safe_globals([Profile]),
        lambda: {*torch.serialization.get_safe_globals()},
    ),
    "a default device": (
        lambda: torch.set_default_device("cpu"),
        torch._C._is_torch_function_mode_enabled,
    ),
    "how modules are converted": (
        lambda: torch.__future__.set_swap_module_params_on_conversion(value=True),
        torch.__future__.get_swap_module_params_on_conversion,
    ),
    "what torch.distributed logs": (
        lambda: torch.distributed.set_debug_level(torch.distributed.DebugLevel.DETAIL),
        torch.distributed.get_debug_level,
    ),
}


@pytest.mark.parametrize(("change", "ask"), CHANGES.values(), ids=CHANGES)
def test_a_setting_is_as_before(change, ask, capfd):
    before = ask()
    with settings.put_back():
        change()
    assert ask() == before
    assert not capfd.readouterr().out


def test_what_a_script_has_frozen_can_be_collected():
    before = gc.get_freeze_count()
    with settings.put_back():
        gc.freeze()
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() <= before


def test_hooks_of_before_a_script_stay():
    with graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)  # noqa: FBT003
        with settings.put_back():
            graph.saved_tensors_hooks(print, print).__enter__()
            graph.saved_tensors_hooks(print, print).__enter__()
        now = torch._C._autograd._top_saved_tensors_default_hooks(True)  # noqa: FBT003
        assert now == hooks


def test_what_cannot_be_asked_or_set_harms_no_other_setting(monkeypatch):
    def refuse(*_):
        raise RuntimeError

    kept = io.StringIO()
    mine = [(refuse, refuse), (lambda: kept.getvalue() and 1, refuse)]
    monkeypatch.setattr(settings, "_SETTINGS", [*mine, *settings._SETTINGS])
    before = np.geterr()
    with settings.put_back():
        kept.write("changed")
        np.seterr(all="raise")
    assert np.geterr() == before


def test_options_of_pandas_are_as_before(monkeypatch):
    options = {"display": {"max_rows": 60, "html": {"border": 1}}, "mode": 1}
    asked = []

    def set_option(name, value):
        *above, last = name.split(".")
        asked.append(name)
        reduce(dict.__getitem__, above, options)[last] = value

    pandas = SimpleNamespace(options=SimpleNamespace(d=options), set_option=set_option)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    with settings.put_back():
        options["display"]["html"]["border"] = 2
        options["display"]["max_rows"] = 7
    assert options == {"display": {"max_rows": 60, "html": {"border": 1}}, "mode": 1}
    assert sorted(asked) == ["display.html.border", "display.max_rows"]


def test_options_of_pandas_are_as_at_its_import_where_the_script_has_imported_it(monkeypatch):
    options, said = {"display": {"max_rows": 60}}, []

    def reset_option(pattern):
        options["display"]["max_rows"] = 60
        said.append(pattern)

    pandas = SimpleNamespace(options=SimpleNamespace(d=options), reset_option=reset_option)
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    with settings.put_back():
        monkeypatch.setitem(sys.modules, "pandas", pandas)
        options["display"]["max_rows"] = 5
    assert options["display"]["max_rows"] == 60
    with settings.put_back():
        pass
    assert said == ["all"]
