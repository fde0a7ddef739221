"""Reading and writing beside the networks: one thread reads the next images, another writes the last answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


class InOrder:
    """Does jobs in a thread of its own, one after the other, in the order in which they come. Use it in a `with` block.

    At its end all jobs are done; after an error, or Ctrl-C, those that have not begun are dropped.

    Args:
        most: so many jobs may wait; whoever brings another waits, too.
    """

    def __init__(self, most: int):
        self._most = most
        self._pool = ThreadPoolExecutor(1)
        self._jobs: deque[Future] = deque()

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, kind, *error) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def do(self, job: Callable[..., Any], *arguments: Any) -> None:
        """Take a job; what an earlier one raised is raised here."""
        while len(self._jobs) >= self._most:
            self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(job, *arguments))

    def wait(self) -> None:
        """Return when all jobs are done; what one of them raised is raised."""
        while self._jobs:
            self._jobs.popleft().result()


def ahead(items: Iterable[Item], start: Callable[[Item], Any], most: int) -> Iterator[tuple[Item, Callable[[], Any]]]:
    """Yield each item with a function that gives what `start` returns for it, or raises what it raised.

    A thread calls `start` for up to `most` items before they are yielded.
    """
    waiting: deque[tuple[Item, Future]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for item in items:
            waiting.append((item, pool.submit(start, item)))
            if len(waiting) > most:
                done, future = waiting.popleft()
                yield done, future.result
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
