"""What a rank tells of a value so that it can be drawn, and how the value is found."""

from __future__ import annotations

import math

import pytest
import torch
from processes import let_pass

from rankbook.engine.values.expressions import value_of
from rankbook.engine.values.showing import held
from rankbook.errors import InputError


class Blocking:
    """Whose every method a user's session would wait for."""

    def __repr__(self):
        let_pass(60)

    __str__ = __repr__


def only(value):
    [part] = held(value).parts
    return part.values


def test_a_small_tensor_is_reported_number_by_number():
    values = only(torch.tensor([[1.0, -2.5], [math.nan, math.inf]]))
    assert values.cells == ("1", "-2.5", "nan", "inf")
    assert (values.rows, values.odd, values.least, values.most) == (2, 2, "-2.5", "1")
    assert not values.is_pooled


@pytest.mark.parametrize(
    ("tensor", "rows", "cells"),
    [
        (torch.tensor(3), 1, ("3",)),
        (torch.tensor([True, False]), 1, ("True", "False")),
        (torch.tensor([1 + 2j]), 1, ("1+2j",)),
        (torch.arange(8).reshape(2, 2, 2), 4, tuple("01234567")),
        (torch.tensor([1.0], dtype=torch.bfloat16), 1, ("1",)),
        (torch.zeros(0, 3), 0, ()),
        (torch.tensor([1.0], requires_grad=True), 1, ("1",)),
        (torch.tensor([1 + 2j]).conj(), 1, ("1-2j",)),
        (torch.arange(6).reshape(2, 3).T, 3, tuple("031425")),
    ],
)
def test_every_kind_of_tensor_has_its_numbers_told(tensor, rows, cells):
    values = only(tensor)
    assert (values.rows, values.cells) == (rows, cells)


def test_of_a_large_tensor_the_means_of_equal_areas_are_reported():
    tensor = torch.zeros(100, 64)
    tensor[:50] = 2.0
    values = only(tensor)
    assert values.is_pooled
    assert (values.rows, len(values.cells)) == (16, 16 * 32)
    assert set(values.cells[: 7 * 32]) == {"2"}
    assert set(values.cells[9 * 32 :]) == {"0"}
    assert (values.least, values.most, values.mean) == ("0", "2", "1")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1000),
        torch.zeros(3, 1000, dtype=torch.int64),
        torch.zeros(20, 20, dtype=torch.complex64),
        torch.zeros(20, 20, dtype=torch.bool),
        torch.zeros(4, 5, 6, 7),
    ],
)
def test_every_large_tensor_can_be_drawn(tensor):
    assert only(tensor).is_pooled


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (torch.zeros(3, device="meta"), "it has no data"),
        (torch.zeros(1).expand(64 * 1024, 1024), "it is too large to be read here"),
    ],
)
def test_a_tensor_whose_numbers_cannot_be_reported_says_why(tensor, why):
    values = only(tensor)
    assert values.why == why
    assert values.cells == ()


def test_a_sparse_tensor_is_reported_by_what_it_is_made_of():
    told = {part.path: part.values.cells for part in held(torch.eye(2).to_sparse()).parts}
    assert told == {"indices()": ("0", "1", "0", "1"), "values()": ("1", "1")}


def test_equal_values_have_equal_digests():
    assert only(torch.ones(3)).digest == only(torch.ones(3)).digest
    assert only(torch.ones(3)).digest != only(torch.zeros(3)).digest


def test_the_tensors_of_a_module_are_reported_and_further_ones_counted():
    model = torch.nn.Sequential(*[torch.nn.Linear(2, 2) for _ in range(6)])
    told = held(model)
    assert [part.path for part in told.parts][:2] == ["0.weight", "0.bias"]
    assert (len(told.parts), told.more) == (8, 4)


