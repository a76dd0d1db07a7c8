"""A running fingerprint of what a rank called in a group, to be compared with other ranks'."""

from __future__ import annotations

import hashlib
from collections import deque

__all__ = ["Fingerprint"]

_FACTOR, _MASK = 0x5851F42D4C957F2D, (1 << 61) - 1
_KEPT = 1000
_MOST = 4096

_keys: dict[tuple[object, ...], int] = {}


class Fingerprint:
    """What all ranks of a group must call alike, hashed call by call."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        # With its count, so that another thread never sees one without the other.
        self._hashes: deque[tuple[int, int]] = deque([(0, 0)], maxlen=_KEPT)

    @property
    def count(self) -> int:
        """Calls so far."""
        return self._hashes[-1][0]

    def add(self, what: tuple[object, ...]) -> None:
        """Add a call; one thread at a time.

        Args:
            what: All that must be the same on every rank.
        """
        key = _keys.get(what)
        if key is None:
            key = _key(what)
        count, before = self._hashes[-1]
        self._hashes.append((count + 1, (before * _FACTOR + key) & _MASK))

    def at(self, count: int) -> int | None:
        """The hash of the first ``count`` calls; None: not reached, or no longer kept."""
        hashes = self._hashes.copy()
        index = count - hashes[0][0]
        return hashes[index][1] if 0 <= index < len(hashes) else None

    def latest(self) -> tuple[int, tuple[int, ...]]:
        """How many calls, and the hashes of the latest counts, oldest first."""
        hashes = self._hashes.copy()
        return hashes[-1][0], tuple(each for _, each in hashes)


def _key(what: tuple[object, ...]) -> int:
    if len(_keys) >= _MOST:
        _keys.clear()
    # Python's own hash of a text differs between processes.
    digest = hashlib.blake2b(repr(what).encode(), digest_size=8).digest()
    _keys[what] = key = int.from_bytes(digest, "big") & _MASK
    return key
