"""Limits that are too low for a session."""

from __future__ import annotations

import resource

import pytest

from rankbook.cluster.scarce import Limit, limits, too_low


def files(most):
    return Limit("This process may open only {} files", "-n", most, 30, 64, 8)


@pytest.mark.parametrize(("most", "ranks"), [(64, 2), (109, 2), (200, 16)])
def test_a_limit_that_leaves_too_little_is_named_with_one_that_is_enough(most, ranks):
    said = too_low(ranks, [files(100_000), files(most)])
    assert f"may open only {most} files (ulimit -n), too few for {ranks} ranks" in said
    assert "`ulimit -n 4096`" in said


@pytest.mark.parametrize(("most", "ranks"), [(110, 2), (1024, 64), (resource.RLIM_INFINITY, 9999)])
def test_a_limit_that_leaves_enough_is_not_blamed(most, ranks):
    assert too_low(ranks, [files(most)]) == ""


def test_for_very_many_ranks_more_is_advised():
    assert f"`ulimit -n {2 * (30 + 64 + 8 * 1000)}`" in too_low(1000, [files(1024)])


def test_the_limits_of_this_process_are_read():
    found = {limit.option: limit for limit in limits()}
    assert found["-n"].most == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found["-n"].used > 2
