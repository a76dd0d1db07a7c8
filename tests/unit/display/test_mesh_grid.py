"""The mesh of a session as a grid in the dashboard."""

from __future__ import annotations

import pytest
from markup import tree
from samples import EVIL, member

from rankbook.display.grid import to_html
from rankbook.models.meshes import NamedMesh

MESH = NamedMesh(("dp", "tp"), (2, 3), tuple(range(6)))


def states(count=6, **of_rank_1):
    ranks = [member(rank, world_size=count) for rank in range(count)]
    return [ranks[0], member(1, world_size=count, **of_rank_1), *ranks[2:]]


def table(its):
    return [[cell.text for cell in row.all("th") + row.all("td")] for row in its.all("tr")]


def test_the_first_dimension_goes_down_and_the_second_to_the_right():
    its = tree(to_html(states(), MESH)).one("table", "rb-mesh-grid")
    assert its.one("caption").text == "mesh: dp=2 tp=3"
    assert table(its) == [
        ["tp=0", "tp=1", "tp=2", ""],
        ["dp=0", "0 ● idle", "1 ● idle", "2 ● idle"],
        ["dp=1", "3 ● idle", "4 ● idle", "5 ● idle"],
    ]


def test_a_cell_has_the_class_and_the_word_of_its_rank_s_state():
    page = tree(to_html(states(state="gone", last_error="E"), MESH))
    assert page.all("td")[2].classes == ["rb-is-ended", "rb-failed"]
    assert page.all("td")[2].text == "1 ✕ ended"
    missing = tree(to_html(states()[:5], MESH))
    assert missing.all("td")[-1].text == "5"


def test_of_more_dimensions_there_is_a_grid_for_each_place_in_the_first_ones():
    mesh = NamedMesh(("pp", "dp", "tp"), (2, 2, 2), tuple(range(8)))
    grids = tree(to_html(states(8), mesh)).all("table")
    assert [its.one("caption").text for its in grids] == ["pp=0", "pp=1"]
    assert table(grids[1])[2] == ["dp=1", "6 ● idle", "7 ● idle"]


@pytest.mark.parametrize(
    "mesh", [None, NamedMesh(("dp",), (6,), tuple(range(6))), NamedMesh(("a", "b"), (1, 17), ())]
)
def test_without_two_dimensions_or_too_wide_there_is_no_grid(mesh):
    assert to_html(states(), mesh) == ""


def test_names_of_dimensions_are_not_markup_in_the_grid():
    html = to_html(states(), NamedMesh((EVIL, "tp"), (2, 3), tuple(range(6)), EVIL))
    assert not tree(html).has("b")
