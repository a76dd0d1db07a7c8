"""A hang that somebody has reported, and which ranks its verdict must name."""

from __future__ import annotations

from dataclasses import dataclass

FIRST, LAST, ALL = "first", "last", "all"
SECOND, THIRD, LAST_BUT_ONE, FIRST_TWO = "second", "third", "last but one", "first two"
MIDDLE = "the first of the upper half"
UPPER_HALF = "all above the first half"
BUT_FIRST, BUT_LAST = "all but the first", "all but the last"


@dataclass(frozen=True)
class Reported:
    """A kind of hang that somebody had.

    Attributes:
        name: Of the kind.
        source: The issue, pull request or discussion that tells of it.
        code: A cell.
        verdict: ``Diagnosis.kind`` that it must get.
        culprits: ``Diagnosis.ranks`` that it must name.
        operation: What must stand in the sentence.
        ranks: How many it takes at least.
    """

    name: str
    source: str
    code: str
    verdict: str
    culprits: str
    operation: str
    ranks: int = 2

    def culprits_of(self, n: int) -> frozenset[int]:
        """The ranks to be named in a world of ``n``; where two differ, none is the odd one."""
        every = range(n)
        chosen = {
            FIRST: every[:1],
            LAST: every[-1:],
            ALL: every,
            BUT_FIRST: every[1:],
            BUT_LAST: every[:-1],
            SECOND: every[1:2],
            THIRD: every[2:3],
            MIDDLE: every[n // 2 : n // 2 + 1],
            LAST_BUT_ONE: every[-2:-1],
            FIRST_TWO: every[:2],
            UPPER_HALF: every[n // 2 + 1 :],
        }[self.culprits]
        return frozenset(every if n == 2 and self.verdict == "mismatch" else chosen)
