"""Decimation of a skinned, textured mesh with an open boundary, driven by quadrics of several poses.

Garland and Heckbert's quadric error metric (1997), with three changes: the quadrics of all given poses are
summed, so that knuckles keep the vertices that they need when they bend; only half-edge collapses are made,
so that the vertices that stay are a subset of the old ones and every attribute carries over by index; and
the boundary loop is first brought to a given number of vertices.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Decimated(NamedTuple):
    """What stays of the mesh.

    Attributes:
        vertices: ``(K,)`` indices into the old vertices, ascending.
        faces: ``(F, 3)`` in indices of the old vertices.
        texture_faces: ``(F, 3)`` in indices of the old texture coordinates.
    """

    vertices: np.ndarray
    faces: np.ndarray
    texture_faces: np.ndarray


def vertex_quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted plane quadrics.

    Args:
        points: ``(V, 3)``.
        faces: ``(F, 3)``.

    Returns:
        ``(V, 4, 4)``.
    """
    corner = points[faces[:, 0]]
    normal = np.cross(points[faces[:, 1]] - corner, points[faces[:, 2]] - corner)
    area = np.linalg.norm(normal, axis=1)
    normal /= area[:, None] + 1e-12
    plane = np.concatenate([normal, -(normal * corner).sum(1, keepdims=True)], axis=1)
    face_quadrics = plane[:, :, None] * plane[:, None, :] * area[:, None, None]
    quadrics = np.zeros((len(points), 4, 4))
    for corner_index in range(3):
        np.add.at(quadrics, faces[:, corner_index], face_quadrics)
    return quadrics


def boundary_vertices(faces: np.ndarray) -> set[int]:
    """The vertices of edges that only one face has."""
    count = Counter((min(face[k], face[k - 1]), max(face[k], face[k - 1])) for face in faces.tolist() for k in range(3))
    return {vertex for edge, faces_there in count.items() if faces_there == 1 for vertex in edge}


class _Mesh:
    """The mesh while it shrinks: faces by id, the faces around each vertex, and the summed quadrics."""

    MIN_COSINE = 0.3
    """A face's normal may turn by at most this cosine in one collapse."""
    MIN_FATNESS = 0.12
    """Twice a new face's area over its longest edge squared must stay above this."""
    MAX_VALENCE = 10

    def __init__(self, poses, faces, texture_faces, boundary_target):
        self.poses = poses
        self.homogeneous = np.stack([np.c_[points, np.ones(len(points))] for points in poses])
        self.quadrics = np.stack([vertex_quadrics(points, faces) for points in poses])
        self.faces = {i: (tuple(face), tuple(texture_faces[i].tolist())) for i, face in enumerate(faces.tolist())}
        self.around: list[set[int]] = [set() for _ in range(len(poses[0]))]
        for i, (face, _) in self.faces.items():
            for vertex in face:
                self.around[vertex].add(i)
        self.alive = np.ones(len(poses[0]), bool)
        self.boundary = boundary_vertices(faces)
        self.boundary_target = boundary_target

    def neighbours(self, vertex: int) -> list[int]:
        return sorted({v for i in self.around[vertex] for v in self.faces[i][0]} - {vertex})

    def cost(self, source: int, target: int) -> float:
        """Quadric error, over all poses, of moving ``source`` onto ``target``."""
        quadric = self.quadrics[:, source] + self.quadrics[:, target]
        point = self.homogeneous[:, target]
        error = max(float(np.einsum("ka,kab,kb->", point, quadric, point)), 0.0)
        error += 1e-9 * float(((self.poses[0][source] - self.poses[0][target]) ** 2).sum())
        on_boundary = source in self.boundary and target in self.boundary
        return error * 1e-3 if on_boundary and len(self.boundary) > self.boundary_target else error

    def _texture_map(self, source: int, target: int, shared: set[int]) -> dict[int, int] | None:
        """Where each texture coordinate of ``source`` goes, or None where a seam would tear."""
        moved: dict[int, int] = {}
        for i in sorted(shared):
            face, texture = self.faces[i]
            old, new = texture[face.index(source)], texture[face.index(target)]
            if moved.setdefault(old, new) != new:
                return None
        used = {self.faces[i][1][self.faces[i][0].index(source)] for i in self.around[source]}
        return moved if used <= set(moved) else None

    def _keeps_shape(self, source: int, target: int, shared: set[int]) -> bool:
        """No face of the first two poses flips or becomes a sliver."""
        for i in self.around[source] - shared:
            face = list(self.faces[i][0])
            moved = [target if vertex == source else vertex for vertex in face]
            for points in self.poses[:2]:
                before, after = points[face], points[moved]
                old = np.cross(before[1] - before[0], before[2] - before[0])
                new = np.cross(after[1] - after[0], after[2] - after[0])
                length = np.linalg.norm(new)
                if length < 1e-9 or old @ new < self.MIN_COSINE * np.linalg.norm(old) * length:
                    return False
                longest = max(((after[k] - after[k - 1]) ** 2).sum() for k in range(3))
                if length < self.MIN_FATNESS * longest:
                    return False
        return True

    def collapse(self, source: int, target: int) -> bool:
        """Move ``source`` onto ``target`` if the mesh stays a good one."""
        shared = self.around[source] & self.around[target]
        if source in self.boundary:
            full = len(self.boundary) <= self.boundary_target
            if target not in self.boundary or len(shared) != 1 or full:
                return False
        elif len(shared) != 2:
            return False
        around_source, around_target = set(self.neighbours(source)), set(self.neighbours(target))
        if len(around_source & around_target) != len(shared):
            return False
        if len(around_source | around_target) - 2 > self.MAX_VALENCE:
            return False
        texture_map = self._texture_map(source, target, shared)
        if texture_map is None or not self._keeps_shape(source, target, shared):
            return False
        self._apply(source, target, shared, texture_map)
        return True

    def _apply(self, source, target, shared, texture_map) -> None:
        for i in shared:
            for vertex in self.faces[i][0]:
                self.around[vertex].discard(i)
            del self.faces[i]
        for i in sorted(self.around[source]):
            face, texture = self.faces[i]
            corner = face.index(source)
            self.faces[i] = (
                face[:corner] + (target,) + face[corner + 1 :],
                texture[:corner] + (texture_map[texture[corner]],) + texture[corner + 1 :],
            )
            self.around[target].add(i)
        self.around[source].clear()
        self.alive[source] = False
        self.quadrics[:, target] += self.quadrics[:, source]
        self.boundary.discard(source)


