"""A source that is read in a thread of its own, so that what is answered next is always the newest frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from hf_handdiff.video.sources import Arrival

_WAKE_S = 0.2
"""A waiting main thread looks up so often, for Ctrl-C."""


class NewestFrames:
    """Iterate over it: the newest frame that has come since the last one, waiting for it if there is none yet.

    There is room for one frame; one that comes meanwhile takes its place. The last frame of a source is always given.
    What goes wrong with the source is raised once its last frame was given.

    Args:
        frames: of the source.
    """

    def __init__(self, frames: Iterator[Arrival]):
        self._frames = frames
        self._changed = threading.Condition()
        self._newest: Arrival | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)

    def __enter__(self) -> NewestFrames:
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        """Stop reading; a source that is silent is not waited for long."""
        self._stopped = True
        self._thread.join(timeout=0.5)

    def __iter__(self) -> Iterator[Arrival]:
        while True:
            with self._changed:
                while self._newest is None and not self._ended:
                    self._changed.wait(_WAKE_S)
                frame, self._newest = self._newest, None
            if frame is None:
                break
            yield frame
        if self._error is not None:
            raise self._error

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._changed:
                    self._newest = frame
                    self._changed.notify()
                if self._stopped:
                    break
        except BaseException as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()
