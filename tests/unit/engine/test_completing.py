"""What a rank offers to complete, whatever its objects do; and threads that look at them."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from types import ModuleType, SimpleNamespace

import pytest
import torch
from processes import wait_until

from rankbook.engine.asides import Asides
from rankbook.engine.values.completing import complete
from rankbook.engine.values.inspecting import inspect
from rankbook.errors import EngineError
from rankbook.models.inspecting import Complete, Inspect


class OfIPython:
    """Stands in for IPython's completer, and finds one thing."""

    def completions(self, code, cursor):
        return [SimpleNamespace(start=cursor, text="found by IPython", type="")]


@pytest.fixture
def engine():
    shell = SimpleNamespace(Completer=OfIPython())
    kernel = SimpleNamespace(shell=shell)
    return SimpleNamespace(namespace={}, asides=Asides(set()), kernel=kernel)


def completed(engine, typed, **names):
    engine.namespace.update(names)
    found = complete.act(SimpleNamespace(engine=engine), Complete(typed, len(typed)))
    return [typed[: found.start] + one.text for one in found.found]


class RaisesInDir:
    own = 1

    def __dir__(self):
        raise KeyboardInterrupt


class OddDir:
    def __dir__(self):
        return [1, None, "fine", "no name", "class", "also"]


class RaisesInClass:
    own = 1

    @property
    def __class__(self):
        raise ValueError


class RaisesInMeta(type):
    def __getattribute__(cls, name):
        raise ValueError


class OfRaisingMeta(metaclass=RaisesInMeta):
    own = 1


ODD = {"own": (RaisesInDir, RaisesInClass, OfRaisingMeta), "also fine": (OddDir,)}
"""By what is found of them; pytest cannot have them for parameters."""


def test_an_object_that_does_not_say_what_it_has_is_completed_by_its_class(engine):
    for names, kinds in ODD.items():
        for kind in kinds:
            assert completed(engine, "x.", x=kind()) == [f"x.{name}" for name in names.split()]
    assert completed(engine, "x.", x=ModuleType("empty")) == []


def test_every_attribute_is_offered_as_a_front_end_asks_once_only(engine):
    assert {"torch.abs", "torch.zeros_like"} <= {*completed(engine, "torch.", torch=torch)}


@pytest.mark.parametrize(
    "typed",
    [
        "layers[0].weigh",
        "layers[-1][1].weigh",
        "named['a.b'].weigh",
        'named["a.b"].weigh',
        "table.first.weigh",
        "pair[0].weigh",
        "x = f(layers[0].weigh",
    ],
)
def test_attributes_of_items_complete(engine, typed):
    linear = torch.nn.Linear(2, 2)
    sequence = torch.nn.Sequential(linear, linear)
    assert completed(
        engine,
        typed,
        layers=[linear, sequence],
        named={"a.b": linear},
        table=torch.nn.ModuleDict({"first": linear}),
        pair=(linear, 1),
    ) == [f"{typed}t"]


def test_to_complete_reads_no_item_that_takes_a_call_and_adds_no_key(engine):
    class Data:
        def __getitem__(self, key):
            raise AssertionError("it was called")

    table = defaultdict(list)
    for typed in ("data[0].", "table['x'].", "f(x).", "layers[9].", "nothing."):
        assert completed(engine, typed, data=Data(), table=table, layers=[]) == [
            f"{typed}found by IPython"
        ]
    assert not table


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("d['", ["alpha", "b c", "it\\'s", 'say "x"', "ü"]),
        ('d["', ["alpha", "b c", "it's", 'say \\"x\\"', "ü"]),
        ("d['al", ["alpha"]),
        ("d['b ", ["b c"]),
        ("d['nothing", []),
        ("d[", ["'alpha'", "'b c'", '"it\'s"', "'say \"x\"'", "'new\\nline'", "5", "None", "'ü'"]),
        ("modules['", ["first"]),
        ("inner['a']['", ["deep"]),
    ],
)
def test_keys_complete_as_they_are_typed(engine, typed, keys):
    class Silent:
        def __repr__(self):
            raise ValueError

    values = {"alpha": 1, "b c": 1, "it's": 1, 'say "x"': 1, "new\nline": 1, 5: 1, None: 1}
    begin = typed[: typed.rindex("[") + (1 if typed.endswith("[") else 2)]
    assert completed(
        engine,
        typed,
        d={**values, (1, 2): 1, Silent(): 1, "ü": 1},
        modules=torch.nn.ModuleDict({"first": torch.nn.ReLU()}),
        inner={"a": {"deep": 1}},
    ) == [f"{begin}{key}" for key in keys]


