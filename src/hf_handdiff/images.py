"""Loading images: a path, a PIL image or an array becomes one (H, W, 3) uint8 RGB array, or one clear error.

Pixels are those of the upright image: the EXIF orientation that phones write is applied, so that pixel
coordinates in answers are those of the image as viewers show it.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from hf_handdiff.colour_profiles import in_srgb
from hf_handdiff.errors import InputError
from hf_handdiff.image_formats import (
    IMAGE_FORMATS,
    IMAGE_SUFFIXES,
    open_image,
    readable_formats,
    why_no_photo,
    why_not_read,
)

__all__ = [
    "IMAGE_FORMATS",
    "IMAGE_SUFFIXES",
    "ImageInput",
    "decode_image",
    "load_image",
    "load_images",
    "open_image",
    "readable_formats",
]

ImageInput = Union[str, os.PathLike, Image.Image, np.ndarray]

_DRAWN_WHEN_LOADED = ("EPS", "WMF")

_READING = Lock()
"""Held while a caller's own `PIL.Image` is read, which changes it: two threads may have been given the same one."""

IMAGE_EXPECTED = "expected an image: a path, a PIL.Image or an (H, W, 3) uint8 RGB array"

_EXIF_ORIENTATION = 0x0112
_ORIENTATION_TO_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
# what Pillow's decoders raise on damaged files, besides OSError
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, RuntimeError, struct.error)
_TOO_MANY_PIXELS = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # a caller may raise warnings
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF


def load_image(source: ImageInput, name: str = "images") -> np.ndarray:
    """Return `source` as an (H, W, 3) uint8 RGB array, upright.

    Args:
        source: a path to a file of one of the formats in `IMAGE_FORMATS`, a `PIL.Image.Image`, or an (H, W, 3)
            uint8 RGB array. Transparent pixels are laid over white; grey, palette, CMYK and 16-bit images
            are converted, colours to sRGB where the file has a profile of others; of an animation the first
            frame is taken.
        name: what the argument is called in an error message.

    Raises:
        InputError: the file is missing, a folder, damaged or of no such format; the array has another type or
            shape; the image has no pixels; or `source` is something else altogether.
    """
    if isinstance(source, np.ndarray):
        return _check_array(source, name)
    if isinstance(source, Image.Image):
        with _READING:
            return _to_rgb_array(source, name, label="the PIL.Image")
    if isinstance(source, (str, os.PathLike)):
        return _load_file(source, name)
    raise InputError(f"{name}: {IMAGE_EXPECTED}, got {_type_name(source)}")


def load_images(
    source: ImageInput | list[ImageInput] | tuple[ImageInput, ...], name: str = "images"
) -> list[np.ndarray]:
    """Return one image or a list of them as a list of (H, W, 3) uint8 RGB arrays (see `load_image`).

    Raises:
        InputError: the list is empty, or one of its images is bad; then the message names its index.
    """
    if not isinstance(source, (list, tuple)):
        return [load_image(source, name)]
    if len(source) == 0:
        raise InputError(f"{name}: expected one image or a list of at least one, got an empty list")
    return [load_image(image, f"{name}[{index}]") for index, image in enumerate(source)]


def _load_file(source: str | os.PathLike, name: str) -> np.ndarray:
    path = Path(source)
    if str(source).startswith(("http://", "https://")):
        raise InputError(f"{name}: expected a local file, got the address '{source}'; download it first")
    if not str(source) or not path.exists():
        raise InputError(f"{name}: there is no file '{source}'; {IMAGE_EXPECTED}")
    if path.is_dir():
        raise InputError(f"{name}: '{source}' is a folder; {IMAGE_EXPECTED}")
    try:
        return _decode(path, name, label=f"'{source}'")
    except PermissionError:
        raise InputError(f"{name}: '{source}' cannot be opened: no permission to read it") from None


def decode_image(data: bytes, name: str) -> np.ndarray:
    """The bytes of an image file as an (H, W, 3) uint8 RGB array, upright.

    Raises:
        InputError: as for `load_image`; the message starts with `name`.
    """
    return _decode(io.BytesIO(data), name, label="a file of bytes")


def _decode(file: Path | BinaryIO, name: str, label: str) -> np.ndarray:
    try:
        with open_image(file) as image:
            return _to_rgb_array(image, name, label)
    except (InputError, PermissionError):
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: {label} {why_not_read(file)}") from None
    except _TOO_MANY_PIXELS:
        raise _too_many_pixels(name, label) from None
    except _DECODE_ERRORS as error:
        raise InputError(f"{name}: {label} is a truncated or damaged image ({error})") from None


def _to_rgb_array(image: Image.Image, name: str, label: str) -> np.ndarray:
    if 0 in image.size:
        raise InputError(f"{name}: {label} has no pixels ({image.width} x {image.height})")
    if image.format in _DRAWN_WHEN_LOADED and getattr(image, "tile", True):  # opened elsewhere, not loaded yet
        raise InputError(f"{name}: {label} is an {image.format} drawing and has no pixels until another program runs")
    reason = why_no_photo(image)
    if reason is not None:
        raise InputError(f"{name}: {label} {reason}")
    try:
        image.load()
    except _TOO_MANY_PIXELS:
        raise _too_many_pixels(name, label) from None
    except _DECODE_ERRORS as error:
        raise InputError(f"{name}: {label} is a truncated or damaged image ({error})") from None
    rgb, transpose = _to_rgb(image, name, label), _way_to_upright(image)
    return np.array(rgb if transpose is None else rgb.transpose(transpose), dtype=np.uint8)


def _way_to_upright(image: Image.Image) -> Image.Transpose | None:
    try:
        return _ORIENTATION_TO_TRANSPOSE.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _DECODE_ERRORS:  # damaged EXIF is no reason to refuse intact pixels
        return None


def _too_many_pixels(name: str, label: str) -> InputError:
    limit = f", more than {2 * Image.MAX_IMAGE_PIXELS:,} (PIL.Image.MAX_IMAGE_PIXELS)" if Image.MAX_IMAGE_PIXELS else ""
    return InputError(f"{name}: {label} has too many pixels to be loaded safely{limit}")


def _to_rgb(image: Image.Image, name: str, label: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _sixteen_bits_to_rgb(image, name, label)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = in_srgb(image.convert("RGBA"))
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "F":
        raise InputError(
            f"{name}: {label} holds floating-point pixels of unknown range; expected 8 or 16 bits a channel"
        )
    return in_srgb(image if image.mode == "CMYK" else image.convert("RGB")).convert("RGB")


def _sixteen_bits_to_rgb(image: Image.Image, name: str, label: str) -> Image.Image:
    """Grey of 9 to 16 bits: the full range becomes 0..255, however many bits a TIFF file has and where its white is."""
    levels = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})
    highest = 2 ** max(tags.get(_BITS_PER_SAMPLE, (16,))) - 1 if image.mode.startswith("I;16") else 65535
    if levels.min() < 0 or levels.max() > 65535:
        raise InputError(f"{name}: {label} holds values outside 0..65535; expected 8 or 16 bits a channel")
    grey = np.round(np.minimum(levels, highest) * (255.0 / highest)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:  # Pillow turns eight bits alone
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _check_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype != np.uint8:
        raise InputError(f"{name}: expected an (H, W, 3) uint8 RGB array, got dtype {array.dtype}")
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{name}: expected an (H, W, 3) uint8 RGB array, got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise InputError(f"{name}: the array has no pixels, its shape is {tuple(array.shape)}")
    return np.ascontiguousarray(array)


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
