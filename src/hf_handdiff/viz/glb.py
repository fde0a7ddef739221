"""Writing hands as GLB files that any 3D viewer opens: the answer, with bones or without, and every hypothesis."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hand.mesh_kinds import known_faces
from hf_handdiff.viz.colors import (
    ANSWER_COLOR,
    HYPOTHESIS_COLOR,
    uncertainty_colors,
    vertex_uncertainty,
)
from hf_handdiff.viz.gltf import GltfDocument
from hf_handdiff.viz.rig import HandRig
from hf_handdiff.viz.skinned_nodes import add_material, add_mesh_node, add_rig_nodes

_MOST_OPACITY, _LEAST_OPACITY = 0.14, 0.04
"""Of a hypothesis. Many of them lie before the answer, and its colours must still be seen."""
_RIG_TOLERANCE_M = 1e-4


def camera_to_gltf(points: np.ndarray) -> np.ndarray:
    """Turn points from OpenCV axes (y down, z away) to glTF's (y up, z towards the viewer)."""
    return points * np.array([1.0, -1.0, -1.0])


def write_glb(
    path: str | os.PathLike,
    vertices: np.ndarray,
    faces: np.ndarray,
    hypotheses: np.ndarray | None = None,
    joints: np.ndarray | None = None,
    joint_std: np.ndarray | None = None,
    rig: HandRig | None = None,
) -> Path:
    """Write the answer and its hypotheses to a GLB file, y up, metres.

    The meshes are called ``answer``, ``hypothesis_00``, ``hypothesis_01``...  The answer is coloured by its
    expected error where `joints` and `joint_std` are given; the hypotheses are see-through.  With a `rig` the answer is
    a skinned mesh, bound in the answer's pose to the 16 bones under the node ``answer_rig``: readers that know nothing
    of bones find the answer too.  To pose it otherwise take `export-rig`'s file, whose mesh is bound flat.  The file
    appears under its name only when it is complete.

    Args:
        path: the file to write; an older one is replaced.
        vertices: (V, 3) m, OpenCV axes, the answer.
        faces: (F, 3) vertex numbers; the winding is turned for left hands.
        hypotheses: (N, V, 3) m, or None.
        joints: (21, 3) m, the answer's joints.
        joint_std: (21,) m, the expected error of each.
        rig: the answer's, of `rig.rig_of_output`; None: the answer is a mesh like the others.

    Returns:
        The path.

    Raises:
        InputError: the arrays do not belong together, or hold NaN, or the rig is not the answer's, or `faces` is None.
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    faces = known_faces(faces).astype(np.int64)
    hypotheses = np.zeros((0, *vertices.shape)) if hypotheses is None else np.asarray(hypotheses, np.float64)
    _check_meshes(vertices, faces, hypotheses)

    document = GltfDocument()
    colors = np.broadcast_to(np.array(ANSWER_COLOR), vertices.shape)
    if joints is not None and joint_std is not None:
        colors = uncertainty_colors(vertex_uncertainty(vertices, np.asarray(joints), np.asarray(joint_std)))
    skin = add_material(document, "expected error", (255, 255, 255))
    if rig is None:
        add_mesh_node(document, "answer", camera_to_gltf(vertices), faces, skin, colors)
    else:
        check_rig(rig, vertices)
        add_rig_nodes(document, "answer", rig, skin, colors, posed=camera_to_gltf(vertices))
    if len(hypotheses):
        opacity = float(np.clip(1.3 / len(hypotheses), _LEAST_OPACITY, _MOST_OPACITY))
        ghost = add_material(document, "hypothesis", HYPOTHESIS_COLOR, opacity, roughness=0.8)
    for index, hypothesis in enumerate(hypotheses):
        add_mesh_node(document, f"hypothesis_{index:02d}", camera_to_gltf(hypothesis), faces, ghost)

    path = Path(path)
    with replace_file(path) as temporary:
        temporary.write_bytes(document.to_bytes())
    return path


def _check_meshes(vertices: np.ndarray, faces: np.ndarray, hypotheses: np.ndarray) -> None:
    if vertices.ndim != 2 or vertices.shape[-1] != 3:
        raise InputError(f"vertices: expected shape (V, 3), got {vertices.shape}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"faces: expected shape (F, 3) with numbers below {len(vertices)}, got shape {faces.shape}")
    if hypotheses.shape[1:] != vertices.shape:
        raise InputError(f"hypotheses: expected shape (N, {len(vertices)}, 3), got {hypotheses.shape}")
    if not (np.isfinite(vertices).all() and np.isfinite(hypotheses).all()):
        raise InputError("vertices: expected finite numbers, got NaN or infinity")


def check_rig(rig: HandRig, vertices: np.ndarray) -> None:
    """Refuse a rig whose first frame does not give vertices (V, 3) m, OpenCV axes, by `InputError`."""
    posed = rig.posed_vertices()[0]
    if posed.shape != vertices.shape or np.linalg.norm(posed - vertices, axis=-1).max() > _RIG_TOLERANCE_M:
        raise InputError("rig: expected that of the answer, whose vertices it does not give")
