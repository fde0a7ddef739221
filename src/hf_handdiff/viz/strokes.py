"""Skeletons and discs, drawn on a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from hf_handdiff.hand.topology import BONES
from hf_handdiff.viz.colors import BONE_COLORS, JOINT_COLORS

_MAX_DRAWN_HYPOTHESES = 64


def draw_spread(
    canvas: Image.Image,
    hypotheses_px: list[np.ndarray],
    answer_px: np.ndarray | None,
    radius_px: np.ndarray | None,
) -> Image.Image:
    """Draw every hypothesis as a thin skeleton, the discs of expected error, and the answer's skeleton."""
    size = canvas.width
    drawn = hypotheses_px[:_MAX_DRAWN_HYPOTHESES]
    opacity = np.full(21, float(np.clip(5.0 / max(len(drawn), 1), 0.16, 0.8)))
    canvas = canvas.convert("RGBA")
    for points_px in drawn:
        _lay(canvas, _skeleton(canvas.size, points_px, size / 420, opacity, dots=0.0))
    if answer_px is not None and radius_px is not None:
        _lay_discs(canvas, answer_px, radius_px)
    if answer_px is not None:
        _lay(canvas, _skeleton(canvas.size, answer_px, size / 240, np.full(21, 0.95), dots=1.6))
    return canvas.convert("RGB")


def draw_skeleton(
    canvas: Image.Image, points_px: np.ndarray, width: float, opacity: np.ndarray, dots: float
) -> Image.Image:
    """Draw bones in the colours of their fingers; bones with a NaN end are left out.

    Args:
        canvas: RGB picture.
        points_px: (21, 2) on the canvas.
        width: of a bone in canvas px.
        opacity: (21,) 0..1, of each joint and the bone that leads to it.
        dots: radius of a joint, in bone widths; 0 draws none.
    """
    canvas = canvas.convert("RGBA")
    _lay(canvas, _skeleton(canvas.size, points_px, width, opacity, dots))
    return canvas.convert("RGB")


def draw_discs(canvas: Image.Image, points_px: np.ndarray, radius_px: np.ndarray) -> Image.Image:
    """Draw a see-through disc round each joint: (21, 2) and (21,) on the canvas; what is not finite is left out."""
    canvas = canvas.convert("RGBA")
    _lay_discs(canvas, points_px, radius_px)
    return canvas.convert("RGB")


@dataclass
class _Layer:
    """A see-through picture of the part of a canvas that is drawn on; all of it would take most of the time.

    Its corner is a whole pixel of the canvas, so what is drawn is what would be drawn on the canvas.
    """

    left: int
    top: int
    picture: Image.Image

    @classmethod
    def round_points(cls, size: tuple[int, int], points_px: np.ndarray, margin: float) -> _Layer | None:
        """The part round points (K, 2), with a margin in px; None: it is not on the canvas."""
        left, top = (max(int(value), 0) for value in np.floor(points_px.min(axis=0) - margin))
        right, bottom = np.minimum(np.ceil(points_px.max(axis=0) + margin) + 1, size).astype(int).tolist()
        if right <= left or bottom <= top:
            return None
        return cls(left, top, Image.new("RGBA", (right - left, bottom - top), (0, 0, 0, 0)))

    def moved(self, points_px: np.ndarray) -> np.ndarray:
        """Points of the canvas as points of the layer."""
        return points_px - (self.left, self.top)


def _lay(canvas: Image.Image, layer: _Layer | None) -> None:
    """Lay a layer on an RGBA canvas, in place."""
    if layer is not None:
        canvas.alpha_composite(layer.picture, (layer.left, layer.top))


def _skeleton(
    size: tuple[int, int], points_px: np.ndarray, width: float, opacity: np.ndarray, dots: float
) -> _Layer | None:
    finite = np.isfinite(points_px).all(axis=-1) & (np.abs(np.nan_to_num(points_px)) < 1e5).all(axis=-1)
    if not finite.any():
        return None
    layer = _Layer.round_points(size, points_px[finite], 2 * width + dots * width + 3)
    if layer is None:
        return None
    draw, points = ImageDraw.Draw(layer.picture), layer.moved(points_px).tolist()
    for (parent, child), color in zip(BONES, BONE_COLORS, strict=True):
        if finite[parent] and finite[child]:
            ends = [tuple(points[parent]), tuple(points[child])]
            draw.line(ends, fill=(*color, round(255 * opacity[child])), width=max(1, round(width)))
    if dots:
        for joint in np.flatnonzero(finite):
            draw.ellipse(
                circle(points[joint], dots * width),
                fill=(*JOINT_COLORS[joint], round(255 * opacity[joint])),
                outline=(0, 0, 0, round(160 * opacity[joint])),
                width=max(1, round(width / 3)),
            )
    return layer


def _lay_discs(canvas: Image.Image, points_px: np.ndarray, radius_px: np.ndarray) -> None:
    discs = [
        (joint, min(float(radius_px[joint]), 4.0 * canvas.width))
        for joint in range(21)
        if np.isfinite(points_px[joint]).all() and np.isfinite(radius_px[joint]) and radius_px[joint] >= 0.5
    ]
    together = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    for joint, radius in discs:
        disc = _Layer.round_points(canvas.size, points_px[joint : joint + 1], radius + 2)
        if disc is None:
            continue
        ImageDraw.Draw(disc.picture).ellipse(
            circle(disc.moved(points_px[joint]), radius),
            fill=(*JOINT_COLORS[joint], 46),
            outline=(*JOINT_COLORS[joint], 190),
            width=max(1, canvas.width // 420),
        )
        _lay(together, disc)
    canvas.alpha_composite(together)


def circle(centre, radius: float) -> tuple[float, float, float, float]:
    """The box of a circle, as Pillow draws it."""
    x, y = float(centre[0]), float(centre[1])
    return x - radius, y - radius, x + radius, y + radius
