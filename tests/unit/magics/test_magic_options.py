"""Options of magics: declared once, read by magics, the documentation and any argparse."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from rankbook.magics import families, options
from rankbook.magics.options import RANKS, Option, option
from rankbook.magics.usage import parse_with_code, parse_with_expression, takes

DECLARED = {
    name: value for name in options.__all__ if isinstance(value := getattr(options, name), Option)
}
MAGICS = {
    name: getattr(family, name)
    for family in families()
    for names in family.magics.values()
    for name in names
}


def flags(magic, *, with_value):
    taken = [each for each in getattr(magic, "options", ()) if each.names[0].startswith("-")]
    return {name for each in taken if each.takes_value == with_value for name in each.names}


@pytest.mark.parametrize("name", DECLARED)
def test_a_plain_argparse_parser_takes_the_option(name):
    parser = argparse.ArgumentParser("rankbook")
    parser.add_argument(*DECLARED[name].names, **DECLARED[name].settings)
    assert DECLARED[name].settings["help"].split()[-1] in parser.format_help()


def test_options_can_be_read_without_ipython():
    code = "import sys, rankbook.magics.options; print('IPython' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False"]


def test_a_variant_of_an_option_leaves_the_original_alone():
    changed = options.RANKS.but(help="From which ranks.")
    assert changed.names == options.RANKS.names
    assert changed.settings == {**options.RANKS.settings, "help": "From which ranks."}
    assert options.RANKS.settings["help"] != "From which ranks."


@pytest.mark.parametrize("name", MAGICS)
def test_whether_an_option_takes_a_value_is_what_its_parser_says(name):
    parser = getattr(MAGICS[name], "parser", argparse.ArgumentParser(add_help=False))
    for with_value in (True, False):
        for flag in flags(MAGICS[name], with_value=with_value):
            action = parser._option_string_actions[flag]
            assert (action.nargs != 0) == with_value


def test_a_new_option_with_a_value_is_kept_apart_from_the_code_behind_it():
    @takes(option("--where", help="Where."), option("--quick", action="store_true", help="Hurry."))
    def magic(self, line, cell=None):
        """Run code."""

    args, code = parse_with_code(magic, "--quick --where here x -1")
    assert (args.quick, args.where, code) == (True, "here", "x -1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--trace x.sum()", ("default", "x.sum()")),
        ("--trace=t.json x.sum()", ("t.json", "x.sum()")),
        ("x.sum()", (None, "x.sum()")),
    ],
)
def test_a_value_that_may_be_left_out_stands_behind_an_equals_sign(line, expected):
    @takes(option("--trace", nargs="?", const="default", help="Record."))
    def magic(self, line, cell=None):
        """Run code."""

    args, code = parse_with_code(magic, line)
    assert (args.trace, code) == expected


@pytest.mark.parametrize(
    ("line", "ranks", "every", "expression"),
    [
        ("x", "all", False, "x"),
        ("-r 0 x", "0", False, "x"),
        ("x -r 0", "0", False, "x"),
        ("model.state_dict() --ranks dp=0,tp=1", "dp=0,tp=1", False, "model.state_dict()"),
        ("x -r", "all", False, "x -r"),
        ("x - r", "all", False, "x - r"),
        ("x -r -1", "all", False, "x -r -1"),
        ("f(x, y=1) --every", "all", True, "f(x, y=1)"),
        ("--every x + 1 -r 0-2", "0-2", True, "x + 1"),
        ("x --every -r 1", "1", True, "x"),
        ("--every", "all", True, ""),
        ("-r 1", "1", False, ""),
        ("{'a': x, 'b': y}  -r  0,2", "0,2", False, "{'a': x, 'b': y}"),
    ],
)
def test_options_stand_before_an_expression_or_behind_it(line, ranks, every, expression):
    @takes(RANKS, option("--every", action="store_true", help="Watch it."))
    def magic(self, line, cell=None):
        """Look at an expression."""

    args, found = parse_with_expression(magic, line)
    assert (args.ranks, args.every, found) == (ranks, every, expression)
