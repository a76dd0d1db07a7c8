"""Options of sbatch: parsed, and passed on unchanged."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from rankbook.errors import InputError

__all__ = ["JobOptions", "name_of", "number", "quoted", "read", "value_of"]

JobOptions: TypeAlias = "str | Mapping[str, object] | bool"
"""``"partition=gpu exclusive"``, ``{"partition": "gpu", "exclusive": True}``, or True for none."""


_SHORT = {
    "-N": "--nodes",
    "-n": "--ntasks",
    "-o": "--output",
    "-e": "--error",
    "-i": "--input",
    "-a": "--array",
    "-W": "--wait",
    "-J": "--job-name",
    "-M": "--clusters",
    "-h": "--help",
    "-V": "--version",
}
_GLUED = re.compile(r"^(-[NnoeiaJM])=?(\S+)$")
"""``-N2``, which sbatch accepts, too."""

_OURS = {
    "--output": "where output goes",
    "--error": "where output goes",
    "--input": "where input comes from",
    "--array": "how many jobs there are",
    "--wrap": "what the job runs",
    "--parsable": "how sbatch answers",
    "--wait": "when sbatch returns",
    "--job-name": "the job's name, by which it is found",
    "--clusters": "which cluster it asks",
    "--help": "what sbatch does",
    "--usage": "what sbatch does",
    "--version": "what sbatch does",
    "--test-only": "what sbatch does (--dry-run shows the job script)",
}


def read(asked: JobOptions) -> Iterable[str]:
    """Read options: ``--partition=gpu``, ``-p gpu``, ``--exclusive``.

    Raises:
        InputError: It is not a text or mapping, or rankbook itself decides one of the options.
    """
    if not isinstance(asked, (bool, str, Mapping)):
        raise InputError(
            f"{asked!r} are not options of sbatch: give a text, 'partition=gpu exclusive', or "
            "{'partition': 'gpu', 'exclusive': True}."
        )
    for each in _all(asked):
        if "\n" in each:
            raise InputError(f"An option of sbatch is one line, and {each!r} is not.")
        name = name_of(each)
        # sbatch accepts an abbreviated name.
        for ours, what in _OURS.items():
            if name == ours or (len(name) > len("--o") and ours.startswith(name)):
                raise InputError(f"rankbook decides {what}: leave out {each}.")
        yield each


def _all(asked: JobOptions) -> Iterable[str]:
    if isinstance(asked, bool):
        return
    if isinstance(asked, Mapping):
        for key, value in asked.items():
            dashed = f"-{key}" if len(str(key)) == 1 else f"--{str(key).replace('_', '-')}"
            if value is True or value == "":
                yield dashed
            elif value is not None and value is not False:
                yield f"{dashed}={value}" if len(dashed) > 2 else f"{dashed} {value}"  # noqa: PLR2004
        return
    try:
        words = shlex.split(asked)
    except ValueError as error:
        raise InputError(f"{asked!r} are not options of sbatch: {error}.") from None
    while words:
        word = _GLUED.sub(r"\1 \2", words.pop(0))
        is_open = word.startswith("-") and not re.search("[= ]", word)
        if is_open and words and not words[0].startswith("-") and "=" not in words[0]:
            word += f"{'=' if word.startswith('--') else ' '}{words.pop(0)}"
        yield word if word.startswith("-") else f"--{word}"


_PLAIN = re.compile(r"[\w.,:/+@%=*\[\]-]*")
"""A value that means the same in a job script with and without quotation marks."""


def quoted(option: str) -> str:
    """An option as a line of a job script has it, where quotes, spaces and ``#`` have a meaning."""
    match = re.fullmatch(r"(-\w |--[^=]*=)(.*)", option)
    if match is None or _PLAIN.fullmatch(match[2]):
        return option
    escaped = re.sub(r'(["\\])', r"\\\1", match[2])
    return f'{match[1]}"{escaped}"'


def name_of(option: str) -> str:
    """The name of an option, the long one where rankbook knows it."""
    name = re.split(r"[= ]", option, maxsplit=1)[0]
    return _SHORT.get(name, name)


def value_of(options: Iterable[str], *names: str) -> str | None:
    """The value of the first option that has one of some names; None without one."""
    for each in options:
        if name_of(each) in names:
            return re.split(r"[= ]", each, maxsplit=1)[1] if re.search("[= ]", each) else ""
    return None


def number(options: Iterable[str], name: str, shown: str, given: int | None) -> int | None:
    """A number given by our own option, among sbatch's options, or not at all.

    Args:
        options: The options of sbatch.
        name: The name of sbatch's option.
        shown: The name of our option, for messages.
        given: The value of our option.

    Raises:
        InputError: It is not a number, or both are given and differ.
    """
    value = value_of(options, name)
    if value is None:
        return given
    if not value.isdigit() or not int(value):
        raise InputError(f"{name}={value} is not a number: give {shown} one, for example 2.")
    if given not in (None, int(value)):
        raise InputError(f"{shown} {given} contradicts {name}={value}: leave out one of them.")
    return int(value)
