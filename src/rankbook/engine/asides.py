"""Threads that look at a user's objects, where they may block: no caller waits long for them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rankbook.errors import EngineError

__all__ = ["Asides"]

_MOST = 24
"""How many threads may block at the same time."""

_MOST_OF_ONE = 2
"""How many threads may look at one thing at a time: what blocks one blocks the next."""

_T = TypeVar("_T")


class Asides:
    """The threads of one engine."""

    def __init__(self, muted: set[int]) -> None:
        """Start without threads.

        Args:
            muted: Threads whose output is dropped; these threads are added.
        """
        self._muted = muted
        self._threads: set[threading.Thread] = set()
        self._looking: Counter[str] = Counter()
        self._lock = threading.Lock()

    def start(self, act: Callable[[], None]) -> threading.Thread:
        """Do something in its own thread.

        Raises:
            EngineError: Too many of them block.
        """
        if len(self._threads) >= _MOST:
            raise EngineError(f"{_MOST} views of values hang on this rank: try again later.")

        def work() -> None:
            self._muted.add(threading.get_ident())
            try:
                act()
            finally:
                self._muted.discard(threading.get_ident())
                self._threads.discard(thread)

        thread = threading.Thread(target=work, name="rankbook-aside", daemon=True)
        self._threads.add(thread)
        thread.start()
        return thread

    def within(self, seconds: float, act: Callable[[], _T]) -> _T:
        """Do something that may block; wait for it, but not for long.

        Raises:
            TimeoutError: It takes longer, and goes on.
            BaseException: Any kind, as user code can raise any.
        """
        done: list[_T] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                done.append(act())
            except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
                failed.append(error)

        self.start(work).join(seconds)
        if failed:
            raise failed[0]
        if not done:
            raise TimeoutError(f"It takes more than {seconds} s.")
        return done[0]

    @contextmanager
    def looking_at(self, what: str) -> Iterator[None]:
        """Look at something, unless others that do so have not come back.

        A front end asks at every key press; it must not use up all threads.

        Raises:
            EngineError: They have not come back.
        """
        with self._lock:
            if self._looking[what] >= _MOST_OF_ONE:
                raise EngineError(f"Earlier views of {what} hang on this rank: try again later.")
            self._looking[what] += 1
        try:
            yield
        finally:
            with self._lock:
                self._looking[what] -= 1
                if not self._looking[what]:
                    del self._looking[what]
