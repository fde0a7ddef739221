"""Reading rows of a data set by their positions; a stream is read once, from front to back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any


class RowReader:
    """Rows of a `datasets.Dataset`, an `IterableDataset` or a plain list.

    A stream stays open between calls: rows that follow those of the call before are read on from there, and not
    skipped to from the start. Only a call that goes back opens it anew.

    Args:
        dataset: holds the rows.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset
        self._stream: Iterator[Mapping[str, Any]] | None = None
        self._position = 0  # of the open stream

    def rows(self, start: int, stop: int) -> Iterator[Mapping[str, Any]]:
        """Rows `start` to `stop` - 1, fewer where there are not so many; to be read before the next call."""
        if hasattr(self.dataset, "select"):
            return iter(self.dataset.select(range(start, min(stop, len(self.dataset)))))
        if hasattr(self.dataset, "skip"):
            return self._read_on(start, stop)
        return iter(self.dataset[start:stop])

    def _read_on(self, start: int, stop: int) -> Iterator[Mapping[str, Any]]:
        if self._stream is None or start < self._position:
            self._stream, self._position = iter(self.dataset.skip(start)), start
        for _ in itertools.islice(self._stream, start - self._position):
            self._position += 1
        for row in itertools.islice(self._stream, stop - start):
            self._position += 1
            yield row
