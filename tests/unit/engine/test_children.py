"""What forked children of an engine do with signals; forked from processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
    import os, select, signal, threading, time
    from rankbook.engine.processes import children

    def handler(signum, frame):
        os.write(told[1], b"the engine's")
    handler.__module__ = "ipyparallel.engine.app"
    told = os.pipe()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, handler)
    within = lambda: None
    os.register_at_fork(before=lambda: within())
    children.install()

    there = os.pipe()
    def ready():
        os.write(there[1], b"!")

    def child(signum, body=lambda: None):
        pid = os.fork()
        if not pid:
            try:
                body()
                # Not one long sleep: a signal between Python's last look and it would not end it.
                for _ in range(6000): time.sleep(0.01)
            except KeyboardInterrupt:
                os._exit(3)
            os._exit(4)
        if body is ready: os.read(there[0], 1)
        os.kill(pid, signum)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def python(code):
    code = textwrap.dedent(PREAMBLE) + textwrap.dedent(code)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split()


def test_a_signal_ends_a_child_however_early_it_comes():
    code = """
        print({child(signal.SIGTERM) for _ in range(300)} == {-signal.SIGTERM})
        print(select.select([told[0]], [], [], 0)[0])
    """
    assert python(code) == ["True", "[]"]


def test_sigint_interrupts_a_child():
    code = """
        print(child(signal.SIGINT, ready), select.select([told[0]], [], [], 0)[0])
    """
    assert python(code) == ["3", "[]"]


def test_sigterm_ends_a_child_that_another_thread_has_forked():
    code = """
        codes = []
        def fork():
            codes.extend(child(signal.SIGTERM) for _ in range(50))
        threads = [threading.Thread(target=fork) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(codes), *set(codes))
    """
    assert python(code) == ["200", "-15"]


def test_the_parent_keeps_its_handlers_and_signals_that_came_during_a_fork():
    code = """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        within = lambda: os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(20):
            print(child(signal.SIGTERM), end=" ")
        print(os.read(told[0], 4096).count(b"engine"))
        print({signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)} == {handler})
        print(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before)
    """
    assert python(code) == ["-15"] * 20 + ["20", "True", "True"]


def test_a_child_inherits_a_handler_that_a_user_has_set():
    code = """
        mine = os.pipe()
        signal.signal(signal.SIGTERM, lambda *_: (os.write(mine[1], b"mine"), os._exit(7)))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(child(signal.SIGTERM), os.read(mine[0], 9).decode())
        print(child(signal.SIGTERM, lambda: os.kill(os.getpid(), signal.SIGINT)))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        def blocked():
            os._exit(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        print(child(signal.SIGTERM, blocked))
    """
    assert python(code) == ["7", "mine", "7", "1"]


def test_a_child_does_not_write_to_the_event_loop_of_its_parent():
    code = """
        loop = os.pipe()
        os.set_blocking(loop[1], False)
        signal.set_wakeup_fd(loop[1])
        print(child(signal.SIGINT, ready), select.select([loop[0]], [], [], 0)[0])
        print(signal.set_wakeup_fd(-1) == loop[1])
    """
    assert python(code) == ["3", "[]", "True"]


@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_the_handlers_for_children_can_be_installed_twice(how):
    code = f"""
        import multiprocessing
        children.install()
        process = multiprocessing.get_context({how!r}).Process(target=time.sleep, args=(60,))
        process.start()
        process.terminate()
        process.join(30)
        print(process.exitcode)
    """
    assert python(code) == ["-15"]
