"""One picture that tells what was found in a photo, and how sure it is.

Four panels: the photo with its 2D keypoints, the answer's mesh over the photo, all hypotheses with the
expected error of every joint, and the hand from the side, where the depth shows that one photo cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from hf_handdiff.errors import InputError
from hf_handdiff.hand.topology import FINGERS
from hf_handdiff.images import ImageInput, load_image
from hf_handdiff.resizing import cut_out
from hf_handdiff.viz.colors import (
    ANSWER_COLOR,
    FINGER_COLORS,
    UNCERTAINTY_FULL_SCALE_M,
    uncertainty_colors,
    vertex_uncertainty,
)
from hf_handdiff.viz.placement import PlacedHand, place_prediction, project_to_pixels
from hf_handdiff.viz.plots import label_font
from hf_handdiff.viz.raster import shade
from hf_handdiff.viz.strokes import circle, draw_skeleton, draw_spread

LOW_HAND_SCORE = 0.5
"""Below this score of there being a hand at all, an answer is not to be trusted."""

PANEL_NAMES = ("keypoints", "answer", "spread", "side")
"""The panels of the picture, from left to right."""

_SUPERSAMPLING = 2
_GAP = 10
_LEGEND_HEIGHT = 66
_BACKGROUND = (24, 26, 30)
_OUTSIDE = (40, 43, 49)
_TEXT = (232, 234, 238)
_FAINT_TEXT = (160, 166, 176)
_WARNING = (255, 107, 92)
_MESH_OPACITY = 0.7


def draw_prediction(
    image: ImageInput,
    output: Any,
    index: int = 0,
    handedness: str = "right",
    intrinsics: np.ndarray | None = None,
    box: np.ndarray | None = None,
    panel: int = 420,
) -> Image.Image:
    """Draw one image's answer of a pipeline: `place_prediction`, then `draw_overlay`.

    Args:
        image: the image that the pipeline got.
        output: what `CascadedHandPipeline` returned.
        index: which image of the batch it is.
        handedness: "right" or "left", as given to the pipeline.
        intrinsics: (3, 3) px, as given to the pipeline, or None.
        box: (4,) xyxy px, as given to the pipeline, or None.
        panel: side of each panel in px.
    """
    pixels = load_image(image, "image")
    hand = place_prediction(pixels.shape[:2], output, index, handedness, intrinsics, box)
    return draw_overlay(pixels, hand, panel=panel)


def draw_overlay(image: np.ndarray, hand: PlacedHand, panel: int = 420) -> Image.Image:
    """Draw the four panels and their legend.

    The panels show the surroundings of the hand, enlarged when it is a small part of the photo; then a small
    picture of the whole photo shows where it is.

    Args:
        image: (H, W, 3) uint8 RGB photo.
        hand: what is drawn on it.
        panel: side of each panel in px.

    Returns:
        An RGB picture, 4 panels wide.
    """
    panels = draw_panels(image, hand, panel)
    titles = [
        "photo and 2D keypoints",
        "answer",
        f"{len(hand.hypotheses)} hypotheses, expected error",
        "from the side",
    ]
    width = len(panels) * panel + (len(panels) + 1) * _GAP
    sheet = Image.new("RGB", (width, panel + 2 * _GAP + _LEGEND_HEIGHT), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (picture, title) in enumerate(zip(panels.values(), titles, strict=True)):
        left = _GAP + number * (panel + _GAP)
        sheet.paste(picture, (left, _GAP))
        draw.text(
            (left + 9, _GAP + 6),
            title,
            fill=_TEXT,
            font=label_font(15),
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
    _draw_legend(sheet, hand, top=panel + 2 * _GAP)
    return sheet


def draw_panels(
    image: np.ndarray, hand: PlacedHand, panel: int = 420, names: Sequence[str] = PANEL_NAMES
) -> dict[str, Image.Image]:
    """Draw the panels of `draw_overlay` by themselves, without titles.

    Args:
        image: (H, W, 3) uint8 RGB photo.
        hand: what is drawn on it.
        panel: side of each panel in px.
        names: those of `PANEL_NAMES` that are wanted.

    Returns:
        The pictures by name, each `panel` px square, in the order of `names`.

    Raises:
        InputError: the hand is not finite, the panel too small, or a name unknown.
    """
    _check(image, hand, panel)
    for name in names:
        if name not in PANEL_NAMES:
            raise InputError(f"names: expected some of {', '.join(PANEL_NAMES)}, got {name!r}")
    view = _View.of_hand(image, hand, panel)
    photo = view.photo(image)
    draw = {
        "keypoints": lambda: _draw_keypoints_panel(photo, view, image, hand),
        "answer": lambda: _draw_mesh_panel(photo, view, hand),
        "spread": lambda: _draw_spread_panel(photo, view, hand),
        "side": lambda: _draw_side_panel(view, hand),
    }
    return {name: draw[name]().resize((panel, panel), Image.Resampling.BOX) for name in names}


def panel_window(image: np.ndarray, hand: PlacedHand) -> tuple[float, float, float]:
    """Return the square of the photo that its panels show: left, top and side, in px of the photo."""
    view = _View.of_hand(image, hand, panel=1)
    return view.left, view.top, view.side


# ------------------------------------------------------------------------------------------------ panels


@dataclass
class _View:
    """A square of the photo, and the supersampled canvas that shows it."""

    left: float  # px of the photo
    top: float
    side: float
    size: int  # px of the canvas

    @classmethod
    def of_hand(cls, image: np.ndarray, hand: PlacedHand, panel: int) -> _View:
        """Show the seen keypoints and the mesh with a margin, never more than the whole photo."""
        height, width = image.shape[:2]
        size = panel * _SUPERSAMPLING
        longer = float(max(height, width))
        whole = cls((width - longer) / 2, (height - longer) / 2, longer, size)
        mesh = np.concatenate([project_to_pixels(points, hand.intrinsics) for points in (hand.vertices, hand.joints)])
        seen = np.zeros((0, 2)) if hand.keypoints_px is None else _near(hand.keypoints_px, 0, [width, height])
        if len(seen) >= 2:  # a mesh that went astray must not take the view away from the hand
            mesh = _near(mesh, seen.min(axis=0), seen.max(axis=0))
        else:
            mesh = _near(mesh, 0, [width, height])
        points = np.concatenate([seen, mesh])
        if len(points) == 0:
            return whole
        low, high = points.min(axis=0), points.max(axis=0)
        side = max(float(1.45 * (high - low).max()), 24.0)
        if side > 0.8 * longer:  # a hand that nearly fills a photo is shown with all of the photo
            return whole
        centre = (low + high) / 2
        return cls(float(centre[0] - side / 2), float(centre[1] - side / 2), side, size)

    @property
    def scale(self) -> float:
        """Canvas pixels per photo pixel."""
        return self.size / self.side

    def to_canvas(self, points_px: np.ndarray) -> np.ndarray:
        return (points_px - np.array([self.left, self.top])) * self.scale

    def photo(self, image: np.ndarray) -> Image.Image:
        """Return the square cut out of the photo, on the canvas."""
        region = (self.left, self.top, self.left + self.side, self.top + self.side)
        # one pixel of margin on each side, so that interpolation at the rim is right
        return cut_out(image, region, (self.size, self.size), Image.Resampling.BICUBIC, _OUTSIDE, margin=1)


def _draw_keypoints_panel(photo: Image.Image, view: _View, image: np.ndarray, hand: PlacedHand) -> Image.Image:
    canvas = photo.copy()
    if hand.keypoints_px is not None:
        scores = np.ones(21) if hand.keypoint_scores is None else hand.keypoint_scores
        opacity = 0.25 + 0.65 * np.clip(np.nan_to_num(scores), 0.0, 1.0)
        canvas = draw_skeleton(canvas, view.to_canvas(hand.keypoints_px), view.size / 170, opacity, dots=2.0)
    if view.side < 0.55 * max(image.shape[:2]):
        canvas = _draw_locator(canvas, view, image)
    return canvas


def _draw_mesh_panel(photo: Image.Image, view: _View, hand: PlacedHand) -> Image.Image:
    vertices_px = view.to_canvas(project_to_pixels(hand.vertices, hand.intrinsics))
    colors = np.tile(np.array(ANSWER_COLOR), (len(hand.vertices), 1))
    mesh = shade(hand.vertices, hand.faces, vertices_px, colors, view.size)
    mesh.putalpha(mesh.getchannel("A").point(lambda value: round(value * _MESH_OPACITY)))
    return Image.alpha_composite(photo.convert("RGBA"), mesh).convert("RGB")


def _draw_spread_panel(photo: Image.Image, view: _View, hand: PlacedHand) -> Image.Image:
    calm = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size, _BACKGROUND), 0.45)
    points_px = list(view.to_canvas(project_to_pixels(hand.hypotheses, hand.intrinsics)))
    radius_px = None
    if hand.joint_std is not None:
        depth = np.maximum(hand.joints[:, 2], 1e-3)
        radius_px = hand.joint_std * hand.intrinsics[0, 0] / depth * view.scale
    answer_px = view.to_canvas(project_to_pixels(hand.joints, hand.intrinsics))
    return draw_spread(calm, points_px, answer_px, radius_px)


def _draw_side_panel(view: _View, hand: PlacedHand) -> Image.Image:
    """Look along the photo's x axis from the right: the photo's camera stands at the left.

    Drawn without perspective, at the scale of the photo if that leaves room.
    """
    canvas = Image.new("RGB", (view.size, view.size), _OUTSIDE)
    everything = np.concatenate([hand.vertices, hand.hypotheses.reshape(-1, 3)])
    low, high = np.percentile(everything, 0.5, axis=0), np.percentile(everything, 99.5, axis=0)
    centre = (low + high) / 2
    extent = max(float((high - low)[1:].max()), 1e-3)
    depth = max(float(hand.joints[:, 2].mean()), 1e-3)
    pixels_per_metre = min(hand.intrinsics[0, 0] / depth * view.scale, 0.8 * view.size / extent)

    def turn(points: np.ndarray) -> np.ndarray:
        return np.stack([points[..., 2], points[..., 1], -points[..., 0]], axis=-1)

    def to_canvas(points: np.ndarray) -> np.ndarray:
        return (turn(points) - turn(centre))[..., :2] * pixels_per_metre + view.size / 2

    colors = np.tile(np.array(ANSWER_COLOR), (len(hand.vertices), 1))
    if hand.joint_std is not None:
        colors = uncertainty_colors(vertex_uncertainty(hand.vertices, hand.joints, hand.joint_std))
    mesh = shade(turn(hand.vertices), hand.faces, to_canvas(hand.vertices), colors, view.size)
    mesh.putalpha(mesh.getchannel("A").point(lambda value: round(value * 0.92)))
    canvas = Image.alpha_composite(canvas.convert("RGBA"), mesh).convert("RGB")
    canvas = draw_spread(canvas, [to_canvas(joints) for joints in hand.hypotheses], None, None)
    _draw_scale_bar(canvas, pixels_per_metre)
    return canvas


# ------------------------------------------------------------------------------------------------ marks


def _draw_locator(canvas: Image.Image, view: _View, image: np.ndarray) -> Image.Image:
    """Put a small picture of the whole photo into the lower left corner, the view marked in it."""
    canvas = canvas.copy()
    height, width = image.shape[:2]
    scale = 0.27 * view.size / max(height, width)
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cut_out(image, (0, 0, width, height), small_size, Image.Resampling.LANCZOS)
    corners = np.array([view.left, view.top, view.left + view.side, view.top + view.side]) * scale
    ImageDraw.Draw(small).rectangle(corners.tolist(), outline=(255, 255, 255), width=4)
    framed = Image.new("RGB", (small.width + 6, small.height + 6), (255, 255, 255))
    framed.paste(small, (3, 3))
    canvas.paste(framed, (0, view.size - framed.height))
    return canvas


def _draw_scale_bar(canvas: Image.Image, pixels_per_metre: float) -> None:
    """Mark 5 cm, and on which side the photo's camera stands."""
    draw = ImageDraw.Draw(canvas)
    size = canvas.width
    length = 0.05 * pixels_per_metre
    right, bottom = size * 0.96, size * 0.955
    draw.line([(right - length, bottom), (right, bottom)], fill=_TEXT, width=size // 200)
    draw.text(
        (right - length / 2, bottom - size * 0.012),
        "5 cm",
        fill=_TEXT,
        font=label_font(size // 30),
        anchor="mb",
    )
    draw.text(
        (size * 0.03, bottom),
        "camera at the left",
        fill=_FAINT_TEXT,
        font=label_font(size // 30),
        anchor="lm",
    )


def _draw_legend(sheet: Image.Image, hand: PlacedHand, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    x = _GAP + 6
    draw.text((x, top + 4), f"{hand.handedness} hand", fill=_TEXT, font=label_font(18))
    if hand.hand_score is not None:
        low = not hand.hand_score >= LOW_HAND_SCORE
        text = f"hand score {hand.hand_score:.2f}" + (": perhaps no hand" if low else "")
        draw.text((x, top + 30), text, fill=_WARNING if low else _FAINT_TEXT, font=label_font(15))
    if hand.joint_std is None:
        return
    x += 250
    millimetres = 1000.0 * hand.joint_std
    draw.text(
        (x, top + 4),
        f"expected error: {np.mean(millimetres):.1f} mm a joint",
        fill=_TEXT,
        font=label_font(18),
    )
    for finger, joints in FINGERS.items():
        draw.ellipse(circle((x + 6, top + 40), 6), fill=FINGER_COLORS[finger])
        text = f"{finger} {np.mean(millimetres[list(joints)]):.1f}"
        draw.text((x + 17, top + 30), text, fill=_FAINT_TEXT, font=label_font(15))
        x += 34 + draw.textlength(text, font=label_font(15))
    _draw_color_bar(sheet, top)


def _draw_color_bar(sheet: Image.Image, top: int) -> None:
    width = 230
    left = sheet.width - width - _GAP - 24
    ramp = uncertainty_colors(np.linspace(0.0, UNCERTAINTY_FULL_SCALE_M, width))
    sheet.paste(Image.fromarray(np.tile(ramp[None], (14, 1, 1))), (left, top + 8))
    draw = ImageDraw.Draw(sheet)
    for share, text in ((0.0, "0"), (0.5, ""), (1.0, f"{1000 * UNCERTAINTY_FULL_SCALE_M:.0f} mm")):
        draw.text((left + share * width, top + 28), text, fill=_FAINT_TEXT, font=label_font(14), anchor="ma")
    draw.text((left + width / 2, top + 28), "expected error", fill=_FAINT_TEXT, font=label_font(14), anchor="ma")


# ------------------------------------------------------------------------------------------------ helpers


def _near(points: np.ndarray, low, high) -> np.ndarray:
    """Keep those of (K, 2) points in the box from `low` to `high`, enlarged by half its longer side."""
    low, high = np.broadcast_to(low, 2), np.broadcast_to(high, 2)
    reach = 0.5 * (high - low).max()
    points = points[np.isfinite(points).all(axis=-1)]
    return points[((points > low - reach) & (points < high + reach)).all(axis=-1)]


def _check(image: np.ndarray, hand: PlacedHand, panel: int) -> None:
    load_image(image, "image")
    if panel < 64:
        raise InputError(f"panel: expected at least 64 px, got {panel}")
    if not (np.isfinite(hand.vertices).all() and np.isfinite(hand.joints).all()):
        raise InputError("hand: expected finite vertices and joints, got NaN or infinity")
