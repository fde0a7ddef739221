"""Parts of large photos, made smaller by Pillow piece by piece: no copy of a whole photo, and no padding, is ever made.

The pixels are those that Pillow gives for the whole photo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

_BAND_PIXELS = 4_000_000
"""About so many pixels of a photo are taken at a time."""
_TILE_PX = 2000
"""The like for both sides of a part."""
_SUPPORT = {Image.Resampling.BICUBIC: 2.0, Image.Resampling.LANCZOS: 3.0}


def reduce_blocks(image: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """The means of blocks of pixels, as `PIL.Image.reduce` gives them.

    Args:
        image: (H, W, 3) uint8 RGB.
        block: width and height in px; those at the right and at the bottom may be smaller.

    Returns:
        (ceil(H / height), ceil(W / width), 3) uint8 RGB.
    """
    rows = [Image.fromarray(np.ascontiguousarray(band)).reduce(block) for band in _bands(image, block[1])]
    return np.concatenate([np.asarray(row) for row in rows])


def _bands(image: np.ndarray, multiple: int) -> Iterator[np.ndarray]:
    """Rows of an image in parts of a multiple of so many."""
    rows = multiple * max(_BAND_PIXELS // (image.shape[1] * multiple), 1)
    for first in range(0, len(image), rows):
        yield image[first : first + rows]


def cut_out(
    image: np.ndarray,
    region: tuple[float, float, float, float],
    size: tuple[int, int],
    resample: Image.Resampling,
    outside: tuple[int, int, int] = (0, 0, 0),
    margin: int = 0,
) -> Image.Image:
    """A region of a photo in another size, as `PIL.Image.resize` gives it.

    Args:
        image: (H, W, 3) uint8 RGB.
        region: left, top, right, bottom in px; may reach beyond the photo.
        size: width and height of the result in px.
        resample: BICUBIC or LANCZOS.
        outside: what lies beyond the photo.
        margin: so many px round the region are looked at for the pixels at its rim.
    """
    picture = Image.new("RGB", size, outside)
    columns = _Axis(region[0], region[2], size[0], image.shape[1], margin, resample)
    rows = _Axis(region[1], region[3], size[1], image.shape[0], margin, resample)
    for top, bottom in rows.parts():
        for left, right in columns.parts():
            (x0, x1), (y0, y1) = columns.source(left, right), rows.source(top, bottom)
            box = (
                columns.place(left) - x0,
                rows.place(top) - y0,
                columns.place(right) - x0,
                rows.place(bottom) - y0,
            )
            part = _padded(image, (x0, y0, x1, y1), outside)
            picture.paste(part.resize((right - left, bottom - top), resample, box=box), (left, top))
    return picture


class _Axis:
    """One axis of a region: `size` pixels of the result stand for `start` to `stop` px of a photo of `length` px."""

    def __init__(self, start: float, stop: float, size: int, length: int, margin: int, resample: Image.Resampling):
        self.start, self.size, self.length = start, size, length
        self.scale = (stop - start) / size
        self.reach = _SUPPORT[resample] * max(self.scale, 1.0) + 2.0
        self.low, self.high = math.floor(start) - margin, math.ceil(stop) + margin

    def place(self, pixel: float) -> float:
        """Where a pixel of the result begins in the photo."""
        return self.start + pixel * self.scale

    def parts(self) -> list[tuple[int, int]]:
        """The pixels of the result that show anything of the photo, in parts, each from and to."""
        first = max(math.floor((-self.reach - self.start) / self.scale), 0)
        last = min(math.ceil((self.length + self.reach - self.start) / self.scale), self.size)
        step = max(int(_TILE_PX / self.scale), 1)
        return [(low, min(low + step, last)) for low in range(first, last, step)]

    def source(self, first: int, last: int) -> tuple[int, int]:
        """The pixels of the photo, or beyond it, that those of the result are made of."""
        low, high = math.floor(self.place(first) - self.reach), math.ceil(self.place(last) + self.reach)
        return max(low, self.low), min(high, self.high)


def _padded(image: np.ndarray, box: tuple[int, int, int, int], outside: tuple[int, int, int]) -> Image.Image:
    """A box of a photo; it may reach beyond it."""
    x0, y0, x1, y1 = box
    left, top = min(max(x0, 0), image.shape[1]), min(max(y0, 0), image.shape[0])
    part = np.ascontiguousarray(image[top : max(y1, 0), left : max(x1, 0)])
    if part.shape[:2] == (y1 - y0, x1 - x0):
        return Image.fromarray(part)
    padded = Image.new("RGB", (x1 - x0, y1 - y0), outside)
    if part.size:
        padded.paste(Image.fromarray(part), (left - x0, top - y0))
    return padded
