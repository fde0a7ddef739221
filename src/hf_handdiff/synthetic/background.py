"""Backgrounds: panoramas and synthetic pictures, with clutter and distractors that have the colour of skin."""

import cv2
import numpy as np

from hf_handdiff.synthetic.environment import Environment, panorama_crop
from hf_handdiff.synthetic.skin import tone_color

PANORAMA_SHARE = 0.5
OUT_OF_FOCUS_SHARE, OUT_OF_FOCUS_PX = 0.85, (0.5, 6.0)
PAINTER_SHARES = (0.5, 0.1, 0.13, 0.17, 0.1)  # most plain walls, as behind most hands in photos
CLUTTER_SHARE, DISTRACTOR_SHARE = 0.2, 0.2
_SUBPIXEL_BITS = 3


def sample_background(
    size: int, environment: Environment, rotation: np.ndarray, gain: float, rng: np.random.Generator
) -> np.ndarray:
    """A background (size, size, 3) float32 0..1: what lies behind the scene, out of focus or not."""
    if rng.random() < PANORAMA_SHARE:
        image = panorama_crop(environment, rotation, size, np.radians(rng.uniform(25.0, 95.0)), gain)
    else:
        painters = (_gradient, _noise_picture, _tiles, _planks, _blobs)
        painter = painters[rng.choice(len(painters), p=PAINTER_SHARES)]
        image = painter(size, rng).astype(np.float32)
    image = np.ascontiguousarray(image)
    for _ in range(rng.integers(1, 7) if rng.random() < CLUTTER_SHARE else 0):
        draw_clutter(image, rng)
    if rng.random() < DISTRACTOR_SHARE:
        for _ in range(rng.integers(1, 4)):
            draw_skin_distractor(image, rng)
    if rng.random() < OUT_OF_FOCUS_SHARE:
        image = cv2.GaussianBlur(image, (0, 0), float(np.exp(rng.uniform(*np.log(OUT_OF_FOCUS_PX)))))
    return image


def _color(rng: np.random.Generator) -> np.ndarray:
    """A display colour (3,): often greyish, sometimes bright."""
    grey, tint = rng.uniform(0.03, 0.97), rng.uniform(0.0, 1.0, 3)
    amount = rng.beta(1.0, 3.5)
    return grey * (1.0 - amount) + tint * amount


