"""How deep the skin of one hand goes into another hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

_ON_A_FACE = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4]]) / [[3], [6], [6], [6]]
"""Barycentric coordinates of the points at which a triangle stands for its surface."""
_LIKELIEST = 8
"""Points whose side is looked at first."""
_POINTS_AT_ONCE = 256


@dataclass(frozen=True)
class ClosedFaces:
    """Triangles of a mesh and, over the loops of edges that only one triangle has, such as the wrist's, caps.

    Attributes:
        faces: (F, 3) as they were given.
        caps: (C, 3); from V on, numbers are those of the middles of the loops.
        loops: the vertices of each loop, in order.
    """

    faces: np.ndarray
    caps: np.ndarray
    loops: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, faces: np.ndarray, num_vertices: int) -> ClosedFaces:
        """Close a mesh of oriented triangles (F, 3)."""
        edges = {(int(a), int(b)) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
        # the cap's triangles run along the open edges the other way
        onward = {b: a for a, b in edges if (b, a) not in edges}
        loops, caps = [], []
        while onward:
            start, vertex = next(iter(onward.items()))
            loop = [start]
            del onward[start]
            while vertex != start and vertex in onward:
                loop.append(vertex)
                vertex = onward.pop(vertex)
            caps += [(a, b, num_vertices + len(loops)) for a, b in zip(loop, [*loop[1:], loop[0]], strict=True)]
            loops.append(np.array(loop))
        return cls(np.asarray(faces), np.array(caps, dtype=np.int64).reshape(-1, 3), tuple(loops))


class _Surface:
    """A mesh, and what is looked up in it, made once.

    Args:
        vertices: (V, 3) m.
        closed: its triangles; either winding.
    """

    def __init__(self, vertices: np.ndarray, closed: ClosedFaces):
        self.vertices = np.asarray(vertices, dtype=np.float64)
        self._closed = closed
        self.low, self.high = self.vertices.min(axis=0), self.vertices.max(axis=0)

    @cached_property
    def _samples(self) -> tuple[cKDTree, np.ndarray]:
        """A tree of points all over the skin, the caps left out, and the normal at each of them, outwards."""
        corners = self.vertices[self._closed.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        of_vertices = np.zeros_like(self.vertices)
        for corner in range(3):
            np.add.at(of_vertices, self._closed.faces[:, corner], normals)
        points = np.concatenate([self.vertices, np.einsum("sc,fcx->sfx", _ON_A_FACE, corners).reshape(-1, 3)])
        return cKDTree(points), np.concatenate([of_vertices, np.tile(normals, (len(_ON_A_FACE), 1))])

    @cached_property
    def _triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """All vertices, the middles of caps too, and all triangles."""
        middles = [self.vertices[loop].mean(axis=0) for loop in self._closed.loops]
        return np.vstack([self.vertices, *middles]), np.concatenate([self._closed.faces, self._closed.caps])

    def nearest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (P,) m from points (P, 3) to the skin, and whether they lie behind it by its nearest normal."""
        tree, normals = self._samples
        distances, found = tree.query(points)
        behind = ((points - tree.data[found]) * normals[found]).sum(axis=-1) < 0
        return distances, behind

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which of the points (P, 3) lie inside: (P,) bool, by the winding number."""
        parts = [points[k : k + _POINTS_AT_ONCE] for k in range(0, len(points), _POINTS_AT_ONCE)]
        return np.concatenate([np.abs(winding_number(part, *self._triangles)) > 0.5 for part in parts] or [[]]) > 0


def winding_number(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How often a closed mesh goes round points: ±1 inside of a plain one, 0 outside, 2 where it lies twice.

    Args:
        points: (P, 3).
        vertices: (V, 3).
        faces: (F, 3).

    Returns:
        (P,): solid angles of all triangles over 4 pi (van Oosterom and Strackee, 1983).
    """
    middle = vertices.mean(axis=0)
    points, vertices = points - middle, vertices - middle
    a, b, c = np.moveaxis(vertices[faces], 1, 0)  # (F, 3) each
    # the determinant of the three corners as seen from a point is linear in the point
    normals = np.cross(a, b) + np.cross(b, c) + np.cross(c, a)
    volume = (np.cross(a, b) * c).sum(axis=-1) - points @ normals.T  # (P, F)
    squared = ((points[:, None] - vertices) ** 2).sum(axis=-1)  # (P, V)
    i, j, k = faces.T
    si, sj, sk = squared[:, i], squared[:, j], squared[:, k]
    ri, rj, rk = np.sqrt(si), np.sqrt(sj), np.sqrt(sk)
    edges = (((a - b) ** 2).sum(-1), ((b - c) ** 2).sum(-1), ((c - a) ** 2).sum(-1))
    ij, jk, ki = (si + sj - edges[0]) / 2, (sj + sk - edges[1]) / 2, (sk + si - edges[2]) / 2
    below = ri * rj * rk + ij * rk + jk * ri + ki * rj
    return np.arctan2(volume, below).sum(axis=-1) / (2 * np.pi)


