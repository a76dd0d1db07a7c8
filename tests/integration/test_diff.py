"""Comparing values across real ranks."""

from __future__ import annotations

import re

import pytest

from rankbook.display.diffs import to_html, to_text
from rankbook.errors import InputError
from rankbook.sessions.members.inspecting import variables


@pytest.fixture
def diff(four):
    def compare(expression, before=""):
        four.run(before).raise_for_error()
        return four.diff(expression)

    return compare


MODEL = (
    "torch.manual_seed(0)\n"
    "model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))"
)


def test_a_value_that_all_ranks_share_is_reported_in_one_sentence(diff):
    found = diff("model", MODEL)
    assert found.agree
    assert to_text(found) == "All 4 tensors agree on ranks 0-3."


def test_the_parameter_that_departs_is_named_with_rank_size_and_place(diff):
    change = "if rank == 2:\n    with torch.no_grad(): model[0].weight[3, 1] += 1e-3"
    found = diff("model", f"{MODEL}\n{change}")
    assert found.summary == (
        "Rank 2's 0.weight departs from ranks 0-1,3: max |Δ| 0.001 at [3, 1], 1 value; "
        "3 of 4 tensors agree."
    )
    assert not found.agree
    assert "0.weight" in to_html(found)


@pytest.mark.parametrize(
    ("expression", "before", "summary"),
    [
        (
            "x",
            "x = torch.ones(3 if rank else 4)",
            "Rank 0's value departs from ranks 1-3: shape 4, not 3.",
        ),
        (
            "x",
            "x = torch.ones(2).to(torch.float64 if rank == 1 else torch.float32)",
            "Rank 1's value departs from ranks 0,2-3: dtype float64, not float32.",
        ),
        (
            "x",
            "x = torch.ones(2, requires_grad=rank == 3)",
            "Rank 3's value departs from ranks 0-2: requires_grad True, not False.",
        ),
        ("x", "x = torch.tensor([0.0, float('nan')])", "The tensor is the same on ranks 0-3."),
        (
            "x",
            "x = torch.zeros(2)\nif rank == 3: x[0] = -0.0",
            "Rank 3's value departs from ranks 0-2: the sign of zero at [0], 1 value.",
        ),
        ("rank", "", "The value differs on every rank: 1, not 0."),
        (
            "{'lr': 0.1 * (rank // 3), 'n': 1}",
            "",
            "Rank 3's ['lr'] departs from ranks 0-2: 0.1, not 0.0; 1 of 2 parts agrees.",
        ),
        (
            "only",
            "if rank < 2: only = 1",
            (
                "It is the same on ranks 0-1. On ranks 2-3 it cannot be evaluated: "
                "NameError: name 'only' is not defined."
            ),
        ),
        ("(i for i in range(3))", "", "1 part cannot be compared: a generator cannot be compared."),
        ("torch.ones(2, device='meta')", "", "1 tensor cannot be compared: a tensor without data."),
        ("dict.fromkeys(range(2 + (rank == 1)))", "", "Rank 1's [2] departs"),
    ],
)
def test_a_differing_value_is_reported_in_one_sentence(diff, expression, before, summary):
    found = diff(expression, before).summary
    assert found == summary or (expression.startswith("dict") and "is not there" in found)


ODD = """
class Evil:
    @property
    def __class__(self): raise RuntimeError("no class")
class Silent:
    def __getattr__(self, name): raise RuntimeError(name)
class Broken(dict):
    def items(self):
        yield "a", 1
        raise OSError("gone")
evil, silent, broken = Evil(), Silent(), Broken(a=1)
lazy = torch.nn.LazyLinear(2)
nested = torch.nested.nested_tensor([torch.zeros(2), torch.ones(3) * rank])
jagged = torch.nested.nested_tensor([torch.zeros(2), torch.ones(3) * rank], layout=torch.jagged)
sparse = torch.eye(3).to_sparse() * (1 + rank // 3)
csr = torch.eye(2).to_sparse_csr()
quantized = torch.quantize_per_tensor(torch.ones(2) * (rank == 1), 0.1, 0, torch.qint8)
negative = torch._neg_view(torch.ones(2) * (1 + (rank == 2)))
expanded = torch.ones(1).expand(10**10)
cnan = torch.complex(torch.tensor([float("nan")] * 2), torch.ones(2) * (rank < 9))
integer = 10**5000 + (rank == 2)
deep = 1
for _ in range(3000): deep = [deep]
many = ['a'] * 100_001
"""


@pytest.fixture(scope="module")
def odd(four):
    four.run(f"import warnings\nwarnings.simplefilter('ignore')\n{ODD}").raise_for_error()
    return four


