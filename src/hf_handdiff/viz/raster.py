"""Drawing a triangle mesh with numpy and Pillow: painter's algorithm, then smooth shading of every pixel.

Faces are painted from far to near, each with its own number instead of a colour; what remains visible is
shaded afterwards with interpolated normals. It needs no GL and no compiler, and takes some 30 ms.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

_LIGHT_DIRECTIONS = np.array([(-0.45, -0.65, -0.61), (0.75, -0.15, -0.64), (0.1, 0.9, -0.42)])
_LIGHT_STRENGTHS = np.array([0.62, 0.22, 0.12])
_AMBIENT = 0.30
_CREASE_DEPTH_M = 0.006
"""A jump in depth of more than this is drawn as an outline, so that fingers stand out from each other."""


class Fragments(NamedTuple):
    """The visible pixels of a mesh: which face each shows, and where on it."""

    rows: np.ndarray  # (P,)
    columns: np.ndarray  # (P,)
    faces: np.ndarray  # (P, 3) vertex numbers
    weights: np.ndarray  # (P, 3) barycentric coordinates, sum 1

    def interpolate(self, vertex_values: np.ndarray) -> np.ndarray:
        """Return (P, C) values at the pixels from (V, C) values at the vertices."""
        return np.einsum("pk,pkc->pc", self.weights, vertex_values[self.faces])


def outward_faces(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return `faces` (F, 3) wound so that normals point outwards; a mirrored (left) hand needs a flip."""
    centred = vertices - vertices.mean(axis=0)
    a, b, c = (centred[faces[:, corner]] for corner in range(3))
    volume = np.einsum("fi,fi->f", a, np.cross(b, c)).sum()
    return faces if volume >= 0 else faces[:, ::-1]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (V, 3) unit normals, faces weighted by their area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    face_normals = np.cross(b - a, c - a)
    corners, each = faces.reshape(-1), np.repeat(face_normals, 3, axis=0)
    sums = [np.bincount(corners, weights=column, minlength=len(vertices)) for column in each.T]
    normals = np.stack(sums, axis=-1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)


def rasterize(vertices_px: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: int) -> Fragments:
    """Return the visible pixels of a mesh on a square canvas.

    Args:
        vertices_px: (V, 2) positions on the canvas, origin at its top-left corner.
        depth: (V,) distance from the viewer, in any unit.
        faces: (F, 3) vertex numbers.
        size: width and height of the canvas.
    """
    numbers = Image.new("I", (size, size), 0)
    draw = ImageDraw.Draw(numbers)
    corners = vertices_px[faces] - 0.5  # Pillow counts from the centre of the first pixel
    drawable = np.isfinite(corners).all(axis=(1, 2)) & (np.abs(corners) < 1e6).all(axis=(1, 2))
    far_to_near = np.argsort(-depth[faces].mean(axis=1), kind="stable")
    for face in far_to_near[drawable[far_to_near]]:
        draw.polygon([tuple(corner) for corner in corners[face].tolist()], fill=int(face) + 1)
    face_map = np.asarray(numbers)
    rows, columns = np.nonzero(face_map)
    visible = face_map[rows, columns] - 1
    points = np.stack([columns, rows], axis=-1) + 0.5
    weights = _barycentric(points, vertices_px[faces[visible]])
    return Fragments(rows, columns, faces[visible], weights)


def shade(
    vertices: np.ndarray, faces: np.ndarray, vertices_px: np.ndarray, vertex_colors: np.ndarray, size: int
) -> Image.Image:
    """Return an RGBA picture of a lit mesh; pixels without mesh are transparent.

    Args:
        vertices: (V, 3) m in the axes of the view: x right, y down, z away from the viewer.
        faces: (F, 3) vertex numbers, of either winding.
        vertices_px: (V, 2) where the vertices fall on the canvas.
        vertex_colors: (V, 3) RGB 0..255.
        size: width and height of the canvas.
    """
    faces = outward_faces(vertices, faces)
    fragments = rasterize(vertices_px, vertices[:, 2], faces, size)
    normals = fragments.interpolate(vertex_normals(vertices, faces))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    normals = np.where(normals[:, 2:] > 0, -normals, normals)  # what is seen from inside is lit as well

    lights = _LIGHT_DIRECTIONS / np.linalg.norm(_LIGHT_DIRECTIONS, axis=-1, keepdims=True)
    light = _AMBIENT + np.clip(normals @ lights.T, 0.0, None) @ _LIGHT_STRENGTHS
    facing = np.clip(-normals[:, 2], 0.0, 1.0)
    light *= 0.62 + 0.38 * facing  # darker towards the silhouette
    gloss = 46.0 * np.clip(normals @ lights[0], 0.0, 1.0) ** 24
    colors = fragments.interpolate(vertex_colors.astype(np.float64)) * light[:, None] * 1.12 + gloss[:, None]

    depth = np.full((size, size), np.inf)
    depth[fragments.rows, fragments.columns] = fragments.interpolate(vertices[:, 2:])[:, 0]
    colors *= np.where(_behind_a_jump(depth)[fragments.rows, fragments.columns], 0.6, 1.0)[:, None]

    canvas = np.zeros((size, size, 4), np.uint8)
    canvas[fragments.rows, fragments.columns, :3] = np.clip(colors, 0, 255)
    canvas[fragments.rows, fragments.columns, 3] = 255
    return Image.fromarray(canvas)


def _behind_a_jump(depth: np.ndarray) -> np.ndarray:
    """Mark pixels that lie clearly behind a neighbour."""
    behind = np.zeros(depth.shape, bool)
    finite = np.isfinite(depth)
    filled = np.where(finite, depth, 1e9)
    for axis in (0, 1):
        jump = np.diff(filled, axis=axis)
        first, second = (slice(None, -1), slice(1, None))
        before = (first, slice(None)) if axis == 0 else (slice(None), first)
        after = (second, slice(None)) if axis == 0 else (slice(None), second)
        behind[after] |= jump > _CREASE_DEPTH_M
        behind[before] |= jump < -_CREASE_DEPTH_M
    return behind & finite


def _barycentric(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (P, 3) barycentric coordinates of (P, 2) points in (P, 3, 2) triangles, clipped to inside."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac, ap = b - a, c - a, points - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    weight_b = (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area
    weight_c = (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area
    weights = np.clip(np.stack([1.0 - weight_b - weight_c, weight_b, weight_c], axis=-1), 0.0, 1.0)
    total = weights.sum(axis=-1, keepdims=True)
    return np.where(total > 0, weights / np.maximum(total, 1e-12), 1.0 / 3.0)
