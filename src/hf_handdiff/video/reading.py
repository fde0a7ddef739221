"""Frames of a video file, read by PyAV (the extra ``[video]``) one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from hf_handdiff.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
_FORMATS = ("mov", "mp4", "avi", "matroska", "webm", "mpeg", "mpegts", "mpegvideo", "asf")
"""FFmpeg's names of what such files hold. It goes by a file's content, not by its name, and knows formats that open
other files or addresses, such as playlists (HLS, DASH, concat)."""

INSTALL_VIDEO = "videos are read and written with PyAV, which is not installed: pip install 'hf_handdiff[video]'"
_USUAL_RATE = Fraction(30)


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: counted from 0.
        time_s: from the first frame; grows from frame to frame.
        pixels: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    time_s: float
    pixels: np.ndarray


def load_av():
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise InputError(INSTALL_VIDEO) from None
    return av


class VideoReader:
    """A video file that is open. Use it in a `with` block and iterate over it once.

    Args:
        path: the file.

    Attributes:
        rate: frames a second, on average.
        num_frames: what the file says, or None.

    Raises:
        InputError: PyAV is not installed, or the file is missing or no video.
    """

    def __init__(self, path: str | os.PathLike):
        self._av = load_av()
        self._path = Path(path)
        if not self._path.is_file():
            raise InputError(f"images: there is no file '{path}'; expected a video")
        try:
            self._container = self._av.open(
                str(path), options={"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}
            )
        except (self._av.FFmpegError, OSError) as error:
            raise InputError(f"images: '{path}' is not a video that can be read ({_reason(error)})") from None
        if not self._container.streams.video:
            self._container.close()
            raise InputError(f"images: '{path}' holds no pictures; expected a video")
        stream = self._container.streams.video[0]
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or _USUAL_RATE)
        self.num_frames = stream.frames or None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in the order in which they are shown.

        Raises:
            InputError: the file is damaged farther on, or holds no frame.
        """
        number, start, last = 0, None, -1.0
        frames = self._container.decode(video=0)
        while True:
            try:
                frame = next(frames, None)
            except (self._av.FFmpegError, OSError) as error:
                raise InputError(
                    f"images: '{self._path}' is damaged after {number} frames ({_reason(error)})"
                ) from None
            if frame is None:
                break
            pixels = _upright(frame)
            start = frame.time if start is None else start
            time_s = number / float(self.rate) if frame.time is None else frame.time - start
            if time_s <= last:  # a file whose times are not sound
                time_s = last + 1.0 / float(self.rate)
            last = time_s
            yield Frame(number, time_s, pixels)
            number += 1
        if number == 0:
            raise InputError(f"images: '{self._path}' holds no frame that can be read; expected a video")


def _upright(frame) -> np.ndarray:
    """The pixels of a frame as players show them: phones write how they were held."""
    pixels = frame.to_ndarray(format="rgb24")
    quarters = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
