"""What the ranks are told of the notebook's folder and ``sys.path``, and what they make of it."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from rankbook.engine.host import following
from rankbook.engine.host.path import extend
from rankbook.models.requests import Follow
from rankbook.sessions.members.following import where

STDLIB, PACKAGES = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")


def test_only_what_a_user_has_put_into_the_path_is_reported():
    path = ("", "/mine", "/usr/lib/python311.zip", STDLIB, PACKAGES, "/last", "relative")
    assert where("/home/me", path) == Follow("/home/me", ("/mine",), ("/last", "/home/me/relative"))


@pytest.fixture
def path(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", STDLIB, PACKAGES])
    monkeypatch.setattr(following._Taken, "entries", frozenset())
    return lambda: sys.path


def test_folders_are_taken_over_in_their_place_and_given_up_again(path, tmp_path):
    first, last = tmp_path / "first", tmp_path / "last"
    first.mkdir()
    last.mkdir()
    request = Follow("", (str(first), str(tmp_path / "nowhere")), (str(last),))
    following.follow.act(None, request)
    assert path() == ["", str(first), STDLIB, PACKAGES, str(last)]
    following.follow.act(None, Follow("", (), (str(last),)))
    assert path() == ["", STDLIB, PACKAGES, str(last)]


def test_a_folder_that_is_not_there_is_no_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    following.follow.act(None, Follow(str(tmp_path / "nowhere")))
    assert path()[0] == ""


def test_folders_that_cells_of_another_rank_have_added_are_taken_in_their_place(path, tmp_path):
    first, last = str(tmp_path / "first"), str(tmp_path / "last")
    for folder in first, last:
        Path(folder).mkdir()
    extend(["", first, "/nowhere", STDLIB, last])
    assert path() == ["", first, STDLIB, PACKAGES, last]
    extend([first, STDLIB, last])
    assert path() == ["", first, STDLIB, PACKAGES, last]


def test_the_ranks_are_told_once_and_when_something_changes(session, pool, monkeypatch, tmp_path):
    session.initialize("gloo", 4)
    session.run("pass")
    session.run("pass")
    assert pool[0].asked.count("follow") == 1
    monkeypatch.chdir(tmp_path)
    session.run("pass")
    assert pool[0].asked.count("follow") == 2
    assert pool[0].follows[0] == str(tmp_path)
