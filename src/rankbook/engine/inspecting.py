"""Names and values of this rank: completing, inspecting and listing them.

A person's ``__dir__``, ``__getattr__`` or ``__repr__`` may block, print or raise. So all of it is
done aside, in a thread whose output is dropped and which nobody waits for.
"""

from __future__ import annotations

import hashlib
import re
import types
from typing import Any

import torch
from IPython.core.completer import provisionalcompleter

from rankbook.engine import owners
from rankbook.engine.diffing import digest_of
from rankbook.engine.jobs import Job
from rankbook.engine.operations import ASIDE, operation
from rankbook.models import to_dict
from rankbook.models.inspecting import (
    Complete,
    Completion,
    Completions,
    Inspect,
    Inspected,
    ListVariables,
    Variable,
)

__all__ = ["complete", "inspect", "list_variables"]

_MOST = 500
"""Ways to go on that are told."""

_DOTTED = re.compile(r"(?<![\w.)\]\"'])([^\W\d]\w*(?:\.[^\W\d]\w*)*)\.(\w*)\Z")
"""A name with dots before the cursor, and what is typed of the last part."""

_LONGEST = 2_000
"""Characters of a value or a docstring that are told."""

_HASHED = 64 * 1024 * 1024
"""Bytes of one value up to which it is compared with that of other ranks."""

_FIELDS = {
    "Signature": "definition",
    "Init signature": "init_definition",
    "Type": "type_name",
    "Value": "string_form",
    "Length": "length",
    "File": "file",
    "Source": "source",
    "Docstring": "docstring",
    "Init docstring": "init_docstring",
}
"""By title, what IPython calls it."""


@operation(Complete, on=ASIDE)
def complete(job: Job, request: Complete) -> Completions:
    """Complete what is typed, as IPython does without Jedi, which only reads code."""
    if (attributes := _attributes(job.engine.namespace, request)) is not None:
        return attributes
    completer = job.engine.kernel.shell.Completer
    completer.use_jedi = False
    with provisionalcompleter():
        found = list(completer.completions(request.code, request.cursor))
    start = min((one.start for one in found), default=request.cursor)
    texts = {
        request.code[start : one.start] + one.text: "" if one.type == "<unknown>" else one.type
        for one in found
    }
    ways = [Completion(text, kind or "") for text, kind in texts.items()]
    return Completions(start, tuple(ways[:_MOST]))


def _attributes(names: dict[str, Any], request: Complete) -> Completions | None:
    """Attributes of ``a.b.c``; None if it is something else.

    IPython reads attributes only of classes that it knows to be harmless. Here, where nobody waits
    for it, ``__getattr__`` can be called: the layers of a module are found that way. Nothing else
    is: a call could issue a collective.
    """
    typed = _DOTTED.search(request.code[: request.cursor])
    if typed is None or typed[1].partition(".")[0] not in names:
        return None
    first, *rest = typed[1].split(".")
    value = names[first]
    for name in rest:
        value = getattr(value, name)
    begun = typed[2]
    found = sorted(
        name
        for name in dir(value)
        if name.startswith(begun) and (begun.startswith("_") or not name.startswith("_"))
    )
    return Completions(request.cursor - len(begun), tuple(map(Completion, found[:_MOST])))


@operation(Inspect, on=ASIDE)
def inspect(job: Job, request: Inspect) -> Inspected:
    """Say what a name stands for, as IPython does."""
    found = job.engine.kernel.shell.object_inspect(request.name, detail_level=request.detail)
    fields = {title: str(found[key])[:_LONGEST] for title, key in _FIELDS.items() if found.get(key)}
    if request.detail == 0:
        fields.pop("Source", None)
    if owners.is_cell(fields.get("File", "")):
        del fields["File"]  # of a cell it is a name that no rank shares with another
    return Inspected(bool(found["found"]), fields)


@operation(ListVariables, on=ASIDE)
def list_variables(job: Job, _request: ListVariables) -> list[dict[str, Any]]:
    """List the variables of the cells, without what every rank has, and modules."""
    shell = job.engine.kernel.shell
    hidden = {*shell.user_ns_hidden, *_GIVEN}
    return [
        to_dict(_variable(name, value))
        for name, value in sorted(shell.user_ns.copy().items())
        if not name.startswith("_")
        and name not in hidden
        # Of its type: a person's class may have a __class__ that raises.
        and not issubclass(type(value), types.ModuleType)
    ]


_GIVEN = {"dist", "rank", "world_size", "local_rank", "device", "dist_info", "torch"}


def _variable(name: str, value: Any) -> Variable:
    """Tell a variable; one that cannot be looked at has a type only."""
    kind = type(value).__name__
    try:
        if isinstance(value, torch.Tensor):
            local = value.to_local() if hasattr(value, "to_local") else value
            return Variable(
                name,
                kind,
                "x".join(map(str, value.shape)) or "one number",
                str(value.dtype).removeprefix("torch."),
                str(value.device),
                local.numel() * local.element_size(),
                _digest(local),
            )
        if isinstance(value, torch.nn.Module):
            tensors = [*value.parameters(), *value.buffers()]
            shape = f"{sum(tensor.numel() for tensor in tensors):,} numbers"
            nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            return Variable(name, kind, shape, nbytes=nbytes)
        if isinstance(value, (int, float, complex, str, bytes, bool, type(None))):
            data = repr(value).encode()
            return Variable(name, kind, digest=hashlib.blake2b(data, digest_size=16).hexdigest())
        if isinstance(value, (list, tuple, dict, set)):
            return Variable(name, kind, f"{len(value)} items")
    except Exception:  # noqa: BLE001 - of a person's class, or a tensor that has no data
        return Variable(name, kind)
    return Variable(name, kind)


def _digest(tensor: torch.Tensor) -> str:
    """A hash of a tensor's bytes; empty where it is too large, or not in this host's memory."""
    if tensor.numel() * tensor.element_size() > _HASHED or not tensor.is_cpu:
        return ""
    return digest_of(tensor.detach())
