"""Cases of diagnosis: looks at the ranks of a group, and the verdict on them."""

from __future__ import annotations

from verdicts import (
    ended,
    groups,
    meetings,
    mismatches,
    missing,
    no_culprit,
    slow_or_unknown,
    stores,
)

_ALL = (groups, meetings, no_culprit, missing, mismatches, ended, slow_or_unknown, stores)

CASES = {name: case for its in _ALL for name, case in its.CASES.items()}
assert len(CASES) == sum(len(its.CASES) for its in _ALL), "two cases have the same name"
