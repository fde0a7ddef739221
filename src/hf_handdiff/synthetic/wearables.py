"""What people wear on an arm and a hand: sleeves, bands and watches, gloves; made from the rings of the forearm."""

import numpy as np

from hf_handdiff.synthetic.hand_mesh import RenderHand, bare_skin_attributes
from hf_handdiff.synthetic.materials import (
    Material,
    random_cloth_material,
    random_glove_material,
    random_object_material,
)
from hf_handdiff.synthetic.mesh import Mesh, box, lathe, tube_faces
from hf_handdiff.synthetic.rasterizer import vertex_normals

SLEEVE_SHARE, BAND_SHARE, WATCH_SHARE = 0.4, 0.14, 0.4
WIDE_SHARE, OVER_WRIST_SHARE = 0.25, 0.3  # of the sleeves
OVER_WRIST_M = (0.005, 0.03)


def random_wearables(rings: np.ndarray, rng: np.random.Generator) -> list[Mesh]:
    """Perhaps a sleeve, perhaps a band (bracelet or watch strap) over the forearm `rings` (K, L, 3) m."""
    meshes = []
    if rng.random() < SLEEVE_SHARE:
        meshes.append(sleeve(rings, rng))
    if rng.random() < BAND_SHARE:
        meshes += band(rings, rng)
    return meshes


def glove(hand: RenderHand, points: np.ndarray, skin: Material, rng: np.random.Generator) -> list[Mesh]:
    """Hand and forearm, as `RenderHand.with_forearm` gives them, in a glove: the gloved hand, then arm and cuff."""
    material = random_glove_material(rng)
    thickness = rng.uniform(0.0003, 0.0016)
    gloved = points.copy()
    fingers = slice(0, hand.num_hand_vertices)
    gloved[fingers] += thickness * vertex_normals(points, hand.faces)[fingers]
    first = int(rng.integers(1, 6))
    rings, rest = hand.forearm_rings(points), hand.forearm_rings(hand.rest)
    bare = _tube(_scaled_rings(rings[first:], 1.012), skin)
    bare.rest = rest[first:].reshape(-1, 3).astype(np.float32)
    bare.attributes = bare_skin_attributes(len(bare.points))
    tight = rng.uniform(1.03, 1.07)
    flare = np.linspace(tight, tight if rng.random() < 0.6 else rng.uniform(1.15, 1.4), first + 1)
    cuff = _scaled_rings(rings[: first + 1], flare[:, None, None])
    closing = _scaled(rings[first], 1.0)[None]
    return [hand.skin_mesh(gloved, material), bare, _tube(np.concatenate([cuff, closing]), material)]


def sleeve(rings: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A sleeve with folds from somewhere on the arm to its far end."""
    first = int(rng.integers(1, 8))
    looseness = rng.uniform(1.5, 2.1) if rng.random() < WIDE_SHARE else rng.uniform(1.12, 1.4)
    worn = rings[first:]
    if rng.random() < OVER_WRIST_SHARE:  # it goes on from the first ring toward the hand, wide enough for its heel
        looseness = max(looseness, 1.45)
        along = rings[0].mean(0) - rings[2].mean(0)
        along *= rng.uniform(*OVER_WRIST_M) / np.linalg.norm(along)
        worn = np.concatenate([rings[:1] + along, rings])
    count = worn.shape[1]
    angle = np.arange(count) * 2 * np.pi / count
    folds = 1.0 + 0.06 * np.sin(rng.integers(2, 5) * angle + rng.uniform(0, 2 * np.pi, (len(worn), 1)))
    folds *= 1.0 + rng.normal(0.0, 0.025, (len(worn), 1))
    centres = worn.mean(1, keepdims=True)
    outer = centres + (worn - centres) * (looseness * folds)[..., None]
    inner = centres[:1] + (worn[:1] - centres[:1]) * 0.98
    return _tube(np.concatenate([inner, outer]), random_cloth_material(rng))


def _scaled_rings(rings: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
    centres = rings.mean(1, keepdims=True)
    return centres + (rings - centres) * factor


def band(rings: np.ndarray, rng: np.random.Generator) -> list[Mesh]:
    """A narrow band near the wrist, perhaps with a watch on the side of the back of the hand."""
    at, width = rng.uniform(0.2, 2.0), rng.uniform(0.15, 0.7)
    lower, upper = _ring_at(rings, at), _ring_at(rings, at + width)
    thickness = rng.uniform(1.04, 1.1)
    loops = [_scaled(lower, 0.97), _scaled(lower, thickness), _scaled(upper, thickness), _scaled(upper, 0.97)]
    meshes = [_tube(np.stack(loops), random_object_material(rng))]
    if rng.random() < WATCH_SHARE:
        meshes.append(_watch(0.5 * (loops[1] + loops[2]), upper.mean(0) - lower.mean(0), rng))
    return meshes


def _watch(ring: np.ndarray, along: np.ndarray, rng: np.random.Generator) -> Mesh:
    """A round or square watch on the ring's (L, 3) highest point toward the back of the hand, +y."""
    along = along / np.linalg.norm(along)
    up = np.array([0.0, 1.0, 0.0]) - along * along[1]
    up /= np.linalg.norm(up)
    top = ring[np.argmax(ring @ up)]
    radius, height = rng.uniform(0.014, 0.021), rng.uniform(0.006, 0.011)
    material = random_object_material(rng)
    if rng.random() < 0.6:
        heights = np.array([-0.5, -0.48, 0.45, 0.5]) * height
        case = lathe(radius * np.array([0.95, 1.0, 1.0, 0.85]), heights, material)
    else:
        case = box(np.array([1.7 * radius, height, 2.0 * radius]), material)
    return case.moved(np.stack([along, up, np.cross(along, up)], 1), top + 0.25 * height * up)


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
