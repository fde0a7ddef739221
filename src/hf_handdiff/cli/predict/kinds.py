"""What a file is, told by its content: an image, a video, or neither. The name decides where the content does not."""

from __future__ import annotations

import stat
from enum import Enum
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from hf_handdiff.image_formats import IMAGE_SUFFIXES, is_animated, is_photo_container, open_image
from hf_handdiff.video.reading import VIDEO_SUFFIXES, holds_pictures


class Kind(Enum):
    """What a file is; the value is how a message calls several of them."""

    IMAGE = "images"
    VIDEO = "videos"
    HIDDEN = "hidden"
    FOREIGN = "neither images nor videos"
    NO_FILE = "no files (broken links, pipes, devices)"
    UNREADABLE = "cannot be opened"

    @property
    def is_input(self) -> bool:
        """Whether it is to be done."""
        return self in (Kind.IMAGE, Kind.VIDEO)


def kind_of(path: Path) -> Kind:
    """What a file is.

    A file whose name says that it is an image or a video counts as one, whatever is wrong with its content: whoever
    opens it says what.
    """
    by_name = _kind_by_name(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
            return Kind.NO_FILE
        found = _kind_by_content(path)
    except PermissionError:
        return by_name if by_name.is_input else Kind.UNREADABLE
    except OSError:
        return by_name if by_name.is_input else Kind.NO_FILE
    return by_name if found is Kind.FOREIGN else found


def _kind_by_name(path: Path) -> Kind:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return Kind.IMAGE
    return Kind.VIDEO if suffix in VIDEO_SUFFIXES else Kind.FOREIGN


def _kind_by_content(path: Path) -> Kind:
    try:
        with open_image(path) as image:
            return Kind.VIDEO if is_animated(image) else Kind.IMAGE
    except UnidentifiedImageError:
        if is_photo_container(path):
            return Kind.IMAGE
        return Kind.VIDEO if holds_pictures(path) else Kind.FOREIGN
    except PermissionError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Kind.IMAGE
    except (OSError, SyntaxError, ValueError, EOFError, RuntimeError):  # damaged
        return Kind.IMAGE