@pytest.mark.parametrize(
    ("expression", "summary"),
    [
        ("[1, evil]", r"1 part cannot be compared: reading it raises RuntimeError: no class\."),
        ("silent", r"^It is the same on ranks 0-3\."),  # it could keep something, and does not
        ("broken", r"1 part cannot be compared: reading it raises OSError: gone\."),
        ("lazy", r"2 parts cannot be compared: it has no data before its module has run\."),
        ("nested", r"^\[1\] differs on every rank: max \|Δ\| 1 at \[0\]"),
        ("jagged", r"values\(\) differs on every rank: max \|Δ\| 1 at \[2\]"),
        ("sparse", r"Rank 3's values\(\) departs from ranks 0-2: max \|Δ\| 1 at \[0\]"),
        ("csr", r"All 3 tensors agree"),
        ("quantized", r"Rank 1's int_repr\(\) departs from ranks 0,2-3: max \|Δ\| 10"),
        ("negative", r"Rank 2's value departs from ranks 0-1,3: max \|Δ\| 1 at \[0\]"),
        ("expanded", r"it is expanded to 40,000,000,000 bytes"),
        ("cnan", r"The tensor is the same on ranks 0-3\."),
        ("integer", r"Rank 2's value departs from ranks 0-1,3: 0x"),
        ("deep", r"it is nested more than 100 levels deep"),
        (
            "[2] if rank == 1 else (2,)",
            r"^Rank 1's value departs from .*: class list, not tuple; 1 ",
        ),
        (
            "None if rank == 1 else torch.ones(2)",
            r"^Rank 1's value .*: class NoneType, not tensor\.$",
        ),
        (
            "[*range(200), rank // 3]",
            r"^Rank 3's value departs from .*: max \|Δ\| 1 at \[200\], 1 ",
        ),
        (
            "{1, 2, 3 - (rank == 1)}",
            r"^Rank 1's \{3\} departs from ranks 0,2-3: is not there; 2 of 3",
        ),
        ("'x' * 99 + 'y' * rank", r"differs after that\.$"),
        (
            "torch.nn.Sequential(torch.nn.GELU() if rank == 2 else torch.nn.ReLU())",
            r"^Rank 2's 0 departs from ranks 0-1,3: class GELU, not ReLU; 1 of 2 parts agrees",
        ),
        (
            "torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()).train(rank != 1)",
            r"^Rank 1's training departs from ranks 0,2-3: False, not True; 2 of 3 parts agree",
        ),
        ("open('/dev/null')", r"keeps beside its attributes cannot be compared\.$"),
        pytest.param(
            "many",
            r"It has more: only the first 100,000 parts were compared\.",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_odd_value_is_compared_or_says_why_not(odd, expression, summary):
    assert re.search(summary, odd.diff(expression).summary)


def test_odd_values_are_listed_and_shown(odd):
    listed = variables(odd.members.living())
    assert {"evil", "silent", "lazy", "nested", "integer"} <= {one.name for one in listed[3]}
    shown = {name: repr(odd.show(name)) for name in ("evil", "silent", "lazy", "nested", "integer")}
    assert shown["evil"] == "evil on ranks 0-3\n[0-3] Evil"
    assert "weight: UninitializedParameter" in shown["lazy"]
    assert "nested[1]: float32 [3]" in shown["nested"]
    assert "0x" in shown["integer"]


def test_a_seed_that_differs_is_found_in_the_state_of_the_generator(diff):
    found = diff("torch.random.get_rng_state()", "torch.manual_seed(7 + (rank == 1))")
    assert found.summary.startswith("Rank 1's value departs from ranks 0,2-3: max |Δ|")


def test_of_a_dtensor_equal_shards_are_compared(diff):
    make = (
        "from torch.distributed.device_mesh import init_device_mesh\n"
        "from torch.distributed.tensor import Replicate, Shard, distribute_tensor\n"
        "mesh = init_device_mesh('cpu', (2, 2), mesh_dim_names=('dp', 'tp'))\n"
        "d = distribute_tensor(torch.arange(8.0).reshape(4, 2), mesh, [Replicate(), Shard(0)])"
    )
    assert diff("d", make).agree
    found = diff("d", "if rank == 3: d.to_local().add_(1)")
    assert [leaf.part for leaf in found.leaves if leaf.departures] == ["tp=1"]
    assert found.summary.startswith("Rank 3's value departs from rank 1: max |Δ| 1 at [0, 0]")


def test_only_differing_chunks_travel_and_beyond_a_budget_the_difference_is_a_lower_bound(
    diff, monkeypatch
):
    from rankbook.sessions.members import diffs

    make = "big = torch.ones(2_000_000)\nif rank == 1: big[1_500_000] = 3"
    assert "max |Δ| 2 at [1500000], 1 value" in diff("big", make).summary
    monkeypatch.setattr(diffs, "_BUDGET", 4 * diffs.CHUNK)
    found = diff("big", "if rank == 1: big.add_(1)").summary
    assert "max |Δ| at least 1 at [0], at least 131072 values" in found


def test_an_expression_that_no_rank_can_evaluate_is_an_error_in_one_line(diff):
    with pytest.raises(InputError, match=r"^nothing: NameError: name 'nothing' is not defined\.$"):
        diff("nothing")


def test_a_comparison_keeps_no_copy_of_the_value_on_ranks(diff, four):
    diff("model", MODEL)
    result = four.run("len(get_ipython().kernel._rankbook_agent.engine.compared)")
    assert {one.result_repr for one in result.values()} == {"0"}
