"""Who holds what, drawn: whole pictures as people review them, in ``snapshots/pictures``.

After a change that is meant, ``RANKBOOK_NEW_SNAPSHOTS=1 python -m pytest`` on this file writes them
again; ``git diff`` then shows what has changed.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from markup import decoded, tree
from samples import EVIL

from rankbook.display.pictures.boards import boards
from rankbook.display.shown import (
    exchanges_to_html,
    exchanges_to_text,
    mesh_to_html,
    mesh_to_text,
    to_html,
    to_text,
)
from rankbook.models.calls import Call, Place
from rankbook.models.exchanges import Exchange, Exchanges, KeptCalls
from rankbook.models.meshes import HeldMesh, NamedMesh
from rankbook.models.shown import Held, Part, Shard, Shown, Values

SNAPSHOTS = Path(__file__).parent / "snapshots" / "pictures"
RENEW = os.environ.get("RANKBOOK_NEW_SNAPSHOTS") == "1"

NAMED = NamedMesh(("dp", "tp"), (2, 2), (0, 1, 2, 3))
GRID = HeldMesh("DeviceMesh", ("dp", "tp"), (2, 2), (0, 1, 2, 3))


def numbers(rows, *, digest="", dtype="float32", **about):
    """The values of a small tensor, from its rows."""
    cells = tuple(f"{number:.4g}" for row in rows for number in row)
    shape = (len(rows), len(rows[0]))
    return Values(shape, dtype, "cpu", len(rows), cells, digest=digest or str(cells), **about)


def tensor(values, path=""):
    return Held(parts=(Part(path, "Tensor", values=values),))


def shard(rows, offset, coordinate, placements=("Shard(0)", "Replicate()"), shape=(4, 2)):
    lies = Shard(shape, GRID, placements, coordinate, offset)
    return Held(parts=(Part("", "DTensor", values=numbers(rows), shard=lies),))


UPPER, LOWER = [[0, 1], [2, 3]], [[4, 5], [6, -7]]

PICTURES = {
    "each_rank": Shown("x", {rank: tensor(numbers([[rank, -rank / 2]])) for rank in range(2)}),
    "in_a_mesh": Shown("x", {rank: tensor(numbers([[rank]])) for rank in range(4)}, mesh=NAMED),
    "the_same": Shown("x", {rank: tensor(numbers([[1, 2.5]])) for rank in range(4)}),
    "not_finite": Shown(
        "x",
        {0: tensor(numbers([[float("nan"), 1, float("-inf")]], odd=2)), 1: Held("NameError: x")},
    ),
    "large": Shown(
        "grad",
        {
            0: tensor(
                replace(
                    numbers([[1, 2, 3], [-3, 0, 3]], least="-9", most="9", mean="1"),
                    shape=(1000, 300),
                    is_pooled=True,
                )
            )
        },
        silent=(1,),
    ),
    "shapes_differ": Shown("x", {0: tensor(numbers([[1, 2]])), 1: tensor(numbers([[1, 2, 3]]))}),
    "shards": Shown(
        "w",
        {
            0: shard(UPPER, (0, 0), (0, 0)),
            1: shard(UPPER, (0, 0), (0, 1)),
            2: shard(LOWER, (2, 0), (1, 0)),
            3: shard(LOWER, (2, 0), (1, 1)),
        },
    ),
    "replicas_that_differ": Shown(
        "w",
        {
            0: shard(UPPER, (0, 0), (0, 0)),
            1: shard(LOWER, (0, 0), (0, 1)),
            2: shard(LOWER, (2, 0), (1, 0)),
            3: shard(LOWER, (2, 0), (1, 1)),
        },
    ),
    "partial": Shown(
        "w",
        {
            rank: shard(
                [[rank, 1]], (), divmod(rank, 2), ("Partial(sum)", "Replicate()"), shape=(1, 2)
            )
            for rank in range(4)
        },
    ),
    "several": Shown(
        "model",
        {
            rank: Held(
                parts=(
                    Part("0.weight", "Parameter", values=numbers([[0.5, rank]])),
                    Part("0.bias", "Parameter", values=numbers([[1]])),
                ),
                more=3,
            )
            for rank in range(2)
        },
    ),
    "plain": Shown(
        "n", {0: Held(parts=(Part("", "int", "0"),)), 1: Held(parts=(Part("", "Bad"),))}
    ),
    "mesh": Shown("mesh", {r: Held(parts=(Part("", "DeviceMesh", mesh=GRID),)) for r in range(4)}),
    "mesh_of_three_dimensions": Shown(
        "mesh",
        {
            0: Held(
                parts=(
                    Part(
                        "",
                        "DeviceMesh",
                        mesh=HeldMesh(
                            "DeviceMesh", ("pp", "dp", "tp"), (2, 2, 3), tuple(range(12))
                        ),
                    ),
                )
            )
        },
    ),
}


def called(rank, number, given, got, *, op="all_reduce", issued=1.0, **about):
    call = {"op": op, "key": "0", "ranks": (0, 1), "number": number, "issued": issued} | about
    place = Place("In [4]", 3, is_cell=True)
    return Exchange(
        Call(rank, place=place, **call),
        numbers(given) if given else None,
        numbers(got) if got else None,
        is_done=got is not None,
    )


EXCHANGES = {
    "collectives": Exchanges(
        {
            0: KeptCalls(
                (
                    called(0, 1, [[1, 2]], [[4, 6]], reduce_op="sum"),
                    called(0, 2, [[5]], [[5]], op="broadcast", root=0, issued=2.0),
                    called(0, 1, [[7]], [], op="send", peer=1, tag=0, issued=3.0),
                    called(0, 3, [[9]], None, issued=4.0),
                )
            ),
            1: KeptCalls(
                (
                    called(1, 1, [[3, 4]], [[4, 6]], reduce_op="sum"),
                    called(1, 2, [[0]], [[5]], op="broadcast", root=0, issued=2.0),
                    called(1, 1, [], [[7]], op="recv", peer=0, tag=0, issued=3.0),
                ),
                more=2,
            ),
        },
        silent=(2,),
    )
}


def compare(name, text):
    file = SNAPSHOTS / name
    if RENEW:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), (
        "if that is meant, write it again with RANKBOOK_NEW_SNAPSHOTS=1"
    )


def svgs(html):
    return [
        ET.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>")  # noqa: S314 - our own
        for part in decoded(html).split("<svg")[1:]
    ]


@pytest.mark.parametrize("name", PICTURES)
def test_what_ranks_hold_looks_as_reviewed(name):
    compare(f"{name}.txt", f"{to_text(PICTURES[name])}\n")
    compare(f"{name}.html", decoded(to_html(PICTURES[name])).replace("><", ">\n<") + "\n")


@pytest.mark.parametrize("name", EXCHANGES)
def test_what_collectives_put_in_and_get_looks_as_reviewed(name):
    compare(f"{name}.txt", f"{exchanges_to_text(EXCHANGES[name])}\n")
    html = decoded(exchanges_to_html(EXCHANGES[name]))
    compare(f"{name}.html", html.replace("><", ">\n<") + "\n")


def test_every_file_of_a_picture_belongs_to_a_sample():
    assert {file.stem for file in SNAPSHOTS.iterdir()} == {*PICTURES, *EXCHANGES}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_says_the_same_to_a_screen_reader_and_stays_inside_its_frame(name):
    told = [board for board in boards(PICTURES[name]) if any(board.rows)]
    drawn = svgs(to_html(PICTURES[name]))
    assert len(drawn) == len(told)
    for svg, board in zip(drawn, told, strict=True):
        assert svg.get("role") == "img"
        assert svg.get("aria-label") == board.title
        [description] = [one.text for one in svg if one.tag.endswith("desc")]
        assert board.title in description
        assert within(svg, 0, 0)


def test_a_saved_notebook_keeps_a_picture_where_svg_and_styles_are_taken_out():
    page = tree(to_html(PICTURES["shards"]))
    assert {one.tag for one in page.walk()} == {"div", "img"}
    assert page.one("img")["src"].startswith("data:image/svg+xml;base64,")
    assert page.one("img")["alt"] == to_text(PICTURES["shards"])
    svg = decoded(to_html(PICTURES["shards"]))
    assert "--jp-" not in svg[svg.index("<svg") :]  # an image knows nothing of the page around it


def within(element, x, y):
    """Whether every rectangle lies in the picture."""
    wide, high = float(element.get("width")), float(element.get("height"))

    def inside(one, x, y):
        moved = one.get("transform", "translate(0 0)")[len("translate(") : -1].split()
        x, y = x + float(moved[0]), y + float(moved[1])
        if one.tag.endswith("rect"):
            right = x + float(one.get("x")) + float(one.get("width"))
            below = y + float(one.get("y")) + float(one.get("height"))
            if not (right <= wide + 1 and below <= high + 1):
                return False
        return all(inside(child, x, y) for child in one)

    return all(inside(child, x, y) for child in element)


def test_no_colour_is_of_one_theme_only():
    html = decoded(to_html(PICTURES["shards"]))
    assert "currentColor" in html
    assert "prefers-color-scheme: dark" in html
    assert "black" not in html
    assert "white" not in html
    assert 0 < max(opacities(html)) <= 0.61


def opacities(html):
    return [float(part.partition('"')[0]) for part in html.split('fill-opacity="')[1:]]


def test_what_ranks_hold_cannot_be_markup():
    told = Shown(EVIL, {0: tensor(numbers([[1]])), 1: Held(EVIL)})
    assert "<b" not in decoded(to_html(told))
    assert "<b" not in to_html(told)
    plain = Shown("x", {0: Held(parts=(Part("", "str", EVIL),))})
    assert "<b" not in to_html(plain)


def test_many_ranks_that_hold_the_same_share_a_block():
    held = {rank: tensor(numbers([[rank % 2]])) for rank in range(64)}
    [board] = boards(Shown("x", held))
    assert [len(block.title) > 0 for row in board.rows for block in row] == [True, True]
    assert "the same on ranks 0,2,4" in board.title


def test_of_many_ranks_that_differ_some_are_drawn_and_the_others_counted():
    held = {rank: tensor(numbers([[rank]])) for rank in range(64)}
    [board] = boards(Shown("x", held))
    [row] = board.rows
    assert [block.title for block in row[-2:]] == ["rank 15", "… and 48 others"]


def test_a_picture_of_a_hundred_shards_ends_with_their_number():
    mesh = HeldMesh("DeviceMesh", ("dp",), (100,), tuple(range(100)))
    held = {
        rank: Held(
            parts=(
                Part(
                    "",
                    "DTensor",
                    values=numbers([[rank]]),
                    shard=Shard((100, 1), mesh, ("Shard(0)",), (rank,), (rank, 0)),
                ),
            )
        )
        for rank in range(100)
    }
    [board] = boards(Shown("w", held))
    assert board.rows[-1][0].title == "… and 84 others"


def test_a_named_mesh_shows_itself_as_a_grid():
    assert mesh_to_text(NAMED) == (
        "mesh: dp=2 tp=2\n      tp=0  tp=1\ndp=0     0     1\ndp=1     2     3"
    )
    assert "<svg" in decoded(mesh_to_html(NAMED))


def on_row(rank, rows, *, row, at):
    """What a rank holds of a DTensor on one row of a mesh of two dimensions."""
    mesh = HeldMesh("DeviceMesh", ("tp",), (2,), row)
    lies = Shard((4, 2), mesh, ("Shard(0)",), (at,) if rank in row else (), (2 * at, 0))
    return Held(parts=(Part("", "DTensor", values=numbers(rows), shard=lies),))


def on_rows(*rows):
    """By rank, what each of four holds of the DTensors of two rows."""
    return {
        rank: on_row(rank, rows[rank], row=(0, 1) if rank < 2 else (2, 3), at=rank % 2)
        for rank in range(4)
    }


def test_equal_dtensors_of_meshes_side_by_side_are_one_picture():
    [board] = boards(Shown("x", on_rows(UPPER, LOWER, UPPER, LOWER)))
    assert board.notes == ("tp=2: Shard(0), on each of ranks 0-1 | 2-3",)
    assert [block.title for row in board.rows for block in row] == ["ranks 0,2", "ranks 1,3"]


def test_dtensors_of_meshes_side_by_side_that_differ_are_a_picture_each():
    titles = [board.title for board in boards(Shown("x", on_rows(UPPER, LOWER, LOWER, UPPER)))]
    assert titles == [f"x: DTensor float32 [4, 2] on ranks {ranks}" for ranks in ("0-1", "2-3")]


def test_ranks_outside_the_mesh_of_their_dtensor_are_said_to_be():
    by_rank = {
        rank: on_row(rank, rows, row=(0, 1), at=rank % 2)
        for rank, rows in enumerate((UPPER, LOWER, UPPER))
    }
    [board] = boards(Shown("x", by_rank))
    assert [block.title for row in board.rows for block in row] == ["rank 0", "rank 1"]
    assert board.notes == ("tp=2: Shard(0)", "Rank 2 is not in its mesh.")
    [alone] = boards(Shown("x", {2: by_rank[2]}))
    assert (alone.title, alone.notes) == ("x: DTensor", ("Rank 2 is not in its mesh.",))


def test_rows_of_more_than_two_dimensions_say_where_they_are():
    values = Values((2, 1, 2), "int64", "cpu", 2, ("1", "2", "3", "4"))
    assert to_text(Shown("x", {0: tensor(values)})).splitlines()[2:] == [
        "[0, 0]  1  2",
        "[1, 0]  3  4",
    ]


def test_a_value_that_is_no_tensor_is_described_with_its_ranks():
    by_rank = {0: tensor(numbers([[1]])), 1: Held(parts=(Part("", "int", "5"),))}
    assert to_text(Shown("x", by_rank)).endswith("x on rank 1\n[1] 5")
