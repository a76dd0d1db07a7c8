"""Reading the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rankbook.cli.ends import End, RefusedError
from rankbook.cli.printing import for_terminal, say
from rankbook.errors import InputError, RankbookError
from rankbook.magics.options import (
    CLUSTER_ID,
    RANKS,
    SAVE,
    SELECTION,
    TIMEOUT_SECONDS,
    Option,
    option,
)

__all__ = ["main", "parser"]

_INTERRUPTED = 130
"""What a shell reports of a command that Ctrl-C has ended."""

_PIPE = 141
"""What a shell reports of a command that SIGPIPE has ended."""

_CLUSTER = CLUSTER_ID.but(
    help="Its id, as `clusters` lists it, or the path of its connection file. "
    "Default: the only one that runs."
)
_JSON = option("--json", action="store_true", help="Print JSON.")

_TAKES: dict[str, tuple[str, tuple[Option, ...]]] = {
    "status": ("one table of all ranks", (_CLUSTER,)),
    "why": ("what the ranks do or wait for, and why", (SAVE, _CLUSTER)),
    "stacks": ("the Python stack of every rank", (_CLUSTER,)),
    "run": (
        "run code on ranks",
        (
            option("code", metavar="CODE", help="A cell, or - for standard input."),
            RANKS,
            TIMEOUT_SECONDS.but(help="Interrupt it after S seconds."),
            _CLUSTER,
        ),
    ),
    "interrupt": ("free the ranks, whatever they do; variables stay", (_CLUSTER,)),
    "restart": (
        "replace ranks that ended, or those that are named",
        (
            SELECTION,
            option("--from", dest="source", metavar="RANK", help="Copy its variables to them."),
            _CLUSTER,
        ),
    ),
    "clusters": ("the clusters of yours that run on this host", ()),
    "skill": ("how a coding agent uses these commands", ()),
}


class _Parser(argparse.ArgumentParser):
    """Reports a mistake as every other error is reported."""

    def error(self, message: str) -> NoReturn:
        raise RefusedError(End.USAGE, f"{self.prog}: {message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = _Parser(
        "python -m rankbook",
        description="Look at the ranks of a notebook from a terminal, also while they hang, and "
        "act on those that no notebook uses.",
        epilog="Exit codes: "
        + "; ".join(f"{end.value} {end.name.lower().replace('_', ' ')}" for end in End)
        + f"; {_INTERRUPTED} Ctrl-C.",
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (what, options) in _TAKES.items():
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        for each in (*options, _JSON):
            command.add_argument(*each.names, **each.settings)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command; return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    options = argparse.Namespace(command="", json="--json" in given)
    try:
        options = parser().parse_args(given)
        # ipyparallel comes with it, which a mistake in the command line need not wait for.
        from rankbook.cli.commands import COMMANDS

        return COMMANDS[options.command](options)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read what is printed has read enough (`| head`); the interpreter flushes at its end.
        _discard_output()
        return _PIPE
    except OSError as error:  # a full disk, say, where the output goes
        _discard_output()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return End.ERROR
    except RankbookError as error:
        end = _end_of(error)
        # A refusal may name what is to be typed in the notebook.
        text = str(error) if isinstance(error, RefusedError) else for_terminal(str(error))
        if options.json:
            say(options, "", {"error": text, "exit": int(end)})
        print(text, file=sys.stderr)  # noqa: T201
        return end


def _discard_output() -> None:
    """Let the interpreter flush at its end what cannot be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_of(error: RankbookError) -> End:
    if isinstance(error, RefusedError):
        return error.end
    return End.USAGE if isinstance(error, InputError) else End.ERROR
