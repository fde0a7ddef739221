"""What people wear on an arm: sleeves and bands, made from the rings of the forearm."""

import numpy as np

from hf_handdiff.synthetic.materials import Material, random_cloth_material, random_object_material
from hf_handdiff.synthetic.mesh import Mesh, tube_faces

SLEEVE_SHARE, BAND_SHARE = 0.35, 0.1


def random_wearables(rings: np.ndarray, rng: np.random.Generator) -> list[Mesh]:
    """Perhaps a sleeve, perhaps a band (bracelet or watch strap) over the forearm `rings` (K, L, 3) m."""
    meshes = []
    if rng.random() < SLEEVE_SHARE:
        meshes.append(sleeve(rings, rng))
    if rng.random() < BAND_SHARE:
        meshes.append(band(rings, rng))
    return meshes


def sleeve(rings: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A sleeve with folds from somewhere on the arm to its far end."""
    first = int(rng.integers(1, 8))
    looseness = rng.uniform(1.12, 1.4)
    worn = rings[first:]
    count = worn.shape[1]
    angle = np.arange(count) * 2 * np.pi / count
    folds = 1.0 + 0.06 * np.sin(rng.integers(2, 5) * angle + rng.uniform(0, 2 * np.pi, (len(worn), 1)))
    folds *= 1.0 + rng.normal(0.0, 0.025, (len(worn), 1))
    centres = worn.mean(1, keepdims=True)
    outer = centres + (worn - centres) * (looseness * folds)[..., None]
    inner = centres[:1] + (worn[:1] - centres[:1]) * 0.98
    return _tube(np.concatenate([inner, outer]), random_cloth_material(rng))


def band(rings: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A narrow band near the wrist."""
    at, width = rng.uniform(0.2, 2.0), rng.uniform(0.15, 0.7)
    lower, upper = _ring_at(rings, at), _ring_at(rings, at + width)
    thickness = rng.uniform(1.04, 1.1)
    loops = [_scaled(lower, 0.97), _scaled(lower, thickness), _scaled(upper, thickness), _scaled(upper, 0.97)]
    return _tube(np.stack(loops), random_object_material(rng))


def _ring_at(rings: np.ndarray, position: float) -> np.ndarray:
    index = int(position)
    share = position - index
    return rings[index] * (1.0 - share) + rings[index + 1] * share


def _scaled(ring: np.ndarray, factor: float) -> np.ndarray:
    centre = ring.mean(0)
    return centre + (ring - centre) * factor


def _tube(loops: np.ndarray, material: Material) -> Mesh:
    count = loops.shape[1]
    faces = tube_faces([np.arange(count) + k * count for k in range(len(loops))])
    points = loops.reshape(-1, 3).astype(np.float32)
    return Mesh(points, faces.astype(np.int32), points, material)
