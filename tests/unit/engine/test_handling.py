"""The exception for which a rank waits in a finally, an except, an exit or a destructor."""

from __future__ import annotations

import contextlib
import gc
import linecache
import threading

import pytest
from processes import let_pass
from steps import SOON

from rankbook.cellnames import file_of
from rankbook.engine.looking import handling
from rankbook.engine.looking.raised import Reasons
from rankbook.models import Look


class Bench:
    """Code that stands still until another thread has looked."""

    def __init__(self):
        self._here, self._looked = threading.Event(), threading.Event()
        self.found = None

    def stop(self):
        self._here.set()
        assert self._looked.wait(SOON)

    def look(self, thread, is_user_code, see):
        assert self._here.wait(SOON)
        try:
            self.found = see(thread, is_user_code)
        finally:
            self._looked.set()


@pytest.fixture
def seen():
    """Runs code while another thread looks at what it raised."""

    def run(code, is_user_code=lambda trace: trace is not None, see=handling.raised_by):
        bench = Bench()
        main = threading.get_ident()
        watcher = threading.Thread(target=bench.look, args=(main, is_user_code, see))
        watcher.start()
        with contextlib.suppress(ValueError):
            code(bench.stop)
        watcher.join()
        return bench.found

    return run


def fail():
    raise ValueError("no data")


def in_finally(stop):
    try:
        raise ValueError("no data")
    finally:
        stop()


def in_except(stop):
    try:
        fail()
    except ValueError:
        stop()


def in_exit(stop):
    class Guard:
        def __enter__(self):
            pass

        def __exit__(self, *_):
            stop()

    with Guard():
        raise ValueError("no data")


def in_a_generators_finally(stop):
    def batches():
        try:
            yield from range(3)
        finally:
            stop()

    for _ in batches():
        raise ValueError("no data")


def behind_another_exception(stop):
    try:
        fail()
    except ValueError:
        try:
            next(iter(()))
        except StopIteration:
            stop()


KINDS = [in_finally, in_except, in_exit, in_a_generators_finally, behind_another_exception]


@pytest.mark.parametrize("code", KINDS, ids=lambda code: code.__name__)
def test_the_exception_is_found_that_has_not_ended_the_code(seen, code):
    error, trace = seen(code)
    assert repr(error) == "ValueError('no data')"
    assert trace is not None


def test_exceptions_that_are_kept_are_not_searched_for_one_by_one(seen, monkeypatch):
    """Each search takes a look at every object of the process."""

    def caught(number):
        try:
            return {}[number]
        except KeyError as error:
            return error

    kept = [caught(number) for number in range(50)]
    search, searched = gc.get_referrers, []
    monkeypatch.setattr(gc, "get_referrers", lambda x: (searched.append(x), search(x))[1])
    error, _ = seen(in_a_generators_finally)
    assert repr(error) == "ValueError('no data')"
    assert not set(map(id, searched)) & set(map(id, kept))


def test_exceptions_that_were_made_before_and_never_raised_are_not_searched_for(seen, monkeypatch):
    kept = {number: ValueError(number) for number in range(50)}
    gc.collect()  # they are old
    search, searched = gc.get_referrers, []
    monkeypatch.setattr(gc, "get_referrers", lambda x: (searched.append(x), search(x))[1])
    error, _ = seen(in_a_generators_finally)
    assert repr(error) == "ValueError('no data')"
    assert not set(map(id, searched)) & set(map(id, kept.values()))


def test_an_exception_that_was_caught_and_is_kept_is_not_on_its_way(seen):
    """Though its traceback has a frame that goes on, and asks a generator."""

    def code(stop):
        def batches():
            yield 1
            stop()

        kept = []
        for _ in range(2):
            try:
                if kept:
                    [*batches()]
                fail()
            except ValueError as error:  # noqa: PERF203 - it is what is tried
                kept.append(error)

    assert seen(code) is None


def test_an_exception_is_found_that_another_except_has_let_pass(seen):
    def code(stop):
        def batches():
            try:
                yield from range(3)
            finally:
                stop()

        for _ in batches():
            try:
                fail()
            except KeyError:  # noqa: PERF203 - it is what is tried
                stop = None

    error, _ = seen(code)
    assert repr(error) == "ValueError('no data')"


def test_an_exception_that_no_user_code_has_raised_is_of_no_interest(seen):
    assert seen(in_except, lambda _: False) is None


def test_a_generator_that_is_closed_in_time_has_raised_nothing(seen):
    def code(stop):
        def batches():
            try:
                yield 1
            finally:
                stop()

        for _ in batches():
            break

    assert seen(code) is None


def test_code_without_an_exception_handles_none(seen):
    assert seen(lambda stop: stop()) is None


