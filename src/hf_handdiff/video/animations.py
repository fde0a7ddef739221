"""Animated images (GIF, WebP, APNG, AVIF) as videos, read by Pillow: FFmpeg knows not all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image, UnidentifiedImageError

from hf_handdiff.image_formats import is_animated, open_image
from hf_handdiff.images import load_image

_USUAL_MS = 100.0
"""How long viewers show a frame whose file gives it no time."""


class Animation:
    """An animated image that is open.

    Args:
        image: as `open_animation` finds it; closed with this.

    Attributes:
        rate: frames a second, by the first frame.
        num_frames: of the file.
    """

    def __init__(self, image: Image.Image):
        self._image = image
        image.load()  # some formats tell a frame's time only then
        self.num_frames = image.n_frames
        self.rate = Fraction(1000 / self._milliseconds()).limit_denominator(1000)

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Time in s and (H, W, 3) uint8 RGB pixels, upright, over white where it is transparent.

        Raises:
            OSError, EOFError, ValueError, SyntaxError: the file is damaged from here on.
        """
        time_ms = 0.0
        for number in range(self.num_frames):
            self._image.seek(number)
            self._image.load()  # what it raises says what is wrong
            pixels = load_image(self._image)
            yield time_ms / 1000, pixels
            time_ms += self._milliseconds()

    def missing(self, number: int, last_s: float) -> str | None:
        """Nothing: what a file lacks shows when it is read."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _milliseconds(self) -> float:
        return float(self._image.info.get("duration") or _USUAL_MS)


def open_animation(path: str | os.PathLike) -> Animation | None:
    """The animation that a file holds; None: it is a still image, a video, or something else."""
    try:
        image = open_image(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
    try:
        if is_animated(image):
            return Animation(image)
    except (OSError, ValueError, SyntaxError, EOFError):
        pass
    image.close()
    return None