def test_no_repr_of_a_user_is_called():
    [part] = held(Blocking()).parts
    assert part.text == "(empty Blocking)"
    [part] = held([Blocking(), torch.ones(1)]).parts
    assert part.path == "[1]"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("x", 5),
        (" x ", 5),
        ("d['a']", 1),
        ("d['b'][1]", 3),
        ("d['b'][-1]", 3),
        ("d['b'][0:1]", [2]),
        ("d['b'][:]", [2, 3]),
        ("d['b'].__class__.__name__", "list"),
        ("t[0, 1]", torch.tensor(1)),
        ("t[0, :]", torch.tensor([0, 1])),
        ("t[:, ::2]", torch.tensor([[0]])),
        ("t[..., 1:]", torch.tensor([[1]])),
        ("t[(0, 1)]", torch.tensor(1)),
        ("t[[0]]", torch.tensor([[0, 1]])),
        ("(d)['b' # of it\n][(1)]", 3),
        ("d['' 'a']", 1),
        ("x, -1.5, (), (x,), b'f'", (5, -1.5, (), (5,), b"f")),
        ("t[None]", torch.tensor([[[0, 1]]])),
        ("d[k]", 1),
        ("int", int),
        ("3", 3),
    ],
)
def test_names_attributes_and_indices_are_read(expression, value):
    names = {"x": 5, "d": {"a": 1, "b": [2, 3]}, "t": torch.tensor([[0, 1]]), "k": "a"}
    found = value_of(expression, names)
    assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


@pytest.mark.parametrize(
    "expression",
    [
        *("f()", "x + x", "[f() for _ in x]", "(y := 3)", "lambda: 0", "x if x else x", "d[f()]"),
        *("-x", "None or f()", "x[0:f()]", "x, f()", "f'{f()}'", "'a' f'{f()}'", "x[*x]", "{1: 2}"),
    ],
)
def test_evaluating_an_expression_to_show_calls_nothing(expression):
    def f():
        pytest.fail("it was called")

    with pytest.raises(InputError, match="only names, attributes and indices"):
        value_of(expression, {"f": f, "x": [1], "d": {}})


def test_a_value_is_read_while_python_parses(amid_a_parse):
    """Python 3.11 fails where a parse begins before another has ended."""
    assert set(amid_a_parse(lambda: value_of("d['a'][0]", {"d": {"a": [7]}}))) == {7}


def test_an_expression_that_cannot_be_shown_says_why():
    with pytest.raises(NameError, match="name 'nope' is not defined"):
        value_of("nope", {})
    with pytest.raises(InputError, match="x \\+: invalid syntax"):
        value_of("x +", {"x": 1})


@pytest.mark.parametrize(
    ("tensor", "least", "most", "mean"),
    [
        (torch.arange(400).reshape(20, 20) % 4 == 0, "False", "True", "0.25"),
        (torch.full((20, 20), 3 + 4j), "sizes 5", "5", "5"),
        (torch.full((20, 20), 1e308, dtype=torch.float64), "1e+308", "1e+308", "1e+308"),
    ],
)
def test_of_every_kind_of_number_the_spread_is_reported(tensor, least, most, mean):
    values = only(tensor)
    assert (values.least, values.most, values.mean) == (least, most, mean)


def test_numbers_that_torch_cannot_read_are_reported_by_shape_and_dtype():
    packed = torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    values = only(packed)
    assert (values.shape, values.dtype) == ((4,), "float4_e2m1fn_x2")
    assert values.why == "its numbers cannot be read"


def test_the_description_of_a_value_does_not_use_its_own_text():
    assert [part.text for part in held([[], "text"]).parts] == ["(empty list)", "'text'"]


class KnowsLittle(torch.Tensor):
    """As torch's ShardedTensor, which has a few functions only."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError("not supported")


def test_of_a_tensor_that_knows_few_functions_the_class_is_reported():
    [part] = held(torch.ones(2).as_subclass(KnowsLittle)).parts
    assert (part.kind, part.values) == ("KnowsLittle", None)