class Closer:
    """Stops when it is destroyed."""

    def __init__(self, stop):
        self._stop = stop

    def __del__(self):
        self._stop()


def fail_beside(stop):
    closer = Closer(stop)
    fail()
    return closer


def at_the_end_of_except(stop):
    try:
        fail_beside(stop)
    except ValueError:
        skipped = True
    return skipped


def at_the_end_of_except_as(stop):
    try:
        fail_beside(stop)
    except ValueError as error:
        skipped = error.args
    return skipped


def where_except_leaves_a_loop(stop):
    for left in range(3):
        try:
            fail_beside(stop)
        except ValueError:  # noqa: PERF203 - it is what is tried
            if not left:
                break


def where_except_returns(stop):
    try:
        fail_beside(stop)
    except ValueError:
        return 1


def at_the_end_of_with(stop):
    with contextlib.suppress(ValueError):
        fail_beside(stop)


def a_generator_closed_at_the_end_of_except(stop):
    def batches():
        try:
            yield from range(3)
        finally:
            stop()

    def use():
        its = batches()
        next(its)
        fail()

    try:
        use()
    except ValueError:
        return 1


DROPPED = {
    at_the_end_of_except: "except ValueError:",
    at_the_end_of_except_as: "except ValueError as error:",
    where_except_leaves_a_loop: "except ValueError:",
    where_except_returns: "except ValueError:",
    at_the_end_of_with: "with contextlib.suppress(ValueError):",
    a_generator_closed_at_the_end_of_except: "except ValueError:",
}


@pytest.mark.parametrize(("code", "text"), DROPPED.items(), ids=[code.__name__ for code in DROPPED])
def test_the_except_is_found_whose_end_destroys_what_the_exception_kept(seen, code, text):
    found = seen(code, lambda its: its.co_filename == __file__, handling.when_dropped)
    (innermost, line), *_ = found
    assert innermost is code.__code__
    assert linecache.getline(__file__, line).strip().startswith(text)
    assert seen(code, lambda _: False, handling.when_dropped) is None


def test_an_object_destroyed_without_an_exception_is_linked_to_none(seen):
    def code(stop):
        closer = Closer(stop)
        try:
            fail()
        except ValueError:
            del closer

    assert seen(code, lambda its: its.co_filename == __file__, handling.when_dropped) is None


def test_the_original_is_what_was_handled_when_the_rank_was_freed():
    def is_end(error):
        return isinstance(error, KeyboardInterrupt)

    try:
        try:
            raise ValueError("no data")
        finally:
            raise KeyboardInterrupt
    except KeyboardInterrupt as interrupt:
        freed = interrupt
    assert repr(handling.original(freed, is_end, bool)) == "ValueError('no data')"
    assert handling.original(freed, is_end, lambda _: False) is None
    assert handling.original(KeyboardInterrupt(), is_end, bool) is None


@pytest.mark.parametrize(
    ("state", "still", "told"),
    [
        ("running", 1.0, "OSError: 404"),
        ("waiting", 1.0, "OSError: 404"),
        ("running", 0.0, ""),
        ("idle", 1.0, ""),
    ],
)
def test_a_rank_that_stands_still_in_an_except_is_reported_with_the_exception(state, still, told):
    """One that moves is not held up."""
    found = []
    source = "try:\n    raise OSError('404')\nexcept OSError:\n    look()\n"

    def look():
        found.append(Reasons().add_to(Look(state, still=still), None))

    exec(compile(source, file_of("In [4]"), "exec"), {"look": look})  # noqa: S102
    assert found[0].handles == told


@pytest.mark.parametrize(
    ("later", "told"),
    [
        ({"still": 60, "since": 60}, "KeyError: 1"),
        ({"still": 0.03, "since": 60}, "KeyError: 2"),
        ({"still": 60, "since": 0}, "KeyError: 2"),
        ({"still": 60, "since": 60, "polls": True}, "KeyError: 2"),
        ({"still": 60, "since": 60, "state": "running"}, "KeyError: 2"),
    ],
)
def test_the_exceptions_of_a_rank_that_waits_are_looked_for_once_until_it_moves(later, told):
    reasons, found = Reasons(), []
    source = "for n in 1, 2:\n  try:\n    raise KeyError(n)\n  except KeyError:\n    look()\n"
    looks = iter([{"still": 30, "since": 30}, later])

    def look():
        let_pass(0.06 * len(found))
        found.append(reasons.add_to(Look(**{"state": "waiting", **next(looks)}), None))

    exec(compile(source, file_of("In [4]"), "exec"), {"look": look})  # noqa: S102
    assert [each.handles for each in found] == ["KeyError: 1", told]
