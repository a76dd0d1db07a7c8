"""Named dimensions, and who holds what, on real ranks."""

from __future__ import annotations

import re
import time

import pytest
from processes import wait_until

from rankbook.display.cells.cell import LiveOutput
from rankbook.display.verdict import Closely
from rankbook.errors import InputError

SHARDED = """
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
w = distribute_tensor(torch.arange(12.).reshape(4, 3), mesh, [Shard(0), Replicate()])
both = distribute_tensor(torch.arange(12.).reshape(4, 3), mesh, [Shard(0), Shard(1)])
few = distribute_tensor(torch.arange(2.), mesh, [Replicate(), Shard(0)])
partial = DTensor.from_local(torch.ones(1) * rank, mesh, [Partial(), Replicate()])
"""


class Screen:
    """Where output goes: text, and bundles of MIME types."""

    def __init__(self):
        self.text = ""
        self.shown = []

    def write(self, name, text):
        self.text += text

    def show(self, data, metadata, display_id, *, update):
        self.shown.append(data)


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture(scope="module")
def named(four):
    """Four ranks with the mesh dp=2 tp=2."""
    four.mesh(dp=2, tp=2)
    return four


@pytest.fixture(scope="module")
def sharded(named):
    named.run(SHARDED).raise_for_error()
    return named


def test_a_mesh_is_made_and_selects_ranks(named):
    result = named.run("mesh.get_local_rank('dp'), mesh.get_local_rank('tp')", ranks="dp=1")
    assert {rank: its.result_repr for rank, its in result.items()} == {2: "(1, 0)", 3: "(1, 1)"}
    assert list(named.run("rank", ranks="dp=1,tp=0")) == [2]
    assert named.pull("rank", ranks="tp=1") == {1: 1, 3: 3}


def test_output_is_labelled_by_the_dimension_that_means_exactly_its_ranks(named, screen):
    output = LiveOutput(screen, range(4), mesh=named.members.named_mesh)
    result = named.run("print('left' if rank < 2 else 'right')\n1 / (rank // 2)", output=output)
    assert "[dp=0] left\n[dp=1] right\n" in screen.text
    assert any("[dp=0]" in line for line in result.traceback_lines())


def test_the_status_says_where_each_rank_stands(named):
    seen = named.snapshot()
    assert [seen.mesh.place(state.info.rank) for state in seen.states] == [
        "dp=0 tp=0",
        "dp=0 tp=1",
        "dp=1 tp=0",
        "dp=1 tp=1",
    ]


def test_the_mesh_and_its_names_go_on_after_a_hang(named):
    hung = named.run("if rank: dist.all_reduce(torch.ones(1))")
    assert hung.diagnosis.kind == "missing_rank"
    within = named.run("if rank == 0: dist.all_reduce(torch.ones(1), group=mesh['tp'].get_group())")
    assert "all_reduce #0 of ranks 0-1 (dp=0)" in re.sub(r"#\d+", "#0", within.diagnosis.summary)
    code = "x = torch.ones(1) * rank; dist.all_reduce(x, group=mesh['tp'].get_group()); x.item()"
    result = named.run(code, ranks="dp=1")
    assert {its.result_repr for its in result.values()} == {"5.0"}


def test_a_failure_and_a_difference_are_told_of_a_place_in_the_mesh(named):
    failed = named.run("if rank % 2 == 0: 1 / 0")
    assert repr(failed) == "<CellResult: ZeroDivisionError on ranks 0,2 (tp=0)>"
    named.run("half = rank // 2").raise_for_error()
    assert named.diff("half").summary == (
        "On ranks 2-3 (dp=1) the value departs from ranks 0-1 (dp=0): 1, not 0."
    )


def test_a_mesh_overwrites_nothing_but_the_one_made_before(named):
    named.run("taken = 1").raise_for_error()
    with pytest.raises(InputError, match="have a variable 'taken' already, of class int"):
        named.mesh("taken", dp=4)
    assert named.pull("taken", ranks=0) == {0: 1}
    assert str(named.mesh(dp=-1)) == "dp=4"
    assert str(named.mesh(dp=2, tp=2)) == "dp=2 tp=2"


