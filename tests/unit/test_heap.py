"""Finding objects by their class, beside code that must not notice."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from types import TracebackType

import pytest

from rankbook.calls import Ledger
from rankbook.engine.looking import frames
from rankbook.engine.looking.handling import raised_by
from rankbook.heap import instances, uncollected


class Kind:
    """Does something when it is asked for its class."""

    asked = 0

    @property
    def __class__(self):
        Kind.asked += 1
        return int


class Derived(Kind):
    pass


def test_objects_of_some_classes_and_of_derived_ones_are_found():
    first, second, error = Kind(), Derived(), ValueError()
    found = instances(Kind, BaseException)
    assert {id(first), id(second), id(error)} <= {id(one) for one in found}
    assert all(issubclass(type(one), (Kind, BaseException)) for one in found)
    assert Kind.asked == 0
    assert gc.isenabled()


def test_searching_instances_leaves_no_reference_to_other_objects():
    other = [object()]
    before = sys.getrefcount(other)
    assert other not in instances(Kind)
    assert sys.getrefcount(other) == before


def test_the_collector_stays_off_where_it_was():
    gc.disable()
    try:
        instances(Kind)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def as_set_before():
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)
    gc.enable()


def test_no_garbage_is_collected_in_a_block_and_some_is_after_it(as_set_before):
    collected = []
    gc.callbacks.append(lambda phase, _: collected.append(phase))
    try:
        with uncollected():
            for _ in range(3 * as_set_before[0]):
                one = Kind()
                one.itself = one
            assert collected == []
        for _ in range(3 * as_set_before[0]):
            one = Kind()
            one.itself = one
        assert collected
    finally:
        gc.callbacks.pop()
    assert gc.get_threshold() == as_set_before


def test_a_collector_that_is_turned_off_in_a_block_stays_off(as_set_before):
    with uncollected():
        assert gc.isenabled()
        gc.disable()
    assert not gc.isenabled()


def test_thresholds_that_are_set_in_a_block_stay(as_set_before):
    with uncollected():
        gc.set_threshold(5000, 7, 9)
    assert gc.get_threshold()[:2] == (5000, 7)


def test_thresholds_that_were_read_in_a_block_and_set_after_it_are_right_again(as_set_before):
    with uncollected():
        read = gc.get_threshold()
    gc.set_threshold(*read)
    with uncollected():
        pass
    assert gc.get_threshold() == as_set_before


def test_a_block_goes_on_when_that_of_another_thread_ends(as_set_before):
    with uncollected():
        thread = threading.Thread(target=instances, args=[Kind])
        thread.start()
        thread.join()
        assert gc.get_threshold() != as_set_before
    assert gc.get_threshold() == as_set_before


@pytest.mark.parametrize(
    "look",
    [
        lambda thread: instances(BaseException, TracebackType),
        lambda thread: raised_by(thread, lambda trace: True),
    ],
    ids=["instances", "raised_by"],
)
def test_a_tuple_that_is_being_made_of_a_generator_is_finished(look):
    def numbers():
        for number in range(2000):
            if number == 1000:
                thread = threading.Thread(target=look, args=[threading.main_thread().ident])
                thread.start()
                thread.join()
            yield number

    assert len(tuple(numbers())) == 2000


@pytest.mark.parametrize(
    "look",
    [
        lambda thread: Ledger().waits.by_thread((0, 0)),
        lambda thread: frames.user_threads(),
        lambda thread: frames.other_threads_in_torch_distributed(),
        frames.waits_for_thread,
        frames.line_of,
        lambda thread: raised_by(thread, lambda trace: True),
    ],
    ids=["by_thread", "user_threads", "torch", "waits_for_thread", "line_of", "raised_by"],
)
def test_what_a_thread_has_worked_on_ends_with_it_although_it_was_looked_at(look):
    refs, begun, end = [], threading.Event(), threading.Event()

    def work():
        one = Kind()
        refs.append(weakref.ref(one))
        begun.set()
        end.wait(60)

    gc.disable()
    try:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait(60)
        look(thread.ident)
        end.set()
        thread.join()
        assert refs[0]() is None
    finally:
        gc.enable()