@dataclass(frozen=True)
class Skin:
    """The skin of a hand, `factor` times as large as its surface and moved by `offset` (3,) m."""

    surface: _Surface
    factor: float = 1.0
    offset: np.ndarray | float = 0.0

    @classmethod
    def of(cls, vertices: np.ndarray, closed: ClosedFaces) -> Skin:
        """The skin of a mesh of vertices (V, 3) m."""
        return cls(_Surface(vertices, closed))

    def moved(self, factor: float, offset: np.ndarray | float = 0.0) -> Skin:
        """Another size and place; what was looked up in the surface is kept."""
        return Skin(self.surface, factor * self.factor, factor * np.asarray(self.offset) + offset)

    @property
    def vertices(self) -> np.ndarray:
        """(V, 3) m."""
        return self.factor * self.surface.vertices + self.offset

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper corner (3,) m of the box round it."""
        return self.factor * self.surface.low + self.offset, self.factor * self.surface.high + self.offset

    def depth_of(self, points: np.ndarray, enough: float | None = None) -> float:
        """How deep the deepest of the points (P, 3) m lies inside; 0 where none does.

        Args:
            points: of another hand.
            enough: m; depths up to it may be told as 0, and of depths beyond it only that they are.
        """
        points = (points - self.offset) / self.factor
        points = points[((points > self.surface.low) & (points < self.surface.high)).all(axis=-1)]
        if len(points) == 0:
            return 0.0
        distances, behind = self.surface.nearest(points)
        if enough is not None:
            likely = np.flatnonzero(behind)
            likely = likely[np.argsort(-distances[likely])[:_LIKELIEST]]
            depth = _deepest(self.surface, points[likely], distances[likely])
            if depth * self.factor > enough:
                return depth * self.factor
            deep = distances * self.factor > enough
            points, distances = points[deep], distances[deep]
        return _deepest(self.surface, points, distances) * self.factor


def _deepest(surface: _Surface, points: np.ndarray, distances: np.ndarray) -> float:
    return float(distances[surface.contains(points)].max(initial=0.0))


def boxes_meet(first: Skin, second: Skin) -> bool:
    """Whether the boxes round two hands have anything in common."""
    (low, high), (other_low, other_high) = first.bounds, second.bounds
    return bool((low < other_high).all() and (other_low < high).all())


def penetration_depth(first: Skin, second: Skin, enough: float | None = None) -> float:
    """How deep two hands go into each other, m: of all vertices of one that lie inside the other, the greatest distance
    to the other's skin; 0 where they do not.

    Args:
        first, second: the hands.
        enough: see `Skin.depth_of`.
    """
    if not boxes_meet(first, second):
        return 0.0
    depth = first.depth_of(second.vertices, enough)
    if enough is not None and depth > enough:
        return depth
    return max(depth, second.depth_of(first.vertices, enough))
