"""What records of many fields show of themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from rankbook.models import Look, Snapshot
from rankbook.models.brief import Brief
from rankbook.models.looks import Collective


@dataclass(frozen=True, repr=False)
class Point(Brief):
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)


def test_only_what_differs_from_its_default_is_shown():
    assert repr(Point(0)) == "Point(x=0)"
    assert repr(Point(1, 2, ["a"])) == "Point(x=1, y=2, tags=['a'])"
    assert repr(Point(1, 0, [])) == "Point(x=1)"


def test_a_snapshot_is_shown_with_what_each_rank_says():
    waiting = Collective("barrier", ranks=(0, 1), seq=3)
    snapshot = Snapshot("gloo", 2, 1, "", (Look("idle"), Look("waiting", waiting=waiting)))
    assert repr(snapshot) == (
        "Snapshot(backend='gloo', world_size=2, generation=1, doing='', "
        "states=(Look(state='idle'), Look(state='waiting', "
        "waiting=Collective(op='barrier', ranks=(0, 1), seq=3))))"
    )
