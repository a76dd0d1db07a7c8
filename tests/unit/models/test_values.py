from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from rankbook import values
from rankbook.errors import InputError


def round_trip(value):
    return values.loads(values.dumps(value, "x"))


@pytest.mark.parametrize(
    "value",
    [None, 0, 1.5, "text", "é 語", b"bytes", [1, [2]], {"a": (1, 2)}, {1, 2}, range(3), 10**40],
)
def test_plain_values_come_back_equal(value):
    assert round_trip(value) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_tensor_comes_back_with_its_type_and_values(dtype):
    tensor = torch.tensor([[0, 1], [2, 3]]).to(dtype)
    back = round_trip(tensor)
    assert back.dtype == dtype
    assert back.device == torch.device("cpu")
    assert torch.equal(back, tensor)


def test_tensors_in_containers_and_modules_come_back():
    module = torch.nn.Linear(2, 3)
    back = round_trip({"model": module, "batch": [torch.ones(2)]})
    assert torch.equal(back["model"].weight, module.weight)
    assert back["batch"][0].tolist() == [1, 1]


def test_requires_grad_is_kept():
    assert round_trip(torch.ones(2, requires_grad=True)).requires_grad


def test_two_names_of_one_tensor_stay_one_tensor():
    tensor = torch.zeros(2)
    first, second = round_trip([tensor, tensor])
    first[0] = 1
    assert second.tolist() == [1, 0]


def test_an_array_comes_back_equal():
    array = np.arange(6).reshape(2, 3)
    assert round_trip(array).tolist() == array.tolist()


def test_a_value_is_loaded_from_the_buffer_of_a_message():
    assert values.loads(memoryview(values.dumps([1, 2], "x"))) == [1, 2]


def from_main(source):
    """Names as a notebook's cell makes them: their module is ``__main__``."""
    names = {"__name__": "__main__"}
    exec(source, names)  # noqa: S102
    return names


def test_a_function_of_a_notebook_travels_by_value():
    names = from_main(
        "factor = 3\ndef f(x):\n    return helper(x) * factor\ndef helper(x): return x + 1"
    )
    data = values.dumps(names["f"], "f")
    names.clear()  # the ranks do not have them
    assert values.loads(data)(1) == 6


def test_a_class_of_a_notebook_travels_by_value():
    names = from_main(
        "class Point:\n    scale = 2\n"
        "    def __init__(self, x): self.x = x\n"
        "    def scaled(self): return self.x * self.scale"
    )
    data = values.dumps(names["Point"](21), "p")
    names.clear()
    assert values.loads(data).scaled() == 42


def test_a_lambda_and_a_closure_travel():
    base = 10
    assert round_trip(lambda x: x + base)(1) == 11


class Unpicklable:
    def __reduce__(self):
        raise ValueError("not\nin  this\n\nlife")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (threading.Lock(), "lock"),
        ((n for n in range(3)), "generator"),
        (Unpicklable(), "Unpicklable"),
        ([Unpicklable()], "list"),
    ],
)
def test_a_value_that_does_not_pickle_is_refused_in_one_line(value, kind):
    with pytest.raises(InputError) as caught:
        values.dumps(value, "thing")
    message = str(caught.value)
    assert message.startswith(f"'thing' ({kind}) cannot be sent")
    assert message.endswith("Send what it is made from.")
    assert "\n" not in message


def test_the_refusal_of_a_value_says_why_it_does_not_pickle():
    with pytest.raises(InputError, match="not in this life"):
        values.dumps(Unpicklable(), "thing")


def test_an_endlessly_nested_value_is_refused():
    deep = []
    for _ in range(1_000_000):  # from Python 3.14 on, the stack is the limit
        deep = [deep]
    with pytest.raises(InputError, match="cannot be sent"):
        values.dumps(deep, "deep")
