"""A rank's part in comparing a value across ranks; keeps the value until the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from rankbook.engine.jobs import Job
from rankbook.engine.operations import MAIN, operation
from rankbook.engine.values.diffing import chunks_of, hash_of, leaf_of, local_part, memory_of
from rankbook.engine.values.leaves import MOST, leaves
from rankbook.models.diffs import Chunks, Drop, Fingerprint, Leaf, Prints, SendChunks

__all__ = ["chunks", "drop", "fingerprint", "send_chunks"]


@operation(Fingerprint, on=MAIN)
def fingerprint(job: Job, request: Fingerprint) -> Prints:
    """Evaluate an expression and return its leaves."""
    compared = job.engine.compared
    compared.clear()
    try:
        value = eval(request.expression, job.engine.namespace)  # noqa: S307 - as a cell would
        made: dict[str, str] = {}
        pairs = list(islice(leaves(value, made.__setitem__), MOST + 1))
        found = dict(pairs[:MOST])
        found_leaves = tuple(_named(leaf_of(path, value), made) for path, value in found.items())
    except Exception as error:  # noqa: BLE001 - it is told
        return Prints(f"{type(error).__name__}: {error}".split("\n")[0])
    compared.update(
        {leaf.path: local_part(found[leaf.path]) for leaf in found_leaves if _is_compared(leaf)}
    )
    return Prints("", found_leaves, len(pairs) > MOST, tuple(islice(made.items(), MOST)))


def _named(leaf: Leaf, made: dict[str, str]) -> Leaf:
    """Call numbers that were compared as a tensor what they are: a list, a tuple."""
    if leaf.dtype and made.get(leaf.path) in ("list", "tuple"):
        return replace(leaf, kind=made.pop(leaf.path))
    return leaf


def _is_compared(leaf: Leaf) -> bool:
    return bool(leaf.dtype and leaf.digest)


@operation(Chunks, on=MAIN)
def chunks(job: Job, request: Chunks) -> list[str]:
    """Return the hashes of a leaf's chunks."""
    return [hash_of(chunk) for chunk in chunks_of(job.engine.compared[request.path])]


@operation(SendChunks, on=MAIN)
def send_chunks(job: Job, request: SendChunks) -> None:
    """Send chunks of a leaf."""
    found = list(chunks_of(job.engine.compared[request.path]))
    job.attachments.extend(bytes(memory_of(found[number])) for number in request.numbers)


@operation(Drop, on=MAIN)
def drop(job: Job, _request: Drop) -> None:
    """Drop the compared value."""
    job.engine.compared.clear()
