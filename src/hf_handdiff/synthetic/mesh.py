"""Triangle meshes of a scene, and synthetic solids: boxes, sheets, lathe bodies (bottles, mugs, pens, balls),
tools."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hf_handdiff.synthetic.materials import PATTERN_LABEL, Material
from hf_handdiff.synthetic.shading import NUM_ATTRIBUTES

TOOL_SHARE = 0.16


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


@dataclass
class Solid:
    """A mesh around the origin with its long axis along y, and its shape as "box", "round" or "ball".

    half_extent (3,) m: half of the box around what is held of it, which is all but ears and tools' heads.
    """

    mesh: Mesh
    kind: str
    half_extent: np.ndarray

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (N,) m of `points` (N, 3) to the box, cylinder or ball around the mesh."""
        if self.kind == "ball":
            return np.linalg.norm(points, axis=1) - self.half_extent[0]
        if self.kind == "round":
            outside = np.stack(
                [
                    np.hypot(points[:, 0], points[:, 2]) - self.half_extent[0],
                    np.abs(points[:, 1]) - self.half_extent[1],
                ],
                1,
            )
        else:
            outside = np.abs(points) - self.half_extent
        return np.linalg.norm(np.maximum(outside, 0.0), axis=1) + np.minimum(outside.max(1), 0.0)


def random_solid(rng: np.random.Generator, material: Material) -> Solid:
    """A random solid of a size that a hand can hold."""
    if rng.random() < TOOL_SHARE:
        return random_tool(rng, material)
    kind, mesh = _random_solid_mesh(rng, material)
    shape = {"box": "box", "sheet": "box", "ball": "ball"}.get(kind, "round")
    half_extent = 0.5 * np.ptp(mesh.points, axis=0)
    if kind == "mug":
        half_extent[0] = half_extent[2]
        mesh = joined([mesh, _mug_handle(half_extent, material)])
    return Solid(mesh, shape, half_extent)


def random_tool(rng: np.random.Generator, material: Material) -> Solid:
    """A hammer, screwdriver, spatula, spoon or pair of scissors, its grip around the origin and along y.

    The Solid's extent is the grip's alone. The grip has the material's second colour, the rest its first.
    """
    kind = rng.choice(["hammer", "screwdriver", "spatula", "spoon", "scissors"])
    grip_m, radius = rng.uniform(0.09, 0.13), rng.uniform(0.008, 0.016)
    reach_m = rng.uniform(0.08, 0.16)
    end = 0.5 * grip_m + reach_m
    up = np.array([0.0, 1.0, 0.0])
    material = replace(material, pattern=PATTERN_LABEL, flush=up, duty=0.5 * grip_m)
    if kind == "scissors":
        radius, parts = 0.012, _scissors(grip_m, end, material, rng)
    else:
        thin = radius if kind == "hammer" else rng.uniform(0.25, 0.5) * radius
        heights = np.array([-0.5 * grip_m, -0.47 * grip_m, 0.0, 0.48 * grip_m, 0.52 * grip_m, end])
        radii = np.array([0.7 * radius, radius, 0.9 * radius, radius, thin, thin])
        parts = [lathe(radii, heights, material, sides=12)]
    if kind == "hammer":
        head = box(rng.uniform([0.07, 0.02, 0.02], [0.12, 0.035, 0.03]), material)
        parts.append(head.moved(np.eye(3), up * end))
    elif kind == "spatula":
        blade = box(rng.uniform([0.02, 0.06, 0.001], [0.08, 0.12, 0.003]), material)
        parts.append(blade.moved(np.eye(3), up * end))
    elif kind == "spoon":
        bowl = ball(rng.uniform(0.015, 0.03), material, rng.uniform(1.2, 1.6))
        parts.append(bowl.moved(np.diag([1.0, 1.0, rng.uniform(0.2, 0.5)]), up * end))
    return Solid(joined(parts), "round", np.array([radius, 0.5 * grip_m, radius]))


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