def decimate(
    poses: list[np.ndarray],
    faces: np.ndarray,
    texture_faces: np.ndarray,
    target_vertices: int,
    target_boundary: int,
    keep: Iterable[int],
) -> Decimated:
    """Shrink a mesh to ``target_vertices``.

    Args:
        poses: ``(V, 3)`` vertices of the same mesh in several poses, the rest pose first.
        faces: ``(F, 3)`` vertex indices.
        texture_faces: ``(F, 3)`` texture coordinate indices.
        target_vertices: vertices to keep.
        target_boundary: vertices to keep on the boundary.
        keep: vertices that must stay.

    Returns:
        A :class:`Decimated`.

    Raises:
        RuntimeError: no allowed collapse is left above the target.
    """
    mesh = _Mesh(poses, faces, texture_faces, target_boundary)
    keep = set(keep)
    version = np.zeros(len(poses[0]), int)
    heap: list[tuple[float, int, int, int, int]] = []

    def push(source: int) -> None:
        if source in keep:
            return
        for target in mesh.neighbours(source):
            stamp = (int(version[source]), int(version[target]))
            heapq.heappush(heap, (mesh.cost(source, target), source, target, *stamp))

    for vertex in range(len(poses[0])):
        push(vertex)
    remaining = len(poses[0])
    while remaining > target_vertices:
        if not heap:
            raise RuntimeError(f"decimation stopped at {remaining} vertices, above {target_vertices}")
        _, source, target, source_version, target_version = heapq.heappop(heap)
        fresh = version[source] == source_version and version[target] == target_version
        if not (fresh and mesh.alive[source] and mesh.alive[target]):
            continue
        if not mesh.collapse(source, target):
            continue
        remaining -= 1
        touched = mesh.neighbours(target) + [target]
        version[touched] += 1
        for vertex in touched:
            push(vertex)
    corners = [mesh.faces[i] for i in sorted(mesh.faces)]
    return Decimated(
        vertices=np.flatnonzero(mesh.alive),
        faces=np.array([face for face, _ in corners]),
        texture_faces=np.array([texture for _, texture in corners]),
    )
