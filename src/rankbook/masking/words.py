"""Judging a word: whether it is the name of a secret, whether it looks like one."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["TELLING", "is_random", "is_secret_name", "is_strong", "is_telling"]

_WORDS = frozenset(
    {
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "cookies",
        "credential",
        "credentials",
        "jwt",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "passwords",
        "pw",
        "pwd",
        "secret",
        "secrets",
        "sig",
        "signature",
        "token",
        "tokens",
    }
)
"""Parts of a name that make it the name of a secret."""

_WEAK = frozenset({"key", "keys"})
"""The same, but code has such names for much else: of these only what is directly assigned."""

_JOINED = re.compile(r"secret|passw|credential|token$|(?:api|access|private|auth)keys?$")
"""Names whose parts are not told apart: ``HFTOKEN``."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_CLASSES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_UUID = re.compile(r"(?:\w+-)?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")

_PIECE = 12
"""Letters and digits in a row that something random in base64 has somewhere."""

_CHANGES = 0.4
"""Of neighbouring characters, how many are of another kind there; in words and paths fewer are."""

TELLING = 8
"""Characters from which on a secret is looked for everywhere, once it is known."""


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what has this name is to be kept secret: ``HF_TOKEN``, ``apiKey``, ``X-Auth``."""
    return is_strong(name) or bool(_parts(name) & _WEAK)


def is_strong(name: str) -> bool:
    """Whether a name is hardly ever given to anything but a secret; ``key`` alone often is."""
    parts = _parts(name)
    qualified = parts & _WEAK and parts & {"access", "account", "api", "private", "ssh", "storage"}
    joined = re.sub(r"[\W_]", "", name).lower()
    return bool(parts & _WORDS or qualified or _JOINED.search(joined))


def _parts(name: str) -> set[str]:
    return {part.lower() for part in _PARTS.findall(name)}


def is_telling(secret: str) -> bool:
    """Whether it can be told from ordinary words, so that it is masked wherever it stands."""
    kinds = [str.islower, str.isupper, str.isdigit, lambda c: c in "!#$%&*+?@^~=/"]
    return (
        len(secret) >= TELLING
        and not re.search(r"\s", secret)
        and sum(any(map(kind, secret)) for kind in kinds) > 1
    )


def is_random(run: str) -> bool:
    """Whether letters and digits change as they do in base64, and not as in names and paths."""
    if _UUID.match(run) or run.startswith("_Z"):  # a GPU, a cluster; a symbol of C++
        return False
    pieces = re.findall(r"[A-Za-z0-9]+", run)
    pairs = sum(len(piece) - 1 for piece in pieces)
    changes = sum(len(_CLASSES.findall(piece)) - 1 for piece in pieces)
    return max(map(len, pieces), default=0) >= _PIECE and changes >= _CHANGES * pairs
