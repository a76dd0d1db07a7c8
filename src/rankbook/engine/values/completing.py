"""Completing what the user types, with the names and values of this rank.

A user's ``__dir__`` or ``__getattr__`` may block, print or raise. So it is done aside, in a
thread whose output is dropped and which nobody waits for long.
"""

from __future__ import annotations

import builtins
import inspect
import re
import types
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from keyword import iskeyword
from typing import Any

import torch
from IPython.core.completer import ProvisionalCompleterWarning, provisionalcompleter

from rankbook.engine.jobs import Job
from rankbook.engine.operations import ASIDE, operation
from rankbook.engine.values.attributes import attributes
from rankbook.engine.values.expressions import harmless_item, value_of
from rankbook.errors import InputError
from rankbook.models.inspecting import Complete, Completion, Completions

__all__ = ["complete"]

# IPython makes it an error. Once for all: a thread that sets filters of warnings for a while, and
# then puts back what it found, undoes what the cell that runs has set meanwhile.
warnings.filterwarnings("ignore", category=ProvisionalCompleterWarning)

_MOST = 5_000
"""The most completions sent; a front end filters these as more is typed."""

_ITEM = r"""\[(?:[^][\n"']*|"[^"\n]*"|'[^'\n]*')\]"""
_VALUE = rf"""(?<![\w.)\]"'])(?P<value>[^\W\d]\w*(?:\.[^\W\d]\w*|{_ITEM})*)"""
"""``model.layers[0]``, ``state['0.weight']``: expressions that need no call."""

_ATTRIBUTE = re.compile(rf"{_VALUE}\.(?P<begun>\w*)\Z")
_KEY = re.compile(rf"""{_VALUE}\[(?:(?P<quote>["'])(?P<begun>[^"'\\\n]*))?\Z""")
_IMPORT = re.compile(r"\s*(?:import|from)\b")

_KINDS: dict[str, tuple[type, ...]] = {
    "module": (types.ModuleType,),
    "class": (type,),
    "function": (
        types.FunctionType,
        types.MethodType,
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.ClassMethodDescriptorType,
        staticmethod,
        classmethod,
    ),
    "property": (property,),
}
"""Jedi's names of the kinds of completions, which front ends know; by default "instance"."""

_PLAIN = (str, bytes, int, float, bool, type(None))
"""Types of keys that are written without quotation marks."""


@operation(Complete, on=ASIDE)
def complete(job: Job, request: Complete) -> Completions:
    """Complete what is typed: attributes, keys, and what else IPython finds without Jedi."""
    line = request.code[: request.cursor].rpartition("\n")[2]
    names = job.engine.namespace
    for pattern, ways, kind in ((_ATTRIBUTE, _attributes, _kind), (_KEY, _keys, _kind_of_key)):
        typed = None if _IMPORT.match(line) else pattern.search(line)
        if typed is None or re.match(r"\w+", typed["value"])[0] not in names:  # type: ignore[index]
            continue
        with job.engine.asides.looking_at(typed["value"]):
            try:
                value = value_of(typed["value"], names, harmless_item)
                found = ways(value, typed)
            except (InputError, AttributeError):
                break  # IPython may know a needed call as harmless
        if found is not None:
            start = request.cursor - len(typed["begun"] or "")
            told = (Completion(text, kind(value, text)) for text in islice(found, _MOST))
            return Completions(start, tuple(told))
    return _by_ipython(job.engine.kernel.shell.Completer, request, names)


def _attributes(value: Any, typed: re.Match[str]) -> Iterable[str]:
    return attributes(value, typed["begun"])


def _kind(value: Any, name: str) -> str:
    """The kind of an attribute, if known without reading it, which may run code."""
    with suppress(Exception):  # of a class that is none
        return _kind_of(inspect.getattr_static(value, name))
    return "instance"


def _kind_of(found: Any) -> str:
    kinds = (kind for kind, classes in _KINDS.items() if issubclass(type(found), classes))
    return next(kinds, "instance")


def _kind_of_key(_value: Any, _key: str) -> str:
    return "key"


def _keys(value: Any, typed: re.Match[str]) -> Iterable[str] | None:
    """Keys of a dict, or of a module that acts as one; None for anything else."""
    kind = type(value)
    if issubclass(kind, dict):
        keys: list[Any] = [*dict.keys(value)]
    elif issubclass(kind, (torch.nn.ModuleDict, torch.nn.ParameterDict)):
        keys = [*value.keys()]
    else:
        return None
    quote, begun = typed["quote"], typed["begun"]
    if quote:
        return (
            _quoted(key, quote)
            for key in keys
            if type(key) is str and key.startswith(begun) and key.isprintable()
        )
    return (repr(key) for key in keys if type(key) in _PLAIN)


def _quoted(key: str, quote: str) -> str:
    """A text escaped for a quotation mark."""
    return key.replace("\\", "\\\\").replace(quote, f"\\{quote}")


def _by_ipython(completer: Any, request: Complete, names: Mapping[str, Any]) -> Completions:
    """Complete as IPython does without Jedi, which only reads code."""
    completer.use_jedi = False
    try:
        found = [*completer.completions(request.code, request.cursor)]
    except ProvisionalCompleterWarning:  # the cell has set filters of its own
        with provisionalcompleter():
            found = [*completer.completions(request.code, request.cursor)]
    start = min((one.start for one in found), default=request.cursor)
    texts = {request.code[start : one.start] + one.text: one.type for one in found}
    ways = [
        Completion(text, _kind_of_name(text, names) if kind in _UNKNOWN else kind)
        for text, kind in islice(texts.items(), _MOST)
    ]
    return Completions(start, tuple(ways))


def _kind_of_name(name: str, names: Mapping[str, Any]) -> str:
    """The kind of a name's value; empty if this rank has no such name."""
    if iskeyword(name):
        return "keyword"
    for known in (names, vars(builtins)):
        if name in known:
            return _kind_of(known[name])
    return "magic" if name.startswith("%") else ""


_UNKNOWN = ("", "<unknown>", None)
"""Kinds that IPython gives for unknown things."""
