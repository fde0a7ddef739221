"""Which image files are read, told by their content: the formats of Pillow that are safe to open, and HEIC photos.

Pillow knows many more, by the content of a file and not by its name. Some of them run other programs (EPS: Ghostscript;
WMF: the system's own drawing), some hold a file of any other format (IPTC, ICO, ICNS), some call whatever is registered
for them (BUFR, GRIB, HDF5).
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "HEIF": (".heic", ".heif", ".hif"),
}
"""Names of the formats that are read, each with the usual suffixes of its files.

AVIF came late to Pillow; HEIF (HEIC, the photos of iPhones) is read with pillow-heif, the extra ``[heif]``.
"""
IMAGE_SUFFIXES = tuple(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)

_INSTALL = {
    "HEIF": "is a HEIC photo, which is read with pillow-heif, which is not installed: pip install 'hf_handdiff[heif]'",
    "AVIF": "is an AVIF image, which is read with Pillow 11.3 or newer, which is not installed: pip install -U pillow",
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_NEW_SUBFILE_TYPE, _DNG_VERSION = 254, 50706  # tags of TIFF


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Those of `IMAGE_FORMATS` that this Pillow reads: it may be older than AVIF, or without pillow-heif."""
    Image.init()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)


def open_image(file: str | os.PathLike | BinaryIO) -> Image.Image:
    """`PIL.Image.open` for files of others: of the formats of `IMAGE_FORMATS` alone.

    Raises:
        PIL.UnidentifiedImageError: the file is of no such format, whatever its name says.
    """
    return Image.open(file, formats=readable_formats())


def is_animated(image: Image.Image) -> bool:
    """Whether an image moves: a GIF, WebP, APNG or AVIF of several frames; pages and the views of an MPO do not."""
    return image.format in _ANIMATED and bool(getattr(image, "is_animated", False))


def why_no_photo(image: Image.Image) -> str | None:
    """What an open image is, where its pixels are no photo, as the end of a sentence; else None.

    Cameras' raw files are TIFF files whose first picture is a preview.
    """
    tags = getattr(image, "tag_v2", {})
    if image.format != "TIFF" or not (_DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE, 0) & 1):
        return None
    return "is a camera's raw file, of which a small preview alone could be read; save it as JPEG, PNG or TIFF first"


def why_not_read(file: str | os.PathLike | BinaryIO) -> str:
    """Why `open_image` does not know a file, as the end of a sentence."""
    name = _format_of_brands(_first_bytes(file))
    if name is None:
        return f"is not an image of a format that is read: {', '.join(readable_formats())}"
    return f"is a truncated or damaged {name} image" if name in readable_formats() else _INSTALL[name]


def is_photo_container(file: str | os.PathLike | BinaryIO) -> bool:
    """Whether a file begins like HEIC or AVIF, readable or not; FFmpeg takes such photos for videos."""
    return _format_of_brands(_first_bytes(file)) is not None


def _format_of_brands(head: bytes) -> str | None:
    """HEIF or AVIF, where a file begins like one; the first brand decides: a video may name them among the others."""
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF_BRANDS | _AVIF_BRANDS:
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[start : start + 4] for start in range(16, length - 3, 4)}
    return "AVIF" if brands & _AVIF_BRANDS else "HEIF"


def _first_bytes(file: str | os.PathLike | BinaryIO) -> bytes:
    if isinstance(file, (str, os.PathLike)):
        with Path(file).open("rb") as opened:
            return opened.read(64)
    file.seek(0)
    return file.read(64)
