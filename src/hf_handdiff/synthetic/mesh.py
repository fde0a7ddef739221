"""Triangle meshes of a scene, and the parts that things are made of: boxes, bars, bodies of revolution, balls."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hf_handdiff.synthetic.materials import Material
from hf_handdiff.synthetic.shading import NUM_ATTRIBUTES


@dataclass
class Mesh:
    """One object of a scene.

    points (V, 3) m in whatever frame the holder says; faces (F, 3) int32, counter-clockwise from outside;
    rest (V, 3) m, where the surface texture is looked up; attributes (V, NUM_ATTRIBUTES) for skin;
    material; casts_shadow: whether it throws shadows on others.
    """

    points: np.ndarray
    faces: np.ndarray
    rest: np.ndarray
    material: Material
    attributes: np.ndarray | None = None
    casts_shadow: bool = True

    def moved(self, rotation: np.ndarray, translation: np.ndarray) -> "Mesh":
        """The mesh under x -> rotation x + translation, its texture moving along."""
        points = (self.points @ rotation.T + translation).astype(np.float32)
        return replace(self, points=points)

    def mirrored(self) -> "Mesh":
        """The mirror image across x = 0, its faces still counter-clockwise from outside."""
        points = self.points * np.array([-1.0, 1.0, 1.0], np.float32)
        return replace(self, points=points, faces=np.ascontiguousarray(self.faces[:, ::-1]))

    def attribute_rows(self) -> np.ndarray:
        """The attributes, zeros for objects that have none."""
        if self.attributes is None:
            return np.zeros((len(self.points), NUM_ATTRIBUTES), np.float32)
        return self.attributes


def flat_shaded(points: np.ndarray, faces: np.ndarray, material: Material) -> Mesh:
    """A mesh whose faces do not share vertices, so that its edges stay sharp."""
    corners = np.ascontiguousarray(points[faces].reshape(-1, 3), np.float32)
    return Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), corners, material)


def box(size: np.ndarray, material: Material) -> Mesh:
    """An axis-aligned box with edges `size` (3,) m around the origin."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    faces = np.array([[q[0], q[1], q[2]] for q in quads] + [[q[0], q[2], q[3]] for q in quads])
    return flat_shaded(corners, faces, material)


def lathe(radii: np.ndarray, heights: np.ndarray, material: Material, sides: int = 20) -> Mesh:
    """A body of revolution about the y axis: `radii` (K,) m at `heights` (K,) m, increasing. Ends are
    closed."""
    angle = np.arange(sides) * 2 * np.pi / sides
    circle = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], 1)
    rings = circle[None] * radii[:, None, None] + heights[:, None, None] * np.array([0.0, 1.0, 0.0])
    ends = np.array([[0.0, heights[0], 0.0], [0.0, heights[-1], 0.0]])
    points = np.concatenate([rings.reshape(-1, 3), ends]).astype(np.float32)
    faces = tube_faces([np.arange(sides) + k * sides for k in range(len(radii))])
    bottom, top = len(points) - 2, len(points) - 1
    first, last = np.arange(sides), np.arange(sides) + (len(radii) - 1) * sides
    faces = np.concatenate([faces, fan_faces(first[::-1], bottom), fan_faces(last, top)])
    return Mesh(points, faces.astype(np.int32), points, material)


def tube_faces(rings: list[np.ndarray]) -> np.ndarray:
    """Triangles (F, 3) between consecutive vertex loops of equal length.

    Seen from outside with the first loop below, loops run from right to left.
    """
    faces = []
    for lower, upper in pairwise(rings):
        next_lower, next_upper = np.roll(lower, -1), np.roll(upper, -1)
        faces.append(np.stack([lower, upper, next_lower], 1))
        faces.append(np.stack([upper, next_upper, next_lower], 1))
    return np.concatenate(faces)


def fan_faces(loop: np.ndarray, centre: int) -> np.ndarray:
    """Triangles (F, 3) that close `loop` at the vertex `centre`."""
    return np.stack([np.roll(loop, -1), loop, np.full(len(loop), centre)], 1)


def joined(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one, of the first one's material; their texture is looked up where they now are."""
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes[:-1]])
    points = np.concatenate([mesh.points for mesh in meshes]).astype(np.float32)
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
    return Mesh(points, faces.astype(np.int32), points, meshes[0].material)


def bunch(material: Material, rng: np.random.Generator) -> Mesh:
    """Prongs that stand out from a lump, as fingers do from a palm, but too many or too few: no hand."""
    prongs = int(rng.choice([2, 3, 7, 8, 9]))
    lump = rng.uniform(0.02, 0.035)
    parts = [ball(lump, material, rng.uniform(0.8, 1.5))]
    fan = rng.uniform(0.15, 0.6)
    for number in range(prongs):
        length, radius = rng.uniform(0.05, 0.1), rng.uniform(0.006, 0.011)
        lean = (number - 0.5 * (prongs - 1)) * fan + rng.normal(0.0, 0.1)
        up = np.array([np.sin(lean), np.cos(lean), rng.normal(0.0, 0.2)])
        up /= np.linalg.norm(up)
        side = np.cross(up, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        prong = capsule(radius, length, material, rng.uniform(0.6, 1.0))
        parts.append(prong.moved(np.stack([side, up, np.cross(side, up)], 1), up * (0.8 * lump + 0.5 * length)))
    return joined(parts)


def swept(path: np.ndarray, radius: float, material: Material, sides: int = 8) -> Mesh:
    """A round bar along `path` (K, 3) m, which lies in a plane z = const; its ends are closed."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([along[:, 1], -along[:, 0], np.zeros(len(path))], 1)
    angle = np.arange(sides) * 2 * np.pi / sides
    rings = path[:, None] + radius * (
        np.cos(angle)[None, :, None] * across[:, None] + np.sin(angle)[None, :, None] * np.array([0.0, 0.0, 1.0])
    )
    points = np.concatenate([rings.reshape(-1, 3), path[[0, -1]]]).astype(np.float32)
    loops = [np.arange(sides) + k * sides for k in range(len(path))]
    first, last = len(points) - 2, len(points) - 1
    faces = np.concatenate([tube_faces(loops), fan_faces(loops[0][::-1], first), fan_faces(loops[-1], last)])
    return Mesh(points, faces.astype(np.int32), points, material)


def ball(radius: float, material: Material, stretch: float = 1.0) -> Mesh:
    """A ball, or with `stretch` an egg along y."""
    polar = np.linspace(0.02, np.pi - 0.02, 13)
    return lathe(radius * np.sin(polar), -radius * stretch * np.cos(polar), material, sides=22)


def capsule(radius: float, length: float, material: Material, taper: float = 1.0) -> Mesh:
    """A rounded stick along y: arms, tools; the far end has `taper` times the radius."""
    cap = np.linspace(0.05, np.pi / 2, 5)
    low = np.stack([np.sin(cap), -np.cos(cap)], 1) * radius
    high = np.stack([np.sin(cap), np.cos(cap)], 1)[::-1] * radius * taper
    radii = np.concatenate([low[:, 0], np.linspace(radius, radius * taper, 6)[1:-1], high[:, 0]])
    heights = np.concatenate(
        [low[:, 1] - length / 2, np.linspace(-0.5, 0.5, 6)[1:-1] * length, high[:, 1] + length / 2]
    )
    return lathe(radii, heights, material, sides=18)