def test_the_cell_that_makes_a_mesh_is_named_by_the_notebooks_and_says_what_it_does(named):
    named.mesh("mesh", 7, dp=4)
    named.mesh(dp=2, tp=2)
    first, second = named.cells[-2:]
    assert (first.name, first.label) == ("In [7]", "making the mesh dp=4")
    assert (second.name, second.label) == (f"cell {len(named.cells)}", "making the mesh dp=2 tp=2")


def test_a_mesh_of_the_user_can_name_the_ranks(named):
    code = "own = dist.init_device_mesh('cpu', (2, 2), mesh_dim_names=('a', 'b'))"
    named.run(code).raise_for_error()
    assert str(named.mesh("own")) == "a=2 b=2"
    assert list(named.run("rank", ranks="b=0")) == [0, 2]
    assert str(named.mesh(dp=2, tp=2)) == "dp=2 tp=2"


def test_a_mesh_that_has_ended_is_made_again_under_its_name(named):
    named.reset(clean=True)
    assert str(named.mesh(dp=2, tp=2)) == "dp=2 tp=2"
    code = "x = torch.ones(1); dist.all_reduce(x, group=mesh['dp'].get_group()); x.item()"
    assert {its.result_repr for its in named.run(code).values()} == {"2.0"}


# -- who holds what --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("w", ["w: DTensor float32 [4, 3] on ranks 0-3", "dp=2: Shard(0); tp=2: replicated"]),
        ("w", ["ranks 0-1 (dp=0)  [0:2, :]", "ranks 2-3 (dp=1)  [2:4, :]"]),
        ("both", ["rank 0  [0:2, 0:2]    rank 1  [0:2, 2:3]", "9  10                 11"]),
        ("few", ["ranks 0,2 (tp=0)  [0:1]    ranks 1,3 (tp=1)  [1:2]"]),
        ("partial", ["dp=2: Partial(sum), each rank holds a part of the result; tp=2: replicated"]),
        ("mesh", ["mesh: device mesh on ranks 0-3: dp=2 tp=2", "dp=1     2     3"]),
        ("w._local_tensor", ["w._local_tensor: float32 [2, 3] on ranks 0-3, the same on ranks"]),
    ],
)
def test_a_picture_of_a_dtensor_shows_which_rank_holds_which_part(sharded, expression, lines):
    text = repr(sharded.show(expression))
    for line in lines:
        assert line in text
    assert "<img" in sharded.show(expression)._repr_html_()


def test_replicas_that_are_not_the_same_are_named(sharded):
    change = "odd = w.clone()\nif rank == 1: odd._local_tensor[0, 0] = 9"
    sharded.run(change).raise_for_error()
    told = "Rank 0 and rank 1 hold the same part, but not the same numbers."
    assert told in repr(sharded.show("odd"))


def test_a_variable_of_some_ranks_is_shown_for_these_ranks(named):
    named.run("if rank > 1: only = torch.tensor([1, 2])").raise_for_error()
    text = repr(named.show("only"))
    assert "only: int64 [2] on ranks 2-3 (dp=1), the same" in text
    assert "ranks 0-1 (dp=0): NameError: name 'only' is not defined" in text
    with pytest.raises(InputError, match="name 'nobody' is not defined"):
        named.show("nobody")


def test_values_are_shown_while_a_cell_runs_and_no_repr_is_called(named):
    slow = (
        "import threading\nclass Slow:\n    def __repr__(self): threading.Event().wait(60)\n"
        "slow, go = Slow(), threading.Event()\nx = torch.ones(2)"
    )
    named.run(slow).raise_for_error()
    thread = named.in_background(lambda: named.run("go.wait(60)"))
    try:
        begun = time.monotonic()
        assert "x: float32 [2] on ranks 0-3, the same" in repr(named.show("x"))
        assert "[0-3] (empty Slow)" in repr(named.show("slow"))
        assert time.monotonic() - begun < 5
    finally:
        named.interrupt()
        thread.join(20)
    assert not thread.is_alive()