def _smooth_noise(size: int, cells: int, rng: np.random.Generator, channels: int = 1) -> np.ndarray:
    """(size, size, channels) float32 in 0..1 that varies over about size / cells pixels."""
    coarse = rng.random((cells + 3, cells + 3, channels), np.float32)
    noise = cv2.resize(coarse, (size + size // 2, size + size // 2), interpolation=cv2.INTER_CUBIC)
    noise = noise[size // 4 : size // 4 + size, size // 4 : size // 4 + size]
    return np.clip(noise.reshape(size, size, channels), 0.0, 1.0)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first * (1.0 - share) + second * share


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    """A wall: two colours that run into each other, slightly uneven."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    ramp = np.clip(0.5 + np.cos(angle) * x + np.sin(angle) * y, 0.0, 1.0)[..., None]
    first = _color(rng)
    second = np.clip(first + rng.normal(0.0, 0.25, 3), 0.0, 1.0)
    return _blend(first, second, ramp) + rng.uniform(0.0, 0.12) * (_smooth_noise(size, 40, rng) - 0.5)


def _noise_picture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of several scales between two or more colours: stone, cloth, leaves."""
    share = np.zeros((size, size, 1), np.float32)
    total = 0.0
    for cells in (int(rng.integers(2, 6)), int(rng.integers(8, 20)), int(rng.integers(30, 80))):
        weight = rng.uniform(0.1, 1.0)
        share += weight * _smooth_noise(size, cells, rng)
        total += weight
    share = np.clip((share / total - 0.5) * rng.uniform(0.7, 2.5) + 0.5, 0.0, 1.0)
    image = _blend(_color(rng), _color(rng), share)
    return _blend(image, _smooth_noise(size, int(rng.integers(3, 30)), rng, 3), rng.beta(1.0, 3.0) * 0.25)


def _warped_grid(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Plane coordinates (size, size) each, seen under a random turn and foreshortening."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    u, v = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    depth = 1.0 + rng.uniform(0.0, 1.2) * u
    return u / depth, v / depth


def _tiles(size: int, rng: np.random.Generator) -> np.ndarray:
    """Tiles or a checkered cloth in perspective, with joints."""
    u, v = _warped_grid(size, rng)
    cells = rng.uniform(3.0, 16.0)
    u, v = u * cells + 50.0, v * cells * rng.uniform(0.5, 1.5) + 50.0
    checker = ((np.floor(u) + np.floor(v)) % 2)[..., None]
    shade = np.sin(np.floor(u) * 12.9898 + np.floor(v) * 78.233)[..., None] * 0.06
    image = _blend(_color(rng), _color(rng), checker * rng.uniform(0.0, 1.0)) + shade
    joint = ((u % 1.0 < 0.06) | (v % 1.0 < 0.06))[..., None] * rng.uniform(0.0, 1.0)
    return np.clip(_blend(image, _color(rng), joint), 0.0, 1.0)


def _planks(size: int, rng: np.random.Generator) -> np.ndarray:
    """Boards with grain: a table, a floor."""
    u, v = _warped_grid(size, rng)
    boards = rng.uniform(1.0, 8.0)
    board = np.floor(v * boards)
    wave = _smooth_noise(size, 6, rng)[..., 0]
    grain = np.sin(v * rng.uniform(60.0, 200.0) + 6.0 * wave + 17.0 * board) * 0.5 + 0.5
    base = np.array([0.55, 0.38, 0.22]) * rng.uniform(0.4, 1.6) + rng.normal(0.0, 0.05, 3)
    tone = 0.75 + 0.25 * grain[..., None] * rng.uniform(0.3, 1.0) + 0.1 * np.sin(board * 12.3)[..., None]
    gap = (v * boards % 1.0 < 0.03)[..., None] * 0.6
    return np.clip(base * tone * (1.0 - gap), 0.0, 1.0)


def _blobs(size: int, rng: np.random.Generator) -> np.ndarray:
    """Lights out of focus over a dark or plain ground."""
    image = np.full((size, size, 3), _color(rng) * rng.uniform(0.1, 1.0), np.float32)
    for _ in range(rng.integers(5, 30)):
        layer = image.copy()
        centre = (int(rng.integers(size)), int(rng.integers(size)))
        cv2.circle(layer, centre, int(rng.integers(4, 40)), _color(rng).tolist(), -1, cv2.LINE_AA)
        opacity = rng.uniform(0.2, 0.9)
        image = _blend(image, layer, np.float32(opacity))
    return image


def draw_clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    """One polygon, ellipse, stroke or frame of a random colour, drawn into `image` in place."""
    size = image.shape[0]
    color = _color(rng).tolist()
    layer = image.copy()
    kind = rng.integers(4)
    if kind == 0:
        corners = rng.integers(-40, size + 40, (rng.integers(3, 6), 2)).astype(np.int32)
        cv2.fillPoly(layer, [corners], color, cv2.LINE_AA)
    elif kind == 1:
        centre, axes = rng.integers(0, size, 2), rng.integers(5, size // 2, 2)
        cv2.ellipse(layer, centre.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, color, -1, cv2.LINE_AA)
    elif kind == 2:
        ends = rng.integers(-20, size + 20, (2, 2))
        cv2.line(layer, ends[0].tolist(), ends[1].tolist(), color, int(rng.integers(1, 30)), cv2.LINE_AA)
    else:
        corner, extent = rng.integers(-30, size, 2), rng.integers(15, size, 2)
        box = cv2.boxPoints(
            (
                (float(corner[0]), float(corner[1])),
                (float(extent[0]), float(extent[1])),
                float(rng.uniform(0, 90)),
            )
        )
        cv2.fillPoly(layer, [box.astype(np.int32)], color, cv2.LINE_AA)
        if rng.random() < 0.5:
            cv2.polylines(
                layer,
                [box.astype(np.int32)],
                True,
                _color(rng).tolist(),
                int(rng.integers(1, 8)),
                cv2.LINE_AA,
            )
    opacity = np.float32(rng.uniform(0.4, 1.0))
    image += (layer - image) * opacity


def draw_skin_distractor(image: np.ndarray, rng: np.random.Generator) -> None:
    """Something with the colour of skin that is no hand: a face, a limb, a patch, a fan of prongs. In place."""
    size = image.shape[0]
    color = np.clip(tone_color(rng.random()) * rng.uniform(0.5, 1.15), 0.0, 1.0)
    centre = rng.uniform(0.0, size, 2)
    radius = rng.uniform(0.08, 0.35) * size
    kind = rng.integers(4)
    if kind == 3:
        _draw_prongs(image, color, centre, radius, rng)
    elif kind == 0:
        _draw_face(image, color, centre, radius, rng)
    elif kind == 1:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        end = centre + rng.uniform(1.5, 4.0) * radius * np.array([np.cos(angle), np.sin(angle)])
        _shaded_shape(
            image,
            color,
            rng,
            lambda mask: cv2.line(
                mask, _fixed(centre), _fixed(end), 1.0, max(int(0.7 * radius), 2), cv2.LINE_AA, _SUBPIXEL_BITS
            ),
        )
    else:
        axes = (radius, radius * rng.uniform(0.4, 1.0))
        angle = float(rng.uniform(0.0, 180.0))
        _shaded_shape(image, color, rng, lambda mask: _ellipse(mask, centre, axes, angle))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """A point in OpenCV's fixed-point pixels."""
    return int(point[0] * 2**_SUBPIXEL_BITS), int(point[1] * 2**_SUBPIXEL_BITS)


def _ellipse(mask: np.ndarray, centre: np.ndarray, axes: tuple[float, float], angle_deg: float) -> None:
    fixed_axes = (max(int(axes[0] * 2**_SUBPIXEL_BITS), 1), max(int(axes[1] * 2**_SUBPIXEL_BITS), 1))
    cv2.ellipse(mask, _fixed(centre), fixed_axes, angle_deg, 0, 360, 1.0, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _shaded_shape(image: np.ndarray, color: np.ndarray, rng: np.random.Generator, draw) -> None:
    """Fill what `draw` draws into a mask with `color`, lit from a random side as if it were round. In
    place."""
    mask = np.zeros(image.shape[:2], np.float32)
    draw(mask)
    height = cv2.GaussianBlur(mask, (0, 0), 0.04 * image.shape[0])
    angle = rng.uniform(0.0, 2.0 * np.pi)
    slope = np.cos(angle) * cv2.Sobel(height, -1, 1, 0, ksize=3) + np.sin(angle) * cv2.Sobel(height, -1, 0, 1, ksize=3)
    shading = np.clip(0.6 + 0.4 * height + 2.0 * slope, 0.2, 1.25)[..., None]
    shading = shading * (1.0 + 0.1 * (_smooth_noise(image.shape[0], 30, rng) - 0.5))
    image += (np.clip(color * shading, 0.0, 1.0).astype(np.float32) - image) * mask[..., None]


def _draw_prongs(
    image: np.ndarray, color: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """A lump from which prongs stand out as fingers do from a palm, but too many or too few: no hand."""
    prongs = int(rng.choice([2, 3, 7, 8, 9]))
    middle, fan = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.15, 0.5)
    thickness = max(int(rng.uniform(0.18, 0.3) * radius), 2)

    def draw(mask: np.ndarray) -> None:
        _ellipse(mask, centre, (0.55 * radius, 0.45 * radius), float(np.degrees(middle)))
        for number in range(prongs):
            angle = middle + (number - 0.5 * (prongs - 1)) * fan
            end = centre + rng.uniform(0.9, 1.6) * radius * np.array([np.cos(angle), np.sin(angle)])
            cv2.line(mask, _fixed(centre), _fixed(end), 1.0, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)

    _shaded_shape(image, color, rng, draw)


def _draw_face(
    image: np.ndarray, color: np.ndarray, centre: np.ndarray, radius: float, rng: np.random.Generator
) -> None:
    """An oval with hair, eyes, brows and a mouth: enough of a face to be seen as one when blurred."""
    hair = np.array([0.12, 0.08, 0.06]) * rng.uniform(0.3, 4.0)
    _shaded_shape(
        image,
        hair,
        rng,
        lambda mask: _ellipse(mask, centre - [0.0, 0.25 * radius], (0.9 * radius, 1.15 * radius), 0.0),
    )
    _shaded_shape(image, color, rng, lambda mask: _ellipse(mask, centre, (0.72 * radius, radius), 0.0))
    for side in (-1.0, 1.0):
        eye = centre + radius * np.array([0.28 * side, -0.15])
        _shaded_shape(
            image,
            np.array([0.9, 0.88, 0.86]),
            rng,
            lambda mask, eye=eye: _ellipse(mask, eye, (0.13 * radius, 0.07 * radius), 0.0),
        )
        _shaded_shape(
            image,
            np.array([0.1, 0.08, 0.07]),
            rng,
            lambda mask, eye=eye: _ellipse(mask, eye, (0.06 * radius, 0.065 * radius), 0.0),
        )
    _shaded_shape(
        image,
        color * np.array([0.9, 0.5, 0.5]),
        rng,
        lambda mask: _ellipse(mask, centre + [0.0, 0.5 * radius], (0.25 * radius, 0.08 * radius), 0.0),
    )
