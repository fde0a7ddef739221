"""A table, a wall or a lap close behind the hand: it takes the hand's shadow and fills the background."""

import numpy as np

from hf_handdiff.synthetic.materials import (
    PATTERN_GRAIN,
    PATTERN_NOISE,
    Material,
    random_object_material,
    srgb_to_linear,
)
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.skin import tone_color

SURFACE_SHARE = 0.22
EXTENT_M, CELLS = 1.6, 16
MIN_FACING = 0.35


def random_surface(points_m: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A plane that all of `points_m` (V, 3), hand and arm in camera axes, lie before, close to or on it."""
    towards_camera = -points_m.mean(0) / np.linalg.norm(points_m.mean(0))
    normal = towards_camera
    for _ in range(20):
        normal = towards_camera + rng.normal(0.0, 0.6, 3)
        normal /= np.linalg.norm(normal)
        if normal @ towards_camera > MIN_FACING:
            break
    gap = max(rng.normal(0.0, 0.05), 0.0)
    deepest = points_m[np.argmin(points_m @ normal)]
    centre = points_m.mean(0)
    centre = centre - normal * ((centre - deepest) @ normal + gap)
    side = np.cross(normal, [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side) + 1e-9
    return grid_plane(_surface_material(rng)).moved(np.stack([side, normal, np.cross(side, normal)], 1), centre)


def grid_plane(material: Material) -> Mesh:
    """A square in the xz plane that looks along +y, cut into cells so that the near plane takes only a
    few."""
    line = (np.arange(CELLS + 1) / CELLS - 0.5) * EXTENT_M
    x, z = np.meshgrid(line, line, indexing="ij")
    points = np.stack([x, np.zeros_like(x), z], -1).reshape(-1, 3).astype(np.float32)
    i, j = np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij")
    a = (i * (CELLS + 1) + j).reshape(-1)
    b, c, d = a + 1, a + CELLS + 1, a + CELLS + 2
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)]).astype(np.int32)
    return Mesh(points, faces, points, material, casts_shadow=False)


def _surface_material(rng: np.random.Generator) -> Material:
    """Wood, stone, cloth, paper or skin."""
    material = random_object_material(rng)
    material.roughness = max(material.roughness, 0.35)
    kind = rng.integers(4)
    if kind == 0:  # wood
        brown = np.array([0.6, 0.42, 0.26]) * rng.uniform(0.4, 1.5) + rng.normal(0.0, 0.04, 3)
        material.base, material.second = srgb_to_linear(brown), srgb_to_linear(brown * rng.uniform(0.6, 0.9))
        material.pattern, material.frequency, material.blotch_frequency = (
            PATTERN_GRAIN,
            rng.uniform(30, 120),
            9.0,
        )
        material.flush = np.array([1.0, 0.0, 0.0])
    elif kind == 1:  # cloth, stone
        material.second = np.clip(material.base * rng.uniform(0.5, 1.6), 0.0, 0.95)
        material.pattern, material.frequency = PATTERN_NOISE, rng.uniform(100.0, 600.0)
        material.roughness, material.specular, material.bump = 0.9, 0.02, rng.uniform(0.02, 0.2)
    elif kind == 2 and rng.random() < 0.5:  # a leg, a back
        material.base = material.second = srgb_to_linear(tone_color(rng.random()))
        material.scatter, material.specular, material.pattern = 1.0, 0.03, PATTERN_NOISE
    return material