def _mug_handle(half_extent: np.ndarray, material: Material) -> Mesh:
    """An ear on the +x side of a mug."""
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    size = 0.55 * half_extent[1]
    path = np.stack([half_extent[0] * 0.95 + size * np.cos(angle), size * np.sin(angle), np.zeros(9)], 1)
    return swept(path, 0.0055, material)


def _scissors(grip_m: float, end_m: float, material: Material, rng: np.random.Generator) -> list[Mesh]:
    """Two crossed blades that end in rings."""
    opening = rng.uniform(0.08, 0.35)
    parts = []
    for side in (-1.0, 1.0):
        turn = side * opening
        rotation = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0], [0.0, 0.0, 1.0]])
        blade = box(np.array([0.011, end_m, 0.002]), material).moved(np.eye(3), np.array([0.0, 0.5 * end_m, 0.0]))
        angle = np.linspace(0.0, 2.0 * np.pi, 13)
        ring = np.stack([0.015 * np.cos(angle), 0.02 * np.sin(angle) - 0.5 * grip_m, np.zeros(13)], 1)
        bar = box(np.array([0.008, 0.5 * grip_m, 0.004]), material)
        bar = bar.moved(np.eye(3), np.array([0.0, -0.15 * grip_m, 0.0]))
        lift = np.array([0.0, 0.0, 0.0012 * side])
        parts += [part.moved(rotation, lift) for part in (blade, swept(ring, 0.0035, material), bar)]
    return parts


def _random_solid_mesh(rng: np.random.Generator, material: Material) -> tuple[str, Mesh]:
    names = ["box", "sheet", "can", "bottle", "pen", "ball", "mug"]
    kind = str(rng.choice(names, p=[0.2, 0.14, 0.16, 0.16, 0.12, 0.12, 0.1]))
    if kind == "box":
        return kind, box(rng.uniform([0.02, 0.05, 0.02], [0.08, 0.16, 0.08]), material)
    if kind == "sheet":
        return kind, box(rng.uniform([0.05, 0.09, 0.002], [0.14, 0.2, 0.012]), material)
    if kind == "ball":
        return kind, ball(rng.uniform(0.018, 0.05), material)
    radius = {
        "can": rng.uniform(0.02, 0.04),
        "bottle": rng.uniform(0.025, 0.042),
        "pen": rng.uniform(0.003, 0.012),
        "mug": rng.uniform(0.032, 0.045),
    }[kind]
    length = {
        "can": rng.uniform(0.06, 0.16),
        "bottle": rng.uniform(0.14, 0.26),
        "pen": rng.uniform(0.1, 0.2),
        "mug": rng.uniform(0.07, 0.11),
    }[kind]
    return kind, lathe(*_profile(kind, radius, length, rng), material)


def _profile(kind: str, radius: float, length: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Radii and heights (K,) of a lathe body around the origin."""
    if kind == "bottle":
        neck, shoulder = rng.uniform(0.25, 0.5), rng.uniform(0.55, 0.75)
        share = np.array([0.0, 0.0, 0.03, 0.3, shoulder, shoulder + 0.12, shoulder + 0.14, 1.0, 1.0])
        factor = np.array([0.85, 0.9, 1.0, rng.uniform(0.85, 1.0), 1.0, neck, neck, neck, neck * 0.98])
        share[0], share[-1] = -0.002, 1.002
    elif kind == "pen":
        share, factor = np.array([0.0, 0.08, 0.1, 1.0, 1.01]), np.array([0.15, 0.8, 1.0, 1.0, 0.7])
    elif kind == "mug":
        taper = rng.uniform(0.85, 1.1)
        share, factor = (
            np.array([0.0, 0.03, 0.97, 1.0, 0.999]),
            np.array([0.9 * taper, taper, 1.0, 0.98, 0.9]),
        )
        share[-1] = 1.001
    else:
        share, factor = np.array([0.0, 0.02, 0.98, 1.0]), np.array([0.93, 1.0, 1.0, 0.93])
    return radius * factor, length * (share - 0.5)


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
