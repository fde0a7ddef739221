"""Hands drawn into a frame of a video: the mesh in the colours of its expected error, the skeleton, the name."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from hf_handdiff.hand.topology import BONES
from hf_handdiff.viz.colors import BONE_COLORS, uncertainty_colors, vertex_uncertainty
from hf_handdiff.viz.placement import PlacedHand, project_to_pixels
from hf_handdiff.viz.plots import label_font
from hf_handdiff.viz.raster import shade

_MESH_OPACITY = 0.6
_LARGEST_PATCH = 720
_TEXT = (255, 255, 255)


def draw_hands(image: np.ndarray, hands: list[PlacedHand], names: list[str]) -> np.ndarray:
    """Draw hands into a frame.

    Args:
        image: (H, W, 3) uint8 RGB.
        hands: where they stand before the camera of the frame; farther ones are drawn first.
        names: what is written beside each.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = Image.fromarray(image)
    order = sorted(range(len(hands)), key=lambda k: -float(hands[k].joints[:, 2].mean()))
    for k in order:
        _draw_hand(canvas, hands[k], names[k])
    return np.asarray(canvas)


def _draw_hand(canvas: Image.Image, hand: PlacedHand, name: str) -> None:
    vertices_px = project_to_pixels(hand.vertices, hand.intrinsics)
    joints_px = project_to_pixels(hand.joints, hand.intrinsics)
    low, high = _extent(vertices_px, canvas.size)
    side = float((high - low).max())
    if side < 2:
        return
    size = int(np.clip(np.ceil(side), 2, _LARGEST_PATCH))
    std = np.zeros(21) if hand.joint_std is None else hand.joint_std
    colors = uncertainty_colors(vertex_uncertainty(hand.vertices, hand.joints, std))
    patch = shade(hand.vertices, hand.faces, (vertices_px - low) * (size / side), colors, size)
    patch.putalpha(patch.getchannel("A").point(lambda value: round(value * _MESH_OPACITY)))
    whole = (max(1, round(side)), max(1, round(side)))
    patch = patch if patch.size == whole else patch.resize(whole, Image.Resampling.BILINEAR)
    corner = (round(low[0]), round(low[1]))
    canvas.paste(patch.convert("RGB"), corner, patch.getchannel("A"))
    _draw_skeleton(canvas, joints_px, max(1, round(side / 150)))
    size = max(12, round(canvas.height / 36))
    place = (float(low[0]), float(max(low[1] - 1.3 * size, 2)))
    draw = ImageDraw.Draw(canvas)
    draw.text(place, name, fill=_TEXT, font=label_font(size), stroke_width=2, stroke_fill=(0, 0, 0))


def _draw_skeleton(canvas: Image.Image, joints_px: np.ndarray, width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    for (parent, child), color in zip(BONES, BONE_COLORS, strict=True):
        ends = joints_px[[parent, child]]
        if np.isfinite(ends).all() and (np.abs(ends) < 1e5).all():
            draw.line([tuple(end) for end in ends.tolist()], fill=tuple(int(value) for value in color), width=width)


def _extent(points_px: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the box of the points (K, 2), never much larger than the picture of `size` (width, height)."""
    points = points_px[np.isfinite(points_px).all(axis=1)]
    if len(points) == 0:
        return np.zeros(2), np.zeros(2)
    reach = np.array(size, dtype=np.float64)
    return np.maximum(points.min(axis=0), -reach) - 1, np.minimum(points.max(axis=0), 2 * reach) + 1
