"""Hangs that people have reported: each is explained, with its lines, and freed, wherever it is.

``make test`` draws some of them, others every day; ``make test-all`` runs all.
"""

from __future__ import annotations

from datetime import datetime, timezone
from random import Random

import pytest
from forms import FORMS
from placed import WAYS, place
from reported import REPORTED
from world import World

SOON = 20.0
HANGS = REPORTED + FORMS

TODAY = Random(datetime.now(timezone.utc).date().isoformat())
DRAWN = TODAY.sample([(its, TODAY.choice(WAYS)) for its in HANGS if its.ranks <= 2], 5)
EVERYTHING = [(its, way) for way in WAYS for its in HANGS]


@pytest.fixture(scope="module")
def world(request):
    """One of so many ranks; the one before has been closed."""
    world = World(request.param, seed=1)
    yield world
    world.close()


def on(ranks):
    return pytest.mark.parametrize("world", [ranks], indirect=True, ids=lambda n: f"{n} ranks")


def told(hangs):
    return {"argvalues": hangs, "ids": [f"{its.name}, in a {way}" for its, way in hangs]}


def explained_and_freed(world, its, way, folder):
    placed = place(its.code, way, folder)
    running = world.in_background(lambda: placed.run(world.session))
    assert running.join(SOON), f"it was not freed: {world.session.diagnose()}"
    verdict = running.value.diagnosis
    assert verdict is not None, running.value
    assert (verdict.kind, set(verdict.ranks)) == (its.verdict, its.culprits_of(world.n)), verdict
    assert its.operation in verdict.summary
    assert not placed.unnamed(verdict.summary), verdict.summary
    assert world.works()
    assert world.is_as_it_was()


@on(2)
@pytest.mark.parametrize(("its", "way"), **told(DRAWN))
def test_a_reported_hang_drawn_for_today_is_explained_and_freed(world, its, way, tmp_path):
    explained_and_freed(world, its, way, tmp_path)


@pytest.mark.slow
@on(4)
@pytest.mark.parametrize(("its", "way"), **told(EVERYTHING))
def test_a_reported_hang_is_explained_and_freed_on_four_ranks(world, its, way, tmp_path):
    explained_and_freed(world, its, way, tmp_path)


@pytest.mark.slow
@on(2)
@pytest.mark.parametrize(
    ("its", "way"), **told([pair for pair in EVERYTHING if pair[0].ranks <= 2])
)
def test_a_reported_hang_is_explained_and_freed_on_two_ranks(world, its, way, tmp_path):
    explained_and_freed(world, its, way, tmp_path)