def test_a_dict_with_a_million_keys_is_completed_at_once(engine):
    vocabulary = {f"word{number}": number for number in range(10**6)}
    assert len(completed(engine, "vocabulary['word99999", vocabulary=vocabulary)) == 11
    assert len(completed(engine, "vocabulary['", vocabulary=vocabulary)) == 5_000


def test_imports_and_other_code_are_left_to_ipython(engine):
    for typed in ("import torch.", "  from torch import n", "there_o", "f(x).", "x = 'a."):
        assert completed(engine, typed, torch=torch) == [f"{typed}found by IPython"]


def test_a_value_whose_inspection_blocks_is_not_inspected_again():
    asides, end = Asides(set()), threading.Event()

    def block():
        with asides.looking_at("x"):
            end.wait()

    for _ in range(2):
        asides.start(block)
    wait_until(lambda: asides._looking["x"] == 2)
    with pytest.raises(EngineError, match="Earlier views of x hang"), asides.looking_at("x"):
        pass
    with asides.looking_at("y"):
        pass
    end.set()
    wait_until(lambda: not asides._threads)
    with asides.looking_at("x"):
        pass


def test_more_threads_than_may_block_are_refused():
    asides, end = Asides(set()), threading.Event()
    for _ in range(24):
        asides.start(end.wait)
    with pytest.raises(EngineError, match="24 views of values hang on this rank"):
        asides.start(end.wait)
    end.set()


def test_work_in_an_aside_thread_is_waited_for_only_so_long():
    asides, end = Asides(set()), threading.Event()
    assert asides.within(5, lambda: 3) == 3
    with pytest.raises(SystemExit):
        asides.within(5, lambda: sys.exit(3))
    with pytest.raises(TimeoutError):
        asides.within(0.01, end.wait)
    end.set()


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (lambda: threading.Event().wait(0.5), "(looking at it takes too long)"),
        (lambda: sys.exit(3), "(looking at it raises SystemExit)"),
    ],
)
def test_of_a_value_that_blocks_or_raises_the_class_is_reported(engine, does, told):
    class Odd:
        """Say why."""

    engine.namespace["odd"] = Odd()
    engine.kernel.shell.object_inspect = lambda name, detail_level: does()
    found = inspect.act(SimpleNamespace(engine=engine), Inspect("odd"))
    assert found.is_found
    assert found.fields == {"Type": "Odd", "Docstring": "Say why.", "Value": told}


class Various:
    value = 1

    def method(self):
        raise AssertionError

    @property
    def of_property(self):
        raise AssertionError("completing reads nothing")


def test_a_completion_gives_the_kind_of_its_value(engine):
    engine.namespace.update(x=Various(), torch=torch, state={"a": 1})

    def kinds(typed):
        found = complete.act(SimpleNamespace(engine=engine), Complete(typed, len(typed))).found
        return {one.text: one.kind for one in found}

    assert kinds("x.") == {"method": "function", "of_property": "property", "value": "instance"}
    of_torch = kinds("torch.")
    names = ("ones", "Tensor", "nn", "float32")
    assert [of_torch[name] for name in names] == ["function", "class", "module", "instance"]
    assert kinds("state[") == {"'a'": "key"}
