"""Modes of torch that a script has entered and not left."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rankbook.engine.cells import entered


class Raises(TorchFunctionMode):
    def __exit__(self, *_):
        raise RuntimeError


@pytest.mark.parametrize("make", [TorchFunctionMode, TorchDispatchMode, Raises])
def test_modes_that_a_script_enters_end_with_it(make):
    with entered.left_again():
        make().__enter__()
        make().__enter__()
    assert torch.ones(2).sum() == 2


def test_modes_of_before_a_script_stay_entered():
    seen = []

    class Sees(TorchFunctionMode):
        def __torch_function__(self, func, _types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Sees():
        with entered.left_again():
            TorchFunctionMode().__enter__()
        torch.ones(2)
    assert torch.ones in seen


def test_the_default_device_is_left_to_others():
    try:
        with entered.left_again():
            torch.set_default_device("meta")
            TorchFunctionMode().__enter__()
        assert torch.ones(2).is_meta
    finally:
        torch.set_default_device(None)
