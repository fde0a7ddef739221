"""Validation pictures: skeletons of truth and samples, meshes before and after."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from hf_handdiff.hand.topology import BONES

_CELL = 240
_SCALE_PX = 1000.0  # px per metre: a hand of 0.2 m fills most of a cell


def skeleton_sheet(truth: torch.Tensor, samples: torch.Tensor) -> Image.Image:
    """Truth (black) over samples (colours), from the front and from the side.

    Args:
        truth: (R, 21, 3) m.
        samples: (R, N, 21, 3) m.

    Returns:
        A picture with a column for each row of `truth`.
    """
    sheet = Image.new("RGB", (_CELL * len(truth), 2 * _CELL), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (one, many) in enumerate(zip(truth.numpy(), samples.numpy(), strict=True)):
        middle = one.mean(0)
        for row, axes in enumerate(((0, 1), (2, 1))):  # x-y as the camera sees it, z-y from the side
            origin = np.array([_CELL * (column + 0.5), _CELL * (row + 0.5)])
            for k, sample in enumerate(many):
                tint = tuple(int(v) for v in np.array([90, 140, 230]) + np.array([9, -4, -6]) * (k % 12))
                _skeleton(draw, origin + _SCALE_PX * (sample - middle)[:, axes], tint, 1)
            _skeleton(draw, origin + _SCALE_PX * (one - middle)[:, axes], (0, 0, 0), 2)
    return sheet


def _skeleton(draw: ImageDraw.ImageDraw, points: np.ndarray, colour, width: int) -> None:
    for parent, child in BONES:
        draw.line([tuple(points[parent]), tuple(points[child])], fill=colour, width=width)


def mesh_sheet(truth: torch.Tensor, rebuilt: torch.Tensor) -> Image.Image:
    """Vertices of the truth (grey) and rebuilt ones (green to red by their error, red = 2 mm), row by row.

    Args:
        truth: (R, V, 3) m.
        rebuilt: (R, V, 3) m.
    """
    sheet = Image.new("RGB", (_CELL * len(truth), 2 * _CELL), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (one, other) in enumerate(zip(truth.numpy(), rebuilt.numpy(), strict=True)):
        middle = one.mean(0)
        share = np.clip(np.linalg.norm(one - other, axis=-1) / 0.002, 0, 1)
        for row, (points, colours) in enumerate(((one, None), (other, share))):
            origin = np.array([_CELL * (column + 0.5), _CELL * (row + 0.5)])
            for i, (x, y) in enumerate(origin + _SCALE_PX * (points - middle)[:, :2]):
                fill = (120, 120, 120) if colours is None else (int(255 * colours[i]), int(160 * (1 - colours[i])), 40)
                draw.ellipse([x - 1, y - 1, x + 1, y + 1], fill=fill)
    return sheet
