"""A running fingerprint of what a rank called in a group, to be compared with other ranks'."""

from __future__ import annotations

import hashlib
from collections import deque
from itertools import islice

from rankbook.fingerprints import FACTOR, MASK, packed

__all__ = ["Running", "key_of"]

_KEPT = 1000


class Running:
    """A hash, call by call, of what all ranks of a group must call alike."""

    __slots__ = ("_hashes", "_told", "count")

    def __init__(self) -> None:
        self.count = 0
        """Number of calls so far."""
        self._told = 0
        self._hashes: deque[int] = deque([0], maxlen=_KEPT + 1)

    def add(self, key: int) -> None:
        """Add a call, by its key; one thread at a time."""
        hashes = self._hashes
        hashes.append((hashes[-1] * FACTOR + key) & MASK)
        self.count += 1

    def news(self) -> tuple[int, str]:
        """The number of calls, and the packed hashes of unreported counts.

        After many calls, the hashes of the latest 1,000 counts; empty if there was none.
        """
        new = min(self.count - self._told, _KEPT)
        self._told = self.count
        kept = len(self._hashes)
        return self.count, packed(islice(self._hashes, kept - new, kept)) if new else ""


def key_of(terms: tuple[object, ...]) -> int:
    """The key of a call, the same on every rank.

    Args:
        terms: Everything that must be equal on every rank.
    """
    # Python's own hash of a text differs between processes.
    digest = hashlib.blake2b(repr(terms).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & MASK
