"""Running a script on this rank as a launcher would: like a new process, in all but name.

Its process group, its variables, its signal handlers are its own; what a rank has of these is put
back afterwards. Its names are left for looking at, as IPython's ``%run`` leaves them.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import inspect
import io
import linecache
import os
import signal
import sys
import traceback
import types
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

from torch.distributed import distributed_c10d

from rankbook import folders
from rankbook.distributed import environment, remote
from rankbook.engine.cells.former import Former
from rankbook.engine.cells.fresh import at_exit, fresh
from rankbook.engine.cells.left import Left
from rankbook.engine.cells.workers import Workers
from rankbook.engine.cells.written import OpenFiles, close_standard
from rankbook.engine.group.group import Group
from rankbook.engine.processes import children
from rankbook.models.cells import Script

__all__ = ["Ended", "below_torch", "call_hook", "execute", "former"]

_MAIN = "__main__"
_NO_FILE = 2
"""What Python ends with where it cannot open a script."""

_Show = Callable[[BaseException, int], object]

former = Former()
"""What the last script has left."""


@dataclass(frozen=True)
class Ended:
    """How a script has ended."""

    exit_code: int
    error: BaseException | None = None
    """What ended it, where its exit code is not 0."""
    left: str = ""
    """Threads and processes that it has left behind, in words."""


def execute(
    script: Script,
    group: Group,
    namespace: dict[str, Any],
    show: _Show,
) -> Ended:
    """Run a script; on the main thread.

    Args:
        script: Which.
        group: Is set aside meanwhile.
        namespace: Gets the script's names.
        show: Called with the exception that has ended it, and its exit code, if that is not 0.
    """
    before, files, interrupts = Left(), OpenFiles(), signal.getsignal(signal.SIGINT)
    module = types.ModuleType(_MAIN)
    if sys.version_info < (3, 14):
        vars(module)["__annotations__"] = {}
    launch = environment.read({**os.environ, **script.variables})
    stack = ExitStack()
    try:
        former.end(namespace)
        called = remote.has_begun()
        entry, argv = _entry(script), [script.path, *script.args]
        group.begin_script(launch, script)
        stack.enter_context(fresh(dict(script.variables), argv, [entry], script.folder, entry))
        stack.enter_context(_main(module))
        workers = Workers()
        error = _run(module, script, entry, before, show)
        code = exit_code(error)
        try:
            workers.end()
        except KeyboardInterrupt as interrupt:
            error, code = interrupt, exit_code(interrupt)
            show(error, code)
    finally:
        _ignore_interrupts()
        close_standard(vars(module))
        stack.close()
        files.complete()
        signal.signal(signal.SIGINT, interrupts)
    left, calls = before.since(), remote.has_begun() and not called
    if script.clean:
        left.end()
        vars(module).clear()
        former.keep({}, left, calls=calls)  # what could not be ended
    else:
        own = {name for name in vars(module) if name.startswith("__")} | group.names.values.keys()
        namespace.update({name: value for name, value in vars(module).items() if name not in own})
        former.keep(vars(module), left, calls=calls)
    return Ended(code, error if code else None, str(left))


def exit_code(error: BaseException | None) -> int:
    """What a Python process ends with that an exception has ended; None: none has."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        # The system keeps the lowest byte.
        return error.code & 0xFF if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return -signal.SIGINT
    return _NO_FILE if isinstance(error, FileNotFoundError) and error.__traceback__ is None else 1


def call_hook(error: BaseException) -> None:
    """Call the script's ``sys.excepthook``, where it has one of its own, with what has ended it."""
    hook = below_torch(sys.excepthook)
    if hook is sys.__excepthook__:
        return
    try:
        hook(type(error), error, error.__traceback__)
    except Exception:  # noqa: BLE001 - Python, too, shows it and goes on
        traceback.print_exc()


def below_torch(hook: Callable[..., object]) -> Callable[..., object]:
    """The hook that was there before torch made a group.

    Torch puts one around it that shows the traceback with the rank before each line. Ranks have
    theirs shown, and it would stand there twice.
    """
    while getattr(hook, "__module__", "") == distributed_c10d.__name__:
        hook = inspect.getclosurevars(hook).nonlocals.get("old_hook", sys.__excepthook__)
    return hook


def _run(
    module: types.ModuleType, script: Script, entry: str, before: Left, show: _Show
) -> BaseException | None:
    """Run it, and show the exception that has ended it; return that."""
    pid, error = os.getpid(), None

    def end(raised: BaseException) -> None:
        nonlocal error
        is_shown, error = raised is error, raised.with_traceback(_of_script(raised.__traceback__))
        if not is_shown and os.getpid() == pid and (code := exit_code(error)):
            show(error, code)

    try:
        code = _module(module, script.path) if script.is_module else _file(module, script.path)
        with at_exit(entry):
            try:
                exec(code, vars(module))  # noqa: S102 - what a person wants run
            except BaseException as raised:
                end(raised)  # as in Python: exit handlers know it from the script's hook
                if isinstance(raised, SystemExit):
                    before.wait()
                raise
            before.wait()
    except BaseException as raised:  # noqa: BLE001 - whatever ends it is told
        end(raised)
    if os.getpid() != pid:
        children.end(error)
    return error


def _entry(script: Script) -> str:
    """What Python puts in front of ``sys.path``: a script's folder; for a module where it runs."""
    here = script.folder if os.path.isdir(script.folder) else folders.here() or os.sep  # noqa: PTH112
    if script.is_module:
        return here
    path = Path(here, script.path).resolve()
    return str(path if path.is_dir() else path.parent)


def _file(module: types.ModuleType, name: str) -> CodeType:
    path = os.path.abspath(name)  # noqa: PTH100 - symbolic links stay, as in Python
    if os.path.isdir(path):  # noqa: PTH112
        path = os.path.join(path, "__main__.py")  # noqa: PTH118
    linecache.checkcache(path)
    module.__file__ = path
    loader = importlib.machinery.SourceFileLoader(_MAIN, path)
    module.__dict__.update(__builtins__=builtins, __cached__=None, __loader__=loader, __spec__=None)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise FileNotFoundError(error.errno, error.strerror, name).with_traceback(None) from None
    code: CodeType = compile(source, path, "exec", dont_inherit=True)
    return code


def _module(module: types.ModuleType, name: str) -> CodeType:
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    code = spec.loader.get_code(spec.name) if spec is not None and spec.loader else None  # type: ignore[attr-defined]
    if spec is None or code is None:
        raise ModuleNotFoundError(f"No module named {name}", name=name)
    linecache.checkcache(spec.origin or "")
    sys.argv[0] = spec.origin or name
    module.__dict__.update(
        __builtins__=builtins,
        __cached__=spec.cached,
        __file__=spec.origin,
        __loader__=spec.loader,
        __package__=spec.parent,
        __spec__=spec,
    )
    return code  # type: ignore[no-any-return]


class _main:  # noqa: N801 - a context manager
    """Has a module be ``__main__`` within the block: what pickles its classes looks there."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module
        self._outer = sys.modules[_MAIN]

    def __enter__(self) -> None:
        sys.modules[_MAIN] = self._module

    def __exit__(self, *_: object) -> None:
        sys.modules[_MAIN] = self._outer


def _of_script(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from the script's first line on; None where its code was not reached."""
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace


def _is_ours(trace: TracebackType) -> bool:
    name = trace.tb_frame.f_code.co_filename
    return name == __file__ or name.startswith("<frozen importlib")


def _ignore_interrupts() -> None:
    """What is put back now must be put back whole."""
    with suppress(KeyboardInterrupt):  # it arrives at the last moment
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
