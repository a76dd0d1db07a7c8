"""``%dist_mesh`` and ``%dist_show``, and selections by dimensions, over fake engines."""

from __future__ import annotations

import pytest

from rankbook.models.meshes import HeldMesh


@pytest.fixture
def meshed(notebook, pool):
    """A notebook whose ranks hold a mesh that they have made themselves."""
    mesh = HeldMesh("DeviceMesh", ("dp", "tp"), (2, 2), (0, 1, 2, 3))
    for engine in pool.engines:
        pool[engine].names["mesh"] = mesh
    notebook.run("%dist_mesh dp=2 tp=2")
    assert notebook.error is None
    return notebook


def test_a_mesh_shows_itself_as_a_grid_of_ranks(meshed):
    assert repr(meshed.run("%dist_mesh")) == (
        "mesh: dp=2 tp=2\n      tp=0  tp=1\ndp=0     0     1\ndp=1     2     3"
    )


@pytest.mark.parametrize(
    ("head", "ranks"),
    [
        ("%%dist -r tp=0", [0, 2]),
        ("%%dist -r dp=1,tp=0", [2]),
        ("%%dist -rdp=1", [2, 3]),
        ("%%dist --ranks=tp=1", [1, 3]),
        ("%%rank dp=1", [2, 3]),
        ("%%rank dp=1 tp=1", [3]),
        ("%%rank tp=0, dp=0", [0]),
    ],
)
def test_a_cell_runs_on_the_ranks_of_a_dimension(meshed, pool, head, ranks):
    meshed.run(f"{head}\nran = True")
    assert meshed.error is None
    assert [engine for engine in pool.engines if "ran" in pool[engine].names] == ranks


def test_a_line_runs_on_the_ranks_of_a_dimension(meshed):
    meshed.run("%dist -r tp=1 rank")
    assert meshed.out == "[1] 1\n[3] 3\n"


def test_output_carries_the_name_of_exactly_its_ranks(meshed):
    meshed.run("%%dist\nprint('left' if rank < 2 else 'right')\nrank % 2")
    assert meshed.out == "[dp=0] left\n[dp=1] right\n[tp=0] 0\n[tp=1] 1\n"


def test_the_status_has_a_column_for_the_mesh(meshed):
    assert "dp=1 tp=0" in repr(meshed.run("%dist_status"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%dist_mesh dp", "'dp' is not a dimension with a size: %dist_mesh dp=2 tp=2."),
        ("%dist_mesh dp=2 dp=2", "The dimension dp is given twice."),
        ("%dist_mesh dp=x", "'dp=x' is not a dimension with a size: %dist_mesh dp=2 tp=2."),
        ("%dist_mesh --name grid", "Ranks 0-3 hold no device mesh 'grid': %dist_mesh dp=2 tp=2 "),
        ("%dist_mesh dp=3", "dp=3 makes 3 ranks, and the group has 4 ranks: choose sizes whose "),
        ("%dist -r pp=0 rank", "The mesh dp=2 tp=2 has no dimension 'pp'."),
        ("%dist_show", "There is nothing to show: %dist_show EXPR."),
        ("%dist_show nobody", "nobody: NameError: name 'nobody' is not defined."),
        ("%dist_show --collectives", "No values were kept: run a cell that calls collectives "),
    ],
)
def test_a_mistake_is_one_line(meshed, line, said):
    meshed.run(line)
    assert str(meshed.error).startswith(said)
    assert "\n" not in str(meshed.error)


def test_without_a_mesh_a_dimension_says_how_to_name_it(notebook):
    notebook.run("%%dist -r tp=0\nrank")
    assert str(notebook.error) == (
        "The ranks have no dimension 'tp': name dimensions first, for example %dist_mesh dp=2 tp=2."
    )


def test_values_are_shown_by_rank(meshed):
    meshed.run("%%dist\nn = rank // 2")
    assert repr(meshed.run("%dist_show n")) == "n on ranks 0-3\n[dp=0] 0\n[dp=1] 1"
    assert repr(meshed.run("%dist_show -r tp=1 n")) == "n on ranks 1,3 (tp=1)\n[1] 0\n[3] 1"


def test_the_collectives_of_a_cell_are_shown_where_it_kept_them(meshed):
    meshed.run("%%dist --keep-values\npass")
    assert repr(meshed.run("%dist_show --collectives")).startswith("all_reduce #1 on rank 0")
