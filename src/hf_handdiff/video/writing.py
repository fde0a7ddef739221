"""Writing a video, frame by frame, with PyAV (the extra ``[video]``)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from hf_handdiff.video.reading import load_av

_CODECS = ("libx264", "libopenh264", "mpeg4")
_TIME_BASE = Fraction(1, 90_000)


class VideoWriter:
    """Writes an MP4 file frame by frame. Use it in a `with` block; its size is that of the first frame.

    Args:
        path: the file.
        rate: frames a second, on average; each frame is shown at its own time.
    """

    def __init__(self, path: Path, rate: Fraction):
        self._av = load_av()
        self._container = self._av.open(str(path), "w", format="mp4")
        self._rate = rate
        self._stream = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, *error) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def write(self, pixels: np.ndarray, time_s: float) -> None:
        """Add a frame: (H, W, 3) uint8 RGB, shown from `time_s` on."""
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # the codecs want even sides
        if self._stream is None:
            self._stream = self._open_stream(pixels.shape[1], pixels.shape[0])
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame.pts = round(time_s / _TIME_BASE)
        frame.time_base = _TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def _open_stream(self, width: int, height: int):
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        if codec == "libx264":
            stream.options = {"crf": "20", "preset": "veryfast"}
        else:
            stream.bit_rate = 8_000_000
        return stream
