"""The main thread's stack, frame by frame: Python with variables, C++ through py-spy."""

from __future__ import annotations

import linecache
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType

from rankbook.calls import places
from rankbook.engine.jobs import Job
from rankbook.engine.looking import frames, owners
from rankbook.engine.looking.locals import variables
from rankbook.engine.operations import ASIDE, operation
from rankbook.models.frames import Frame, GetFrames, Standing

__all__ = ["get_frames", "native", "standing"]

_DEEPEST = 40
"""How many of the innermost frames are shown."""

_WITH_VARIABLES = 4
"""How many of the innermost frames of user code are shown with their variables."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

_MACHINERY = ("(IPython/", "(rankbook/engine/")
"""Paths of the frames in py-spy's output that lead to a cell."""

_LONGEST = 100
"""How many characters of a native function's name are shown."""

_PATIENCE = 10.0
"""Seconds for py-spy."""


@operation(GetFrames, on=ASIDE)
def get_frames(_job: Job, request: GetFrames) -> Standing:
    """Report the main thread's stack."""
    found = standing(frames.main_frame()[0])
    if not request.native or not found.frames:
        return found
    told, why = native()
    return Standing(found.frames, told, why)


def standing(innermost: FrameType | None) -> Standing:
    """The frames from the cell, or the script, inwards."""
    stack: list[FrameType] = []
    frame, began = innermost, False
    while frame is not None and not began:
        if places.is_entrance(frame.f_code.co_filename):
            break
        stack.append(frame)
        began = owners.is_cell(frame.f_code.co_filename) and not _has_cell_above(frame)
        frame = frame.f_back
    if not began and frame is None:
        return Standing()
    stack = stack[:_DEEPEST]
    own = [each for each in stack if owners.is_user_code(each.f_code)][:_WITH_VARIABLES]
    return Standing(tuple(_told(each, with_variables=each in own) for each in reversed(stack)))


def _has_cell_above(frame: FrameType) -> bool:
    """Whether a cell called this frame, as when a function of an earlier cell is called."""
    above = frame.f_back
    while above is not None:
        if owners.is_cell(above.f_code.co_filename):
            return True
        above = above.f_back
    return False


def _told(frame: FrameType, *, with_variables: bool) -> Frame:
    code, line = frame.f_code, frame.f_lineno
    place = places.place_of(code, line)
    text = linecache.getline(code.co_filename, line).strip()
    where = f"{place} in {place.scope}" if place.is_cell and place.scope else str(place)
    found: dict[str, str] = {}
    if with_variables:
        with suppress(Exception):  # of a user's class, or it has changed meanwhile
            found = variables(frame)
    return Frame(where, text, found)


def native() -> tuple[tuple[str, ...], str]:
    """The main thread's functions of C++ and Python, the innermost first.

    Returns:
        The functions; and if there are none, why.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which("py-spy") or shutil.which("py-spy", path=beside)
    if program is None:
        return (), "py-spy is not installed there"
    command = [program, "dump", "--native", "--pid", str(os.getpid())]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"py-spy does not answer: {error}"
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        return (), f"py-spy cannot read the process: {lines[0].removeprefix('Error: ')}"
    return _of_main_thread(done.stdout), ""


def _of_main_thread(dump: str) -> tuple[str, ...]:
    """The frames of the main thread in what py-spy prints, up to those that run the cell."""
    ident = threading.main_thread().native_id
    found: list[str] = []
    is_main = False
    for line in _COLOURS.sub("", dump).splitlines():
        if line.startswith("Thread "):
            is_main = line.startswith(f"Thread {ident} ") or '"MainThread"' in line
        elif is_main and line.startswith("    "):
            if any(each in line for each in _MACHINERY):
                break
            if "(rankbook/calls/" not in line:
                found.append(_shortened(line.strip()))
    return tuple(found[:_DEEPEST])


def _shortened(line: str) -> str:
    """A frame without most of the arguments of C++ templates."""
    function, _, where = line.rpartition(" (")
    if len(function) > _LONGEST:
        function = f"{function[:_LONGEST]}…"
    return f"{function} ({where}"
