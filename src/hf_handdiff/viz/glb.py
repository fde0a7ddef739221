"""Writing hands as GLB files that any 3D viewer opens: the answer, and every hypothesis as a named mesh."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.viz.colors import (
    ANSWER_COLOR,
    HYPOTHESIS_COLOR,
    srgb_to_linear,
    uncertainty_colors,
    vertex_uncertainty,
)
from hf_handdiff.viz.raster import outward_faces, vertex_normals

_MOST_OPACITY, _LEAST_OPACITY = 0.14, 0.04
"""Of a hypothesis. Many of them lie before the answer, and its colours must still be seen."""


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
) -> Path:
    """Write the answer and its hypotheses to a GLB file, y up, metres.

    The meshes are called ``answer``, ``hypothesis_00``, ``hypothesis_01``...  The answer is coloured by its
    expected error where `joints` and `joint_std` are given; the hypotheses are see-through.  The file
    appears under its name only when it is complete.

    Args:
        path: the file to write; an older one is replaced.
        vertices: (V, 3) m, OpenCV axes, the answer.
        faces: (F, 3) vertex numbers; the winding is turned for left hands.
        hypotheses: (N, V, 3) m, or None.
        joints: (21, 3) m, the answer's joints.
        joint_std: (21,) m, the expected error of each.

    Returns:
        The path.

    Raises:
        InputError: the arrays do not belong together, or hold NaN.
    """
    import trimesh
    from trimesh.visual.material import PBRMaterial

    vertices = np.asarray(vertices, dtype=np.float64)
    faces = np.asarray(faces, dtype=np.int64)
    hypotheses = np.zeros((0, *vertices.shape)) if hypotheses is None else np.asarray(hypotheses, np.float64)
    _check_meshes(vertices, faces, hypotheses)

    scene = trimesh.Scene()
    colors = np.broadcast_to(np.array(ANSWER_COLOR), vertices.shape)
    if joints is not None and joint_std is not None:
        colors = uncertainty_colors(vertex_uncertainty(vertices, np.asarray(joints), np.asarray(joint_std)))
    skin = PBRMaterial(
        name="expected error",
        baseColorFactor=[255, 255, 255, 255],
        metallicFactor=0.0,
        roughnessFactor=0.65,
        doubleSided=True,
    )
    scene.add_geometry(_mesh(vertices, faces, skin, colors), geom_name="answer", node_name="answer")

    tint = [
        *np.round(srgb_to_linear(np.array(HYPOTHESIS_COLOR)) * 255).astype(int).tolist(),
        round(255 * float(np.clip(1.3 / max(len(hypotheses), 1), _LEAST_OPACITY, _MOST_OPACITY))),
    ]
    ghost = PBRMaterial(
        name="hypothesis",
        baseColorFactor=tint,
        metallicFactor=0.0,
        roughnessFactor=0.8,
        alphaMode="BLEND",
        doubleSided=False,
    )
    for index, hypothesis in enumerate(hypotheses):
        name = f"hypothesis_{index:02d}"
        scene.add_geometry(_mesh(hypothesis, faces, ghost), geom_name=name, node_name=name)

    data = scene.export(file_type="glb", include_normals=True)
    path = Path(path)
    with replace_file(path) as temporary:
        temporary.write_bytes(data)
    return path


def _mesh(vertices, faces, material, colors=None):
    import trimesh

    faces = outward_faces(vertices, faces)
    visual = trimesh.visual.TextureVisuals(material=material)
    if colors is not None:
        linear = np.round(srgb_to_linear(colors) * 255).astype(np.uint8)
        opaque = np.full((len(linear), 1), 255, np.uint8)
        visual.vertex_attributes["color"] = np.concatenate([linear, opaque], axis=-1)
    return trimesh.Trimesh(
        camera_to_gltf(vertices),
        faces,
        vertex_normals=camera_to_gltf(vertex_normals(vertices, faces)),
        visual=visual,
        process=False,
    )


def _check_meshes(vertices: np.ndarray, faces: np.ndarray, hypotheses: np.ndarray) -> None:
    if vertices.ndim != 2 or vertices.shape[-1] != 3:
        raise InputError(f"vertices: expected shape (V, 3), got {vertices.shape}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"faces: expected shape (F, 3) with numbers below {len(vertices)}, got shape {faces.shape}")
    if hypotheses.shape[1:] != vertices.shape:
        raise InputError(f"hypotheses: expected shape (N, {len(vertices)}, 3), got {hypotheses.shape}")
    if not (np.isfinite(vertices).all() and np.isfinite(hypotheses).all()):
        raise InputError("vertices: expected finite numbers, got NaN or infinity")
