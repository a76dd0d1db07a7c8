"""Named dimensions: selecting ranks by them, and naming ranks by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from samples import member, snapshot

from rankbook.diagnosis import diagnose
from rankbook.display import inspected
from rankbook.display.dashboard import ranks as rank_rows
from rankbook.display.diffs import DiffView
from rankbook.display.html import caption
from rankbook.display.table import to_html, to_text
from rankbook.display.text import prefixed
from rankbook.display.variables import Variables
from rankbook.display.verdict import Verdict
from rankbook.errors import InputError
from rankbook.models import Collective, Look
from rankbook.models.diffs import Departure, Diff, LeafDiff
from rankbook.models.inspecting import Inspected, Variable
from rankbook.models.meshes import HeldMesh, NamedMesh
from rankbook.ranks import label, parse
from rankbook.sessions.members import meshes

MESH = NamedMesh(("dp", "tp"), (2, 3), (0, 1, 2, 3, 4, 5))
CUBE = NamedMesh(("pp", "dp", "tp"), (2, 2, 2), tuple(range(8)))
TURNED = NamedMesh(("a", "b"), (2, 2), (0, 2, 1, 3))


@pytest.mark.parametrize(
    ("text", "mesh", "ranks"),
    [
        ("tp=0", MESH, (0, 3)),
        ("dp=1", MESH, (3, 4, 5)),
        ("dp=1,tp=0", MESH, (3,)),
        ("tp=0, dp=1", MESH, (3,)),
        ("dp=1 tp=0", MESH, (3,)),
        ("[dp=1,tp=0]", MESH, (3,)),
        ("dp = 1", MESH, (3, 4, 5)),
        ("tp=0,tp=2", MESH, (0, 2, 3, 5)),
        ("tp=0,2", MESH, (0, 2, 3, 5)),
        ("tp=0-1", MESH, (0, 1, 3, 4)),
        ("tp=1:", MESH, (1, 2, 4, 5)),
        ("tp=-1", MESH, (2, 5)),
        ("tp=::2,dp=0", MESH, (0, 2)),
        ("dp=:", MESH, (0, 1, 2, 3, 4, 5)),
        ("pp=1,tp=0", CUBE, (4, 6)),
        ("b=0", TURNED, (0, 1)),
        ("a=0", TURNED, (0, 2)),
        ("0,2", MESH, (0, 2)),
        ("all", MESH, (0, 1, 2, 3, 4, 5)),
    ],
)
def test_ranks_are_selected_by_the_dimensions_of_a_mesh(text, mesh, ranks):
    assert parse(text, mesh.size, mesh) == ranks


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pp=0", "The mesh dp=2 tp=3 has no dimension 'pp'."),
        ("tp=3", "tp=3 is not a place in the mesh dp=2 tp=3: tp goes from 0 to 2."),
        ("tp=", "tp= is not a place in the mesh dp=2 tp=3: tp goes from 0 to 2."),
        ("tp=x", "tp=x is not a place in the mesh dp=2 tp=3: tp goes from 0 to 2."),
        ("tp=2-1", "tp=2-1 is not a place in the mesh dp=2 tp=3: tp goes from 0 to 2."),
        ("=1", "'=1' mixes ranks and dimensions: use either numbers or names like dp=0."),
        ("0,tp=1", "'0,tp=1' mixes ranks and dimensions: use either numbers or names like dp=0."),
        ("tp=3:", "'tp=3:' selects none of the 6 ranks: use all, 0, 0,2, 0-3, 1:, ::2 or -1."),
    ],
)
def test_a_wrong_selection_by_dimensions_is_one_line(text, said):
    with pytest.raises(InputError) as raised:
        parse(text, 6, MESH)
    assert str(raised.value) == said


def test_a_dimension_without_a_mesh_says_how_to_make_one():
    with pytest.raises(InputError) as raised:
        parse("tp=0", 4)
    assert str(raised.value) == (
        "The ranks have no dimension 'tp': name dimensions first, for example %dist_mesh dp=2 tp=2."
    )


def test_a_mesh_of_another_world_size_says_what_to_do():
    with pytest.raises(InputError) as raised:
        parse("tp=0", 2, MESH)
    assert str(raised.value) == (
        "The mesh dp=2 tp=3 was made for 6 ranks, and this group has 2: run %dist_mesh with sizes "
        "that make 2."
    )


@pytest.mark.parametrize(
    ("ranks", "mesh", "shown"),
    [
        ((3, 4, 5), MESH, "dp=1"),
        ((0, 3), MESH, "tp=0"),
        ((3,), MESH, "3"),
        ((0, 1, 2, 3, 4, 5), MESH, "0-5"),
        ((0, 1), MESH, "0-1"),
        ((0, 1, 3, 4), MESH, "0-1,3-4"),
        ((0, 4), MESH, "0,4"),
        ((0, 9), MESH, "0,9"),
        ((4, 6), CUBE, "pp=1,tp=0"),
        ((4, 5, 6, 7), CUBE, "pp=1"),
        ((0, 1), TURNED, "b=0"),
        ((0, 2), TURNED, "a=0"),
        ((0, 2), NamedMesh(("dp", "one", "tp"), (2, 1, 2), (0, 1, 2, 3)), "tp=0"),
        ((0, 1), NamedMesh(("dp",), (4,), (0, 1, 2, 3)), "0-1"),
        ((0, 1), None, "0-1"),
    ],
)
def test_ranks_are_named_by_a_dimension_where_it_means_exactly_them(ranks, mesh, shown):
    assert label(ranks, mesh) == shown
    assert prefixed(ranks, "hello", mesh) == f"[{shown}] hello"
    assert caption(ranks, mesh)[0]["text/plain"] == f"[{shown}]"


@pytest.mark.parametrize("mesh", [MESH, CUBE, TURNED])
def test_the_name_of_ranks_selects_these_ranks(mesh):
    for dim, size in zip(mesh.dims, mesh.sizes, strict=True):
        for at in range(size):
            chosen = parse(f"{dim}={at}", mesh.size, mesh)
            assert parse(label(chosen, mesh), mesh.size, mesh) == chosen


def test_a_rank_that_is_not_in_a_mesh_has_no_place():
    assert MESH.place(4) == "dp=1 tp=1"
    assert MESH.place(6) == ""


# -- what a mesh is made of ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "sizes"),
    [
        ({"dp": 2, "tp": 3}, {"dp": 2, "tp": 3}),
        ({"dp": -1, "tp": 3}, {"dp": 2, "tp": 3}),
        ({"dp": -1}, {"dp": 6}),
        ({"dp": 6, "tp": 1}, {"dp": 6, "tp": 1}),
    ],
)
def test_dimensions_of_dist_mesh_are_parsed(dims, sizes):
    assert meshes.check(dims, 6) == sizes


@pytest.mark.parametrize(
    ("dims", "said"),
    [
        ({"dp": 2, "tp": 2}, "dp=2 tp=2 makes 4 ranks, and the group has 6 ranks"),
        ({"dp": -1, "tp": 4}, "dp=-1 tp=4 cannot be filled, and the group has 6 ranks"),
        ({"dp": -1, "tp": -1}, "dp and tp are both -1: only one size can be left open."),
        ({"dp": 0}, "dp=0 is not a number of ranks"),
        ({"dp": True}, "dp=True is not a number of ranks"),
        ({"name": "m"}, "name=m is not a number of ranks"),
        ({"2d": 6}, "'2d' cannot name a dimension"),
        ({"if": 6}, "'if' cannot name a dimension"),
    ],
)
def test_dimensions_that_do_not_fit_are_refused(dims, said):
    with pytest.raises(InputError) as raised:
        meshes.check(dims, 6)
    assert str(raised.value).startswith(said)


def test_the_line_that_makes_a_mesh_needs_no_name_of_a_user():
    line = meshes.code("mesh", {"dp": 2, "tp": 3}, "cuda")
    assert line == (
        'mesh = __import__("torch").distributed.init_device_mesh'
        "('cuda', (2, 3), mesh_dim_names=('dp', 'tp'))"
    )


def held(dims=("dp", "tp"), sizes=(2, 3), ranks=(0, 1, 2, 3, 4, 5)):
    return HeldMesh("DeviceMesh", dims, sizes, ranks)


def test_the_mesh_that_all_ranks_hold_is_taken():
    assert meshes.named(dict.fromkeys(range(6), held()), "mesh", 6) == MESH


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (
            {0: held(), 1: HeldMesh()},
            (
                "Rank 1 holds no device mesh 'mesh': %dist_mesh dp=2 tp=2 makes one, with sizes of "
                "yours."
            ),
        ),
        (
            {0: held(), 1: held(ranks=(5, 4, 3, 2, 1, 0))},
            "'mesh' is not the same mesh on all ranks: %dist_show mesh shows it.",
        ),
        (
            {0: held(dims=()), 1: held(dims=())},
            "The dimensions of 'mesh' have no names: give it mesh_dim_names.",
        ),
        (
            {0: held(sizes=(2, 1), ranks=(0, 1)), 1: held(sizes=(2, 1), ranks=(0, 1))},
            "'mesh' has 2 ranks of 6: only a mesh of all ranks names their places.",
        ),
    ],
)
def test_a_mesh_that_does_not_name_every_rank_is_refused(there, said):
    with pytest.raises(InputError) as raised:
        meshes.named(there, "mesh", 6)
    assert str(raised.value) == said


def test_a_mesh_that_is_there_already_is_not_made_again():
    same = dict.fromkeys(range(6), held())
    assert meshes.is_there(same, {"dp": 2, "tp": 3})
    assert not meshes.is_there(same, {"tp": 3, "dp": 2})
    assert not meshes.is_there(same, {"dp": 3, "tp": 2})
    assert not meshes.is_there(same | {0: HeldMesh()}, {"dp": 2, "tp": 3})
    ended = replace(held(), has_ended=True)
    assert not meshes.is_there(dict.fromkeys(range(6), ended), {"dp": 2, "tp": 3})


def test_only_a_mesh_that_has_ended_or_was_made_before_is_overwritten():
    meshes.refuse_taken({0: replace(held(sizes=(3, 2)), has_ended=True)}, "mesh", None)
    meshes.refuse_taken({0: HeldMesh(), 1: HeldMesh()}, "mesh", None)
    meshes.refuse_taken(dict.fromkeys(range(6), held()), "mesh", MESH)
    with pytest.raises(InputError) as raised:
        meshes.refuse_taken({0: HeldMesh("int"), 1: HeldMesh()}, "mesh", MESH)
    assert str(raised.value) == (
        "Rank 0 has a variable 'mesh' already, of class int: --name mesh2 makes another."
    )
    with pytest.raises(InputError) as raised:
        meshes.refuse_taken({0: held(sizes=(3, 2))}, "mesh", MESH)
    assert "--name mesh uses it" in str(raised.value)


# -- what shows it ---------------------------------------------------------------------------


def test_tables_show_where_each_rank_stands():
    states = [member(rank, world_size=6) for rank in range(6)]
    seen = snapshot(*states, mesh=MESH)
    head, *rows = to_text(seen).splitlines()[1:]
    assert head.split()[:2] == ["rank", "mesh"]
    assert "dp=1 tp=2" in rows[5]
    assert "dp=1 tp=2" in to_html(seen)
    assert "dp=1 tp=2" in rank_rows.to_html(states, MESH)
    assert "dp=1 tp=2" not in rank_rows.to_html(states)


def test_a_verdict_names_the_ranks_of_a_call_and_those_that_do_the_same():
    pair = Collective("all_reduce", "02", (0, 2), 3)
    looks = {
        rank: Look("idle") if rank % 2 else Look("waiting", waiting=pair, recent=(pair,), still=1.0)
        for rank in range(4)
    }
    mesh = NamedMesh(("dp", "tp"), (2, 2), (0, 1, 2, 3))
    found = diagnose(looks, mesh=mesh)
    assert "Ranks 0,2 (tp=0) wait in all_reduce #3 of ranks 0,2 (tp=0)" in found.summary
    assert [line.split()[0] for line in repr(Verdict(found)).splitlines()[1:]] == [
        "ranks",
        "tp=0",
        "tp=1",
    ]
    assert "tp=" not in repr(Verdict(diagnose(looks)))


def test_tables_of_variables_and_differences_name_ranks():
    mesh = NamedMesh(("dp", "tp"), (2, 2), (0, 1, 2, 3))
    told = {rank: [Variable("x", "int", digest=str(rank // 2))] for rank in range(4)}
    assert "dp=0 | dp=1" in repr(Variables(told, range(4), mesh))
    assert "0-1 | 2-3" in repr(Variables(told, range(4)))
    leaf = LeafDiff("", "int", (0, 1), (Departure((2, 3), "1, not 0"),))
    view = repr(DiffView(Diff("x", (0, 1, 2, 3), "They differ.", (leaf,), mesh)))
    assert "x      dp=0" in view
    assert "dp=1   departs  1, not 0" in view
    one = Inspected(is_found=True, fields={"Type": "int"})
    found = {0: one, 1: one}
    assert inspected.to_text("x", found, mesh) == "[dp=0] x\nType: int"
