"""Names and values of this rank: inspecting and listing them.

A user's ``__getattr__`` or ``__repr__`` may block, print or raise. So all of it is
done aside, in a thread whose output is dropped and which nobody waits for.
"""

from __future__ import annotations

import ast
import hashlib
import types
from inspect import getattr_static
from typing import Any

import torch

from rankbook.engine.jobs import Job
from rankbook.engine.looking import owners
from rankbook.engine.operations import ASIDE, operation
from rankbook.engine.values.diffing import digest_of
from rankbook.engine.values.expressions import harmless_item, value_of
from rankbook.engine.values.kinds import class_name
from rankbook.errors import EngineError
from rankbook.models import to_dict
from rankbook.models.inspecting import Inspect, Inspected, ListVariables, Understands, Variable

__all__ = ["inspect", "list_variables", "understands"]

_PATIENCE = 0.2
"""Seconds for inspecting a value; the session waits a little longer."""

_LONGEST = 2_000
"""How many characters of a value or a docstring are sent."""

_HASHED = 64 * 1024 * 1024
"""The most bytes of a value that is compared with other ranks."""

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
"""IPython's names of the fields, by title."""


@operation(Inspect, on=ASIDE)
def inspect(job: Job, request: Inspect) -> Inspected:
    """Describe a name as IPython does; only its class where the value prevents that."""
    outline, asides = _outline(job.engine.namespace, request.name), job.engine.asides
    try:
        with asides.looking_at(request.name):
            found = asides.within(_PATIENCE, lambda: _by_ipython(job, request))
    except (TimeoutError, EngineError):
        fields, why = outline, "(looking at it takes too long)"
    except BaseException as error:  # noqa: BLE001 - of a user's class
        fields, why = outline, f"(looking at it raises {type(error).__name__})"
    else:
        fields, why = found or outline, ""
    if outline and "Value" not in fields and "Type" in fields and why:
        fields = fields | {"Value": why}
    return Inspected(bool(fields), fields)


def _by_ipython(job: Job, request: Inspect) -> dict[str, str]:
    """IPython's fields for a name, by title; empty if it does not know the name."""
    shell = job.engine.kernel.shell
    if "[" in request.name:
        value = value_of(request.name, job.engine.namespace, harmless_item)
        found = shell.inspector.info(value, oname=request.name, detail_level=request.detail)
    else:
        found = shell.object_inspect(request.name, detail_level=request.detail)
    if not found["found"] and "[" not in request.name:
        return {}
    fields = {title: str(found[key])[:_LONGEST] for title, key in _FIELDS.items() if found.get(key)}
    if request.detail == 0:
        fields.pop("Source", None)
    if owners.is_cell(fields.get("File", "")):
        del fields["File"]  # for a cell, this file name differs between ranks
    return fields


def _outline(names: dict[str, Any], name: str) -> dict[str, str]:
    """What is known about a name without reading its value; empty if it does not exist."""
    first, *rest = name.split(".")
    if first not in names:
        return {}
    value = names[first]
    try:
        for part in rest:
            value = getattr_static(value, part)
        told = getattr_static(value, "__doc__")
    except (AttributeError, ValueError):  # not there, or found in another way
        return {"Type": class_name(value)} if not rest else {}
    fields = {"Type": class_name(value)}
    return fields | {"Docstring": told[:_LONGEST]} if type(told) is str else fields


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
        # Of its type: a user's class may have a __class__ that raises.
        and not issubclass(type(value), types.ModuleType)
    ]


@operation(Understands, on=ASIDE)
def understands(job: Job, request: Understands) -> bool:
    """Whether a cell is valid here, whose cells may have added input transformers."""
    if job.engine.job is not None:  # that may use them
        return False
    try:
        code = job.engine.kernel.shell.transform_cell(request.code)
        compile(code, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except Exception:  # noqa: BLE001 - of a person's transformer
        return False
    return True


_GIVEN = {"dist", "rank", "world_size", "local_rank", "device", "dist_info", "torch"}


def _variable(name: str, value: Any) -> Variable:
    """Describe a variable; only its type if it cannot be read."""
    kind = class_name(value)
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
    except Exception:  # noqa: BLE001 - of a user's class, or a tensor that has no data
        return Variable(name, kind)
    return Variable(name, kind)


def _digest(tensor: torch.Tensor) -> str:
    """A hash of a tensor's bytes; empty where it is too large, or not in this host's memory."""
    if tensor.numel() * tensor.element_size() > _HASHED or not tensor.is_cpu:
        return ""
    return digest_of(tensor.detach())
