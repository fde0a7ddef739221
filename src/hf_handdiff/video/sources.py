"""Where the frames of a stream come from: a camera, an address, a video file, or JPEGs on standard input."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.images import decode_image
from hf_handdiff.video.jpegs import split_jpegs
from hf_handdiff.video.reading import VideoReader, load_av

STDIN = "-"
_PROTOCOLS = "http,https,tcp,tls,udp,rtp,srtp,rtsp,rtsps,rtmp,rtmps,srt,crypto,data,httpproxy"
"""What an address may lead on to: never to a file of this machine."""
_TIMEOUT_S = (10.0, 30.0)
"""An address is given up that does not open, or sends nothing, for so long."""
_CHUNK = 2**16
_MOST_FAILURES = 50
"""Reads of a live source in a row that give nothing but damage: then it has ended."""
_SMALLEST_STEP_S = 1e-4


@dataclass(frozen=True)
class Arrival:
    """A frame that has come, its pixels perhaps not decoded yet.

    Attributes:
        number: counted from 0 through all frames of the source.
        time_s: from the first frame; grows from frame to frame.
        arrived_s: when it came, by `time.monotonic`.
        decode: returns the pixels, (H, W, 3) uint8 RGB, or raises `InputError`.
    """

    number: int
    time_s: float
    arrived_s: float
    decode: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Source:
    """A source that is open.

    Attributes:
        is_live: its frames come when they come, whether one is ready for them or not.
        frames: one after the other, once. The source is closed at their end, by the thread that takes them.
    """

    is_live: bool
    frames: Iterator[Arrival]


def open_source(source: str) -> Source:
    """Open a source.

    Args:
        source: "-" for JPEGs on standard input; the number of a camera, or /dev/video...; an address with "://" that
            PyAV opens; else a video file.

    Raises:
        InputError: it cannot be opened, or PyAV is needed and not installed.
    """
    if source == STDIN:
        return Source(True, _jpegs(sys.stdin.buffer))
    if source.isdecimal() or source.startswith("/dev/video") or "://" in source:
        return Source(True, _live_frames(_open_live(source), source))
    return Source(False, _file_frames(VideoReader(source)))


def in_real_time(frames: Iterator[Arrival]) -> Iterator[Arrival]:
    """Let the frames of a file arrive as those of a camera would: each at its time after the first."""
    start = None
    for frame in frames:
        start = time.monotonic() - frame.time_s if start is None else start
        time.sleep(max(0.0, start + frame.time_s - time.monotonic()))
        yield Arrival(frame.number, frame.time_s, time.monotonic(), frame.decode)


def _file_frames(reader: VideoReader) -> Iterator[Arrival]:
    with reader:
        for frame in reader:
            yield Arrival(frame.number, frame.time_s, time.monotonic(), lambda pixels=frame.pixels: pixels)


def _jpegs(file: BinaryIO) -> Iterator[Arrival]:
    raw = getattr(file, "raw", file)  # gives what there is, and does not wait for a whole buffer
    number, clock, cut = 0, _Clock(), 0
    for data in split_jpegs(iter(lambda: raw.read(_CHUNK), b"")):
        arrived = time.monotonic()
        if data is None:
            cut += 1
            print("handdiff: warning: a JPEG on standard input breaks off and is left out", file=sys.stderr)
            continue
        yield Arrival(number, clock.seconds(None, arrived), arrived, partial(decode_image, data, "source"))
        number += 1
    if number == 0:
        raise InputError("source: expected JPEG pictures on standard input, got none" + " that is whole" * bool(cut))


def _open_live(source: str) -> Any:
    av = load_av()
    if "://" in source:
        where = {"file": source, "options": {"protocol_whitelist": _PROTOCOLS}, "timeout": _TIMEOUT_S}
    else:
        file, kind, options = _camera(av, source)
        where = {"file": file, "format": kind, "options": options}
    try:
        container = av.open(**where)
    except (av.FFmpegError, OSError, ValueError) as error:
        what = "address" if "://" in source else "camera"
        raise InputError(f"source: the {what} '{source}' cannot be opened ({_reason(error)})") from None
    if not container.streams.video:
        container.close()
        raise InputError(f"source: '{source}' holds no pictures")
    return container


def _camera(av: Any, source: str) -> tuple[str, str, dict[str, str]]:
    """How FFmpeg calls a camera on this system: its name, the format, and options."""
    if not source.isdecimal():
        return source, "v4l2", {}
    if sys.platform == "darwin":
        return source, "avfoundation", {"framerate": "30"}  # the default, 29.97, is refused by most cameras
    if sys.platform == "win32":
        cameras = [device.name for device in av.enumerate_input_devices("dshow") if "video" in device.media_types]
        if int(source) >= len(cameras):
            raise InputError(f"source: there is no camera {source}; there are {len(cameras)}")
        return f"video={cameras[int(source)]}", "dshow", {}
    return f"/dev/video{source}", "v4l2", {}


def _live_frames(container: Any, source: str) -> Iterator[Arrival]:
    number, clock = 0, _Clock()
    with container:
        for frame in _decoded(container, source):
            arrived = time.monotonic()
            decode = partial(frame.to_ndarray, format="rgb24")
            yield Arrival(number, clock.seconds(frame.time, arrived), arrived, decode)
            number += 1
    if number == 0:
        raise InputError(f"source: '{source}' sent no frame that can be read")


def _decoded(container: Any, source: str) -> Iterator[Any]:
    """PyAV's frames; what is damaged is left out."""
    av, failures = load_av(), 0
    while failures < _MOST_FAILURES:
        try:
            for packet in container.demux(video=0):
                failures = 0
                with suppress(av.InvalidDataError):
                    yield from packet.decode()
            return
        except av.BlockingIOError:  # nothing new yet
            time.sleep(0.002)
        except av.InvalidDataError:
            failures += 1
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"source: '{source}' broke off ({_reason(error)})") from None
    with suppress(av.FFmpegError):  # nothing that can be read follows: what the decoder still holds
        yield from container.streams.video[0].codec_context.decode(None)


class _Clock:
    """Times of frames, from the first: the source's own where it tells them and they grow, else when they came."""

    def __init__(self):
        self._first: tuple[float | None, float] | None = None
        self._last = (0.0, 0.0)

    def seconds(self, own_s: float | None, arrived_s: float) -> float:
        """The time of the next frame."""
        if self._first is None:
            self._first, self._last = (own_s, arrived_s), (0.0, arrived_s)
            return 0.0
        last, last_arrived = self._last
        seconds = last if None in (own_s, self._first[0]) else own_s - self._first[0]
        if seconds <= last:
            seconds = last + max(arrived_s - last_arrived, _SMALLEST_STEP_S)
        self._last = (seconds, arrived_s)
        return seconds


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
