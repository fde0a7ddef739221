"""What hides a hand: things in front of it, another hand, flat patches on the image (what it holds:
`grasps`)."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from hf_handdiff.synthetic.materials import random_color, random_object_material
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.placement import random_rotation
from hf_handdiff.synthetic.solids import random_solid

SECOND_HOLDS_SHARE = 0.12
KINDS, KIND_SHARES = ("front", "second_hand", "patch"), (0.53, 0.39, 0.08)


@dataclass
class FlatPatch:
    """A polygon (K, 2) px and its display colour (3,), drawn over the finished image."""

    corners_px: np.ndarray
    color: np.ndarray


@dataclass
class Occlusion:
    """What was sampled to hide the hand: solid `meshes` in camera axes and `patches` on the image."""

    meshes: list[Mesh] = field(default_factory=list)
    patches: list[FlatPatch] = field(default_factory=list)


def solid_in_front(vertices_m: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A solid between the camera and a random point of the hand `vertices_m` (V, 3), in camera axes."""
    solid = random_solid(rng, random_object_material(rng)).mesh
    target = vertices_m[rng.integers(len(vertices_m))]
    reach = np.linalg.norm(solid.points, axis=1).max()
    nearest = vertices_m[:, 2].min()
    depth = max(rng.uniform(0.55, 1.0) * nearest - 0.4 * reach, 0.35 * nearest)
    scale = np.clip(depth / nearest, 0.4, 1.0)  # what is nearer would look larger: keep most of the hand in view
    centre = target * depth / target[2]
    away = rng.normal(size=3) * np.array([1.0, 1.0, 0.0])
    centre = centre + away / (np.linalg.norm(away) + 1e-9) * rng.uniform(0.0, 0.6) * reach * scale
    return solid.moved(random_rotation(rng) * scale, centre)


def second_hand_offset(size_m: float, rng: np.random.Generator) -> np.ndarray:
    """Where another hand's middle lies from this one's, camera axes, m: in front, or beside and touching."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    if rng.random() < 0.5:
        sideways, toward = rng.uniform(0.2, 0.6) * size_m, rng.uniform(0.03, 0.09)
    else:
        sideways, toward = rng.uniform(0.5, 0.95) * size_m, rng.uniform(-0.04, 0.03)
    return np.array([sideways * np.cos(angle), sideways * np.sin(angle), -toward])


def flat_patches(image_size: int, box_px: np.ndarray, rng: np.random.Generator) -> list[FlatPatch]:
    """One to three polygons over parts of the hand's box (x0, y0, x1, y1)."""
    patches = []
    extent = (box_px[2:] - box_px[:2]).max()
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(box_px[:2], box_px[2:])
        sides = int(rng.integers(3, 7))
        angle = np.sort(rng.uniform(0.0, 2.0 * np.pi, sides))
        radius = rng.uniform(0.1, 0.33) * extent * rng.uniform(0.6, 1.0, sides)
        corners = centre + np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
        patches.append(FlatPatch(np.clip(corners, -image_size, 2 * image_size), random_color(rng) ** (1 / 2.2)))
    return patches


def draw_patches(image: np.ndarray, patches: list[FlatPatch]) -> np.ndarray:
    """Draw `patches` into `image` (H, W, 3) float32 in place; returns the pixels (H, W) bool that they
    cover."""
    covered = np.zeros(image.shape[:2], np.uint8)
    for patch in patches:
        corners = [np.round(patch.corners_px).astype(np.int32)]
        cv2.fillPoly(image, corners, patch.color.astype(float).tolist())
        cv2.fillPoly(covered, corners, 1)
    return covered.astype(bool)
