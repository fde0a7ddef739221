"""Skeletons and discs, drawn on a picture."""

from __future__ import annotations

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
    for points_px in drawn:
        canvas = draw_skeleton(canvas, points_px, size / 420, opacity, dots=0.0)
    if answer_px is not None and radius_px is not None:
        canvas = draw_discs(canvas, answer_px, radius_px)
    if answer_px is not None:
        canvas = draw_skeleton(canvas, answer_px, size / 240, np.full(21, 0.95), dots=1.6)
    return canvas


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
    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    finite = np.isfinite(points_px).all(axis=-1) & (np.abs(np.nan_to_num(points_px)) < 1e5).all(axis=-1)
    for (parent, child), color in zip(BONES, BONE_COLORS, strict=True):
        if finite[parent] and finite[child]:
            ends = [tuple(points_px[parent].tolist()), tuple(points_px[child].tolist())]
            draw.line(ends, fill=(*color, round(255 * opacity[child])), width=max(1, round(width)))
    if dots:
        for joint in np.flatnonzero(finite):
            box = circle(points_px[joint], dots * width)
            draw.ellipse(
                box,
                fill=(*JOINT_COLORS[joint], round(255 * opacity[joint])),
                outline=(0, 0, 0, round(160 * opacity[joint])),
                width=max(1, round(width / 3)),
            )
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")


def draw_discs(canvas: Image.Image, points_px: np.ndarray, radius_px: np.ndarray) -> Image.Image:
    """Draw a see-through disc round each joint: (21, 2) and (21,) on the canvas; what is not finite is left out."""
    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    for joint in range(21):
        radius = float(radius_px[joint])
        if not (np.isfinite(points_px[joint]).all() and np.isfinite(radius)) or radius < 0.5:
            continue
        disc = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
        ImageDraw.Draw(disc).ellipse(
            circle(points_px[joint], min(radius, 4.0 * canvas.width)),
            fill=(*JOINT_COLORS[joint], 46),
            outline=(*JOINT_COLORS[joint], 190),
            width=max(1, canvas.width // 420),
        )
        layer = Image.alpha_composite(layer, disc)
    return Image.alpha_composite(canvas.convert("RGBA"), layer).convert("RGB")


def circle(centre, radius: float) -> tuple[float, float, float, float]:
    """The box of a circle, as Pillow draws it."""
    x, y = float(centre[0]), float(centre[1])
    return x - radius, y - radius, x + radius, y + radius
