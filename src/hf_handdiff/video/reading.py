"""Frames of a video file, read one by one: by PyAV (the extra ``[video]``), of animated images by Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.image_formats import is_photo_container, why_not_read
from hf_handdiff.video.animations import open_animation

VIDEO_SUFFIXES = (
    ".mp4 .mov .m4v .avi .mkv .webm .mpg .mpeg .3gp .3g2 .ts .mts .m2ts .wmv .asf .flv .ogv .mxf .dv .mjpeg .h264 .hevc"
).split()
"""Usual ones. A file is told by its content where that says something."""
_CONTAINERS = (
    "mov mp4 avi matroska webm mpeg mpegts asf flv ogg mxf dv ivf rm nut wtv gxf yuv4mpegpipe".split()
)  # fmt: skip
_STREAMS = "mpegvideo m4v h263 h264 hevc av1 obu mjpeg".split()
"""FFmpeg's names of what such files hold, and of streams without a container, which it sees in other files, too.

It goes by a file's content, not by its name, and knows formats that open other files or addresses, such as playlists
(HLS, DASH, concat). Those are left out.
"""

INSTALL_VIDEO = "videos are read and written with PyAV, which is not installed: pip install 'hf_handdiff[video]'"
_USUAL_RATE, _HIGHEST_RATE = Fraction(30), 1000  # a header may hold anything
_SAYS_ITS_FRAMES, _SAYS_ITS_LENGTH = ("avi", "ivf"), ("matroska,webm", "flv")
"""Of these a cut file still says how long it was; of the others FFmpeg finds a cut by itself, or cannot know of it."""
_SLACK_S, _SLACK = 0.5, 0.05
"""Sound may go on after the pictures, by so many seconds or such a share."""


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
        path: the file: any container that FFmpeg knows and that opens no other file, or an animated image (GIF, WebP,
            APNG, AVIF), told by its content.

    Attributes:
        rate: frames a second, on average.
        num_frames: what the file says, or None.
        damage: after the last frame: what is missing of the file, as a sentence; None: nothing that can be seen.

    Raises:
        InputError: PyAV is not installed, or the file is missing or no video.
    """

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)
        self.damage: str | None = None
        if not self._path.is_file():
            load_av()
            raise InputError(f"images: there is no file '{path}'; expected a video")
        self._source = open_animation(path)
        if self._source is None and is_photo_container(path):
            raise InputError(f"images: '{path}' {why_not_read(path)}")
        self._source = self._source or _Stream(path)
        self.rate, self.num_frames = self._source.rate, self._source.num_frames

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error) -> None:
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in the order in which they are shown; where the file is damaged, those before (see `damage`).

        Raises:
            InputError: no frame can be read.
        """
        number, start, last = 0, None, -1.0
        frames, reason = self._source.frames(), None
        while True:
            try:
                found = next(frames, None)
            except (InputError, OSError, EOFError, ValueError, SyntaxError) as error:  # FFmpeg's are some of these
                found, reason = None, _reason(error)
            if found is None:
                break
            time, pixels = found
            start = time if start is None else start
            time_s = number / float(self.rate) if time is None else time - (start or 0.0)
            if time_s <= last:  # a file whose times are not sound
                time_s = last + 1.0 / float(self.rate)
            last = time_s
            yield Frame(number, time_s, pixels)
            number += 1
        if number == 0:
            why = f" ({reason})" if reason else ""
            raise InputError(f"images: '{self._path}' holds no frame that can be read{why}; expected a video")
        if reason is not None:
            self.damage = f"the video is damaged ({reason}); frames before the damage: {number}"
        else:
            self.damage = self._source.missing(number, last)


class _Stream:
    """The pictures of a video file, decoded by PyAV; attributes as those of `VideoReader`."""

    def __init__(self, path: str | os.PathLike):
        self._av, self._path = load_av(), path
        try:
            self._container = self._av.open(str(path), options=_options(_CONTAINERS + _STREAMS))
        except (self._av.FFmpegError, OSError) as error:
            kinds, is_cut = _boxes(path)
            without_index = is_cut and kinds[0] == b"ftyp" and b"moov" not in kinds
            reason = "its index, which lies at the end, is missing" if without_index else _reason(error)
            raise InputError(f"images: '{path}' is not a video that can be read ({reason})") from None
        self._stream = _pictures(self._container)
        if self._stream is None:
            self._container.close()
            raise InputError(f"images: '{path}' holds no pictures; expected a video")
        rates = (self._stream.average_rate, self._stream.guessed_rate)
        self.rate = next((Fraction(rate) for rate in rates if rate and rate <= _HIGHEST_RATE), _USUAL_RATE)
        self.num_frames = self._stream.frames or None

    def frames(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """Time in s, or None, and (H, W, 3) uint8 RGB pixels, upright.

        Raises:
            av.FFmpegError: the file is damaged from here on.
        """
        damage, begun = None, False
        try:
            for packet in self._container.demux(self._stream):
                try:
                    decoded = packet.decode()
                except self._av.FFmpegError:
                    if begun:
                        raise
                    continue  # a recording that begins between two whole pictures
                for frame in decoded:
                    begun = True
                    yield _time(frame), _upright(frame)
        except (self._av.FFmpegError, OSError) as error:
            damage = error
        if damage is None:
            return
        with suppress(self._av.FFmpegError):  # the decoder still holds some that come before the damage
            for frame in self._stream.codec_context.decode(None):
                yield _time(frame), _upright(frame)
        raise damage

    def missing(self, number: int, last_s: float) -> str | None:
        """What is missing of a file whose last frame, the `number`-th, is at `last_s`, by what its header says."""
        if self._container.format.name.startswith("mov") and _boxes(self._path)[1]:
            return f"the end of the video is missing: the file is cut off; frames that could be read: {number}"
        kind, ends = self._container.format.name, "the end of the video is missing: it says that it"
        if kind in _SAYS_ITS_FRAMES and number < (self.num_frames or 0):
            return f"{ends} holds {self.num_frames} frames; frames that could be read: {number}"
        said = (self._container.duration or 0) / self._av.time_base if kind in _SAYS_ITS_LENGTH else 0.0
        if said - last_s > max(_SLACK_S, _SLACK * said):
            return f"{ends} lasts {said:.1f} s, its frames end at {last_s:.1f} s"
        return None

    def close(self) -> None:
        self._container.close()


def holds_pictures(path: str | os.PathLike) -> bool:
    """Whether the content of a file is that of a video; False, too, where PyAV is not installed."""
    try:
        av = load_av()
        with av.open(str(path), options=_options(_CONTAINERS)) as container:
            return _pictures(container) is not None
    except (InputError, OSError, ValueError):  # FFmpeg's errors are some of these
        return False


def _options(formats: list[str]) -> dict[str, str]:
    return {"format_whitelist": ",".join(formats), "protocol_whitelist": "file"}


def _pictures(container):
    """The stream of a file that moves, not the cover of a piece of music; None: there is none."""
    cover = "attached_pic"
    streams = (stream for stream in container.streams.video if cover not in (stream.disposition.name or ""))
    return next(streams, None)


def _upright(frame) -> np.ndarray:
    """The pixels of a frame as players show them: files say how the camera was held, and whether it saw a mirror."""
    pixels = frame.to_ndarray(format="rgb24")
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _time(frame) -> float | None:
    """When a frame is shown, in s, or None."""
    return None if frame.time is None or not np.isfinite(frame.time) else frame.time


def _boxes(path: str | os.PathLike) -> tuple[list[bytes], bool]:
    """The kinds of the outermost boxes of an MP4 or MOV file, and whether the file ends within one of them."""
    kinds = []
    with Path(path).open("rb") as file:
        size, place = file.seek(0, os.SEEK_END), 0
        while place < size:
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            kinds.append(head[4:8])
            place += max(int.from_bytes(head[8:16], "big") if length == 1 else length or size - place, 8)
    return kinds, place > size


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