def test_an_index_that_may_need_a_collective_is_refused(sharded):
    with pytest.raises(InputError, match="may need a collective"):
        sharded.show("w[0]")


# -- the value of a cell ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "told"),
    [("w", "DTensor float32 [4, 3] on ranks 0-3"), ("mesh", "device mesh on ranks 0-3: dp=2 tp=2")],
)
def test_a_cell_whose_value_is_distributed_shows_it_as_one_picture(sharded, screen, value, told):
    result = sharded.run(value, output=LiveOutput(screen, range(4)))
    [bundle] = screen.shown
    assert bundle["text/plain"].startswith(told)
    assert "<img" in bundle["text/html"]
    assert "<img" in result._repr_html_()


def test_the_input_and_output_of_a_collective_are_shown_for_every_rank(named):
    code = (
        "x = torch.ones(2) * rank\ndist.all_reduce(x)\nx.zero_()\n"
        "y = [torch.zeros(1) for _ in range(4)]\ndist.all_gather(y, torch.ones(1) * rank)"
    )
    named.run(code, keep_values=True).raise_for_error()
    named.run("dist.barrier()").raise_for_error()
    first, second = repr(named.exchanges()).split("\n\nall_gather")
    assert first.startswith("all_reduce #")
    assert " (sum) on ranks 0-3\nat cell " in first
    assert "rank 3  puts in float32 [2]\n3  3\n" in first
    assert first.count("6  6") == 4
    assert "gets float32 [4, 1]" in second
    assert named.exchanges()._repr_html_().count("<img") == 2


def test_a_collective_of_a_hang_shows_what_was_put_in(named):
    hung = named.run("if rank: dist.all_reduce(torch.ones(1) * rank)", keep_values=True)
    assert hung.diagnosis.kind == "missing_rank"
    text = repr(named.exchanges())
    assert "rank 0 did not call it\nit did not end on ranks 1-3\n" in text
    assert " gets " not in text


STEP = """
def step(n):
    password = "sesame"
    x = torch.ones(2) * rank
    dist.all_reduce(x)
"""


def test_where_ranks_stood_in_a_hang_is_known_after_they_were_freed(named):
    named.run(STEP).raise_for_error()
    assert not named.run("if rank: step(5)").ok
    diagnosis, standings = named.diagnose_closely()
    text = repr(Closely(diagnosis, standings, None))
    assert text.startswith("Rank 0 never called all_reduce #")
    assert "[1-3] cell " in text
    assert "in step: dist.all_reduce(x)\n" in text
    assert "n: 5\n" in text
    assert "password: <masked>\n" in text
    assert "x: [1] float32 [2] = [" in text
    assert text.endswith("[0] no cell runs")
    assert named.run("x = 1").ok
    assert repr(Closely(*named.diagnose_closely(), None)).endswith("\n\n[0-3] no cell runs")


def test_where_ranks_stand_is_reported_while_a_cell_runs(named):
    thread = named.in_background(lambda: named.run("n = 3\nimport time\ntime.sleep(60 + n)"))
    try:
        wait_until(lambda: all(state.state == "running" for state in named.states()))
        _, standings = named.diagnose_closely()
        assert {standing.frames[0].code for standing in standings.values()} == {
            "time.sleep(60 + n)"
        }
        assert standings[2].frames[0].variables == {"n": "3"}
    finally:
        named.interrupt()
        thread.join(20)
    assert not thread.is_alive()


def test_after_another_world_size_a_name_says_what_to_do(named):
    named.initialize(nproc=2)
    try:
        with pytest.raises(InputError, match="The mesh dp=2 tp=2 was made for 4 ranks, and this"):
            named.run("rank", ranks="tp=0")
        assert str(named.mesh(dp=2)) == "dp=2"
        assert list(named.run("rank", ranks="dp=1")) == [1]
    finally:
        named.initialize(nproc=4)
