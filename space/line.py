"""How many answers are worked on at once in the whole Space, whichever event asked for them, and how many wait."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from hf_handdiff.errors import InputError

AT_ONCE, MOST_WAITING = 2, 30
_FIRST_GUESS_SECONDS = 2.0
_ROUND_TO_SECONDS = 5


class Busy(InputError):
    """Too many wait already; the message says when to come again."""


class Line:
    """Work in the order in which it came.

    Args:
        at_once: how many tasks run at the same time.
        most_waiting: how many more may wait; who comes then is told when to come again.
    """

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING):
        self._at_once, self._most_waiting = at_once, most_waiting
        self._workers = ThreadPoolExecutor(at_once, thread_name_prefix="answer")
        self._present = 0
        self._mean_seconds = _FIRST_GUESS_SECONDS
        self._lock = threading.Lock()

    async def run(self, function: Callable, *args) -> Any:
        """Wait for a place, and run function(*args) in a thread.

        Work whose asker went away before it began is not begun; what has begun keeps its place until it ends.

        Raises:
            Busy: too many wait already.
        """
        return await asyncio.wrap_future(self._submit(function, args))

    def close(self) -> None:
        """Begin nothing more, and wait for what has begun."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _submit(self, function: Callable, args: tuple) -> Future:
        with self._lock:
            waiting = self._present - self._at_once
            if waiting >= self._most_waiting:
                raise Busy(
                    f"This Space is busy: {waiting} others are waiting for an answer. "
                    f"Come again in about {self._seconds_to_wait()} seconds."
                )
            self._present += 1
        context = contextvars.copy_context()  # who asked: ZeroGPU counts it against their quota
        future = self._workers.submit(context.run, self._timed, function, args)
        future.add_done_callback(self._leave)
        return future

    def _timed(self, function: Callable, args: tuple) -> Any:
        started = time.perf_counter()
        try:
            return function(*args)
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                self._mean_seconds += 0.1 * (seconds - self._mean_seconds)

    def _leave(self, future: Future) -> None:
        with self._lock:
            self._present -= 1

    def _seconds_to_wait(self) -> int:
        seconds = self._present * self._mean_seconds / self._at_once
        return _ROUND_TO_SECONDS * max(1, math.ceil(seconds / _ROUND_TO_SECONDS))
