"""Small helpers that lay pictures out, with Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hf_handdiff.errors import InputError


def label_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow."""
    return ImageFont.load_default(size=size)


def contact_sheet(
    images: Sequence[np.ndarray | Image.Image],
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    cell: int | None = None,
    gap: int = 6,
    background: tuple[int, int, int] = (24, 26, 30),
) -> Image.Image:
    """Lay pictures out in rows, as one picture.

    Args:
        images: PIL images or (H, W, 3) uint8 RGB arrays, of any sizes.
        columns: pictures in a row; None makes the sheet about square.
        labels: a line of text below each picture.
        cell: every picture is scaled so that its longer side has this many pixels; None keeps sizes.
        gap: pixels between pictures.
        background: RGB colour behind them.

    Raises:
        InputError: there are no images, or another number of labels than of images.
    """
    pictures = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    if not pictures:
        raise InputError("images: expected at least one picture for a contact sheet, got none")
    if labels is not None and len(labels) != len(pictures):
        raise InputError(f"labels: expected one for each of {len(pictures)} images, got {len(labels)}")
    if cell is not None:
        pictures = [_scaled(picture, cell) for picture in pictures]
    columns = columns or int(np.ceil(np.sqrt(len(pictures))))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    text_height = 20 if labels is not None else 0
    width = max(picture.width for picture in pictures) + gap
    height = max(picture.height for picture in pictures) + gap + text_height
    sheet = Image.new("RGB", (columns * width + gap, rows * height + gap), background)
    draw = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        left, top = gap + (index % columns) * width, gap + (index // columns) * height
        sheet.paste(picture.convert("RGB"), (left, top))
        if labels is not None:
            draw.text((left + 2, top + picture.height + 2), labels[index], fill=(230, 230, 230), font=label_font(13))
    return sheet


def _scaled(picture: Image.Image, longer_side: int) -> Image.Image:
    scale = longer_side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)
