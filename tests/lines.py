"""What each rank has said, out of what a cell shows."""

from __future__ import annotations

import re

from rankbook.ranks import parse

__all__ = ["by_rank"]

_LINE = re.compile(r"\[([\d,-]+)\] (.*)")


def by_rank(text, world_size):
    """The lines of each rank, however many ranks each line was shown for.

    A rank that is late says what others have said before it in a line of its own. How late that is
    depends on the machine; ``tests/unit/display/test_lines.py`` has the rule, and its own clock.

    Args:
        text: Of one line per item.
        world_size: Number of ranks.
    """
    said = {rank: [] for rank in range(world_size)}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        assert match, f"not a rank's line: {line!r}"
        for rank in parse(match[1], world_size):
            said[rank].append(match[2])
    return said
