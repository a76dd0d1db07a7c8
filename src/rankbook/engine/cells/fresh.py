"""Giving a script the state of a new process, and restoring the rank's state after it.

Under a launcher all of this ends with the process: variables, the folder, ``sys.argv``, signal
handlers, torch's defaults, the modules in the script's folder. In a rank, later cells and the next
script would find them.
"""

from __future__ import annotations

import asyncio
import atexit
import builtins
import faulthandler
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from rankbook.engine.cells import (
    chance,
    entered,
    logs,
    modules,
    once,
    operators,
    patches,
    plots,
    registries,
    settings,
)

__all__ = ["at_exit", "fresh"]


@contextmanager
def fresh(
    environ: dict[str, str], argv: list[str], path: list[str], folder: str, beside: str
) -> Iterator[None]:
    """Resemble a new process within the block.

    Args:
        environ: Environment variables to add or change.
        argv: The value of ``sys.argv``.
        path: Folders in front of ``sys.path``.
        folder: The working directory; unchanged where this host has no such folder.
        beside: The script's folder: its modules, and other own ones, are imported again, here and
            afterwards.
    """
    registries.forget()
    with ExitStack() as stack:
        for part in (
            settings.limits(),
            settings.descriptors(),
            _environment(environ),
            _folder(folder),
            _interpreter(argv, path),
            _event_loop(),
            _signals(),
            logs.put_back(),
            _builtins(),
            _start_method(),
            _fork_server(),
            chance.new(),
            settings.put_back(),
            plots.put_back(),
            once.interop_threads(),
            once.thread_variable(),
            modules.imported_again(beside),
            operators.defined_again(beside),
            warnings.catch_warnings(),
            entered.left_again(),  # before anything of torch's is put back
            patches.put_back(beside),  # before all of that: it calls libraries
            _timers(),  # first of all: the rest takes a moment
        ):
            stack.enter_context(part)
        yield


@contextmanager
def at_exit(folder: str) -> Iterator[None]:
    """At the end of the block, call the exit handlers that a script or own modules registered."""
    register, calls = atexit.register, list[tuple[Callable[..., Any], Any, Any]]()

    def registered(call: Callable[..., Any], *args: Any, **named: Any) -> Callable[..., Any]:
        caller = sys._getframe(1).f_globals.get("__name__")
        if caller != "__main__" and caller not in modules.own(folder):
            return register(call, *args, **named)
        calls.append((call, args, named))
        return call

    atexit.register = registered  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register
        while calls:
            call, args, named = calls.pop()
            try:
                call(*args, **named)
            except Exception as error:  # noqa: BLE001 - Python, too, shows it and goes on
                print(f"Exception ignored in atexit callback: {call!r}", file=sys.stderr)  # noqa: T201
                trace = error.__traceback__
                traceback.print_exception(type(error), error, trace and trace.tb_next)


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    environ = os.environ
    before = dict(environ)
    environ.update(more)
    try:
        yield
    finally:
        os.environ = environ  # noqa: B003 - scripts put a dict there; children inherit this one
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        # Only the differences: children may inherit other values than os.environ shows.
        os.environ.update({k: v for k, v in before.items() if os.environ.get(k) != v})
        time.tzset()


@contextmanager
def _folder(folder: str) -> Iterator[None]:
    before = None
    with suppress(OSError):  # it has been removed
        before = os.getcwd()  # noqa: PTH109 - Path.cwd is the same, and imports nothing less
    with suppress(OSError):  # it has been removed
        os.chdir(folder)
    mask = os.umask(0o077)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        with suppress(OSError):  # it was removed meanwhile
            os.chdir(before or folder)


@contextmanager
def _interpreter(argv: list[str], path: list[str]) -> Iterator[None]:
    hooks = ("excepthook", "unraisablehook", "displayhook", "breakpointhook")
    names = ("argv", "stdin", "stdout", "stderr", *hooks)
    before = {name: getattr(sys, name) for name in names}
    places, before_path, recursion = sys.path, sys.path[:], sys.getrecursionlimit()
    sys.argv, sys.excepthook, sys.displayhook = argv, sys.__excepthook__, sys.__displayhook__
    # In a rank, '' or the folder of the notebook is first, where Python has the script's.
    sys.path[:] = [*path, *(each for each in sys.path if each)]
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(sys, name, value)
        sys.path = places  # it may be another list
        places[:] = before_path
        sys.setrecursionlimit(recursion)


@contextmanager
def _event_loop() -> Iterator[None]:
    """Suspend the event loop and task of this thread, so that ``asyncio.run`` works."""
    loop = asyncio.get_running_loop()
    task: Any = asyncio.current_task()
    if task is not None:  # from Python 3.14 on, each thread runs one task, not each loop
        asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio._enter_task(loop, task)
        asyncio.set_event_loop(loop)


@contextmanager
def _signals() -> Iterator[None]:
    """Put back all handlers but that of SIGINT, which ends what runs: the caller does."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    numbers = signal.valid_signals() - {signal.SIGINT}
    before = {number: signal.getsignal(number) for number in numbers}
    # On SIGTERM, a rank waits for its cell; a script ends at once, as a process does.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in numbers:
            with suppress(RuntimeError):  # it is of those that faulthandler has enabled
                faulthandler.unregister(number)
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _timers() -> Iterator[None]:
    """End the timers of the script with it: they would end the rank later."""
    try:
        yield
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _builtins() -> Iterator[None]:
    """Restore builtins: scripts replace ``print`` on some ranks.

    Many scripts take no arguments where they find IPython's mark, as nobody gives any to a cell.
    """
    names = vars(builtins)
    before = dict(names)
    names.pop("__IPYTHON__", None)
    ask, nobody = builtins.input, sys.stdin

    def read(prompt: object = "", /) -> str:
        """Ask in the notebook, or read from what the script has put in place of stdin."""
        if sys.stdin is nobody:
            return ask(prompt)
        print(prompt, end="", flush=True)  # noqa: T201 - as Python's own
        if not (line := sys.stdin.readline()):
            raise EOFError("EOF when reading a line")
        return line.removesuffix("\n")

    builtins.input = read
    try:
        yield
    finally:
        for name in names.keys() - before.keys():
            del names[name]
        names.update(before)


@contextmanager
def _start_method() -> Iterator[None]:
    """Let the script set the start method once, as a process may."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(None, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@contextmanager
def _fork_server() -> Iterator[None]:
    """Give the script its own fork server, which ends with it.

    The fork server imports the script once. Workers that it forked for the next script, or for this
    script after an edit, would run the old code.
    """
    server: Any = multiprocessing.forkserver._forkserver
    before = dict(vars(server))
    server.__init__()
    try:
        yield
    finally:
        if (pid := server._forkserver_pid) is not None:
            os.close(server._forkserver_alive_fd)
            with suppress(OSError):  # it was ended
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        vars(server).clear()
        vars(server).update(before)
