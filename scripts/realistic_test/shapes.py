"""Meshes of several parts: boxes, lathe bodies, tubes, outlines with thickness, leaves."""

import bpy
import numpy as np
from mathutils import Matrix


class Parts:
    """Points and faces of one object, gathered part by part; a part has a material."""

    def __init__(self):
        self.points: list[np.ndarray] = []
        self.faces: list[list[int]] = []
        self.slots: list[int] = []
        self.materials: list = []
        self._count = 0

    def add(self, points, faces, material) -> "Parts":
        """Points (V, 3) m and faces, counter-clockwise from outside."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        if material not in self.materials:
            self.materials.append(material)
        slot = self.materials.index(material)
        self.faces += [[int(v) + self._count for v in face] for face in faces]
        self.slots += [slot] * len(faces)
        self.points.append(points)
        self._count += len(points)
        return self

    def box(self, size, centre, material, turn=None) -> "Parts":
        """A box with edges `size` around `centre`."""
        corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
        if turn is not None:
            corners = corners @ np.asarray(turn).T
        quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
        return self.add(corners + centre, quads, material)

    def lathe(self, radii, heights, material, sides: int = 32, centre=(0.0, 0.0, 0.0)) -> "Parts":
        """A body turned about y; where it does not close by itself, its ends stay open."""
        angle = np.arange(sides) * 2 * np.pi / sides
        rings = [
            np.stack([r * np.cos(angle), np.full(sides, h), -r * np.sin(angle)], 1)
            for r, h in zip(radii, heights, strict=True)
        ]
        return self.rings(np.array(rings) + centre, material)

    def tube(self, path, radius, material, sides: int = 12, closed: bool = False, flatten: float = 1.0) -> "Parts":
        """A tube of `radius` (number or one a point) along `path` (K, 3)."""
        path = np.asarray(path, np.float64)
        radius = np.broadcast_to(radius, len(path))
        ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0)
        if not closed:
            ahead[0], ahead[-1] = path[1] - path[0], path[-1] - path[-2]
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        side = np.cross(ahead[0], [0.0, 0.0, 1.0] if abs(ahead[0, 2]) < 0.9 else [1.0, 0.0, 0.0])
        angle = np.arange(sides) * 2 * np.pi / sides
        rings = []
        for point, direction, r in zip(path, ahead, radius, strict=True):
            side = side - direction * (side @ direction)
            side /= np.linalg.norm(side)
            up = np.cross(direction, side)
            rings.append(point + r * (np.cos(angle)[:, None] * side + flatten * np.sin(angle)[:, None] * up))
        if closed:
            rings.append(rings[0])
        self.rings(np.array(rings), material)
        if not closed:
            base = self._count - len(rings) * sides
            self.faces += [[base + i for i in range(sides)][::-1], [self._count - sides + i for i in range(sides)]]
            self.slots += [self.materials.index(material)] * 2
        return self

    def rings(self, rings: np.ndarray, material) -> "Parts":
        """A hose through `rings` (K, S, 3), open at both ends."""
        count, sides = rings.shape[:2]
        faces = []
        for k in range(count - 1):
            for i in range(sides):
                j = (i + 1) % sides
                quad = [k * sides + i, k * sides + j, (k + 1) * sides + j, (k + 1) * sides + i]
                faces.append(quad)
        return self.add(rings, faces, material)

    def ring(
        self, radius, thickness, material, centre=(0.0, 0.0, 0.0), normal=(0.0, 0.0, 1.0), arc=2 * np.pi, start=0.0
    ):
        """A torus, or an arc of one."""
        normal = np.asarray(normal, np.float64) / np.linalg.norm(normal)
        side = np.cross(normal, [0.0, 1.0, 0.0] if abs(normal[1]) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        full = arc >= 2 * np.pi - 1e-6
        angle = start + np.linspace(0.0, arc, 33)[: 32 if full else 33]
        path = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(normal, side)
        return self.tube(path * radius + centre, thickness, material, closed=full)

    def plate(self, outline, thickness, material, centre=(0.0, 0.0, 0.0)) -> "Parts":
        """The polygon `outline` (K, 2), counter-clockwise, with `thickness` along z."""
        outline = np.asarray(outline, np.float64)
        count = len(outline)
        low = np.column_stack([outline, np.full(count, -0.5 * thickness)])
        high = np.column_stack([outline, np.full(count, 0.5 * thickness)])
        faces = [list(range(count))[::-1], [count + i for i in range(count)]]
        faces += [[i, (i + 1) % count, count + (i + 1) % count, count + i] for i in range(count)]
        return self.add(np.concatenate([low, high]) + centre, faces, material)

    def ball(self, radius, material, centre=(0.0, 0.0, 0.0), stretch=(1.0, 1.0, 1.0), sides: int = 24) -> "Parts":
        """A ball or an ellipsoid."""
        polar = np.linspace(1e-3, np.pi - 1e-3, sides // 2)
        first = len(self.points)
        self.lathe(radius * np.sin(polar), -radius * np.cos(polar), material, sides)
        self.points[first] = self.points[first] * stretch + centre
        return self

    def grid(self, surface, material) -> "Parts":
        """A sheet of points (R, C, 3)."""
        rows, columns = surface.shape[:2]
        faces = []
        for r in range(rows - 1):
            for c in range(columns - 1):
                a = r * columns + c
                faces.append([a, a + 1, a + columns + 1, a + columns])
        return self.add(surface, faces, material)

    def leaves(self, places, size, material, rng) -> "Parts":
        """Leaves of length `size` at `places` (N, 3), turned at random: two folded quads each."""
        count = len(places)
        along = rng.normal(size=(count, 3))
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.cross(along, rng.normal(size=(count, 3)))
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        up = np.cross(along, across)
        length = size * rng.uniform(0.6, 1.2, (count, 1))
        tip, middle = places + along * length, places + along * length * 0.45
        left = middle + (across * 0.28 + up * 0.08) * length
        right = middle + (-across * 0.28 + up * 0.08) * length
        points = np.stack([places, left, tip, right], 1).reshape(-1, 3)
        faces = [[4 * i, 4 * i + 1, 4 * i + 2] for i in range(count)] + [
            [4 * i, 4 * i + 2, 4 * i + 3] for i in range(count)
        ]
        return self.add(points, faces, material)

    def pieces(self) -> list:
        """The points, faces and material of every part."""
        pieces, face, first = [], 0, 0
        for points in self.points:
            faces = []
            while face < len(self.faces) and max(self.faces[face]) < first + len(points):
                faces.append([v - first for v in self.faces[face]])
                face += 1
            pieces.append((points, faces, self.materials[self.slots[face - 1]]))
            first += len(points)
        return pieces

    def extent(self) -> np.ndarray:
        """Half of the bounding box (3,)."""
        return 0.5 * np.ptp(np.concatenate(self.points), axis=0)

    def build(
        self, name: str, rotation=None, translation=(0.0, 0.0, 0.0), bevel_m: float = 0.0, smooth_deg: float = 40.0
    ):
        """The object in the scene, at x -> rotation x + translation; edges may be rounded."""
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(np.concatenate(self.points).tolist(), [], self.faces)
        for material in self.materials:
            mesh.materials.append(material)
        mesh.polygons.foreach_set("material_index", np.array(self.slots, np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(len(self.faces), bool))
        mesh.set_sharp_from_angle(angle=np.radians(smooth_deg))
        thing = bpy.data.objects.new(name, mesh)
        bpy.context.scene.collection.objects.link(thing)
        thing.matrix_world = matrix(np.eye(3) if rotation is None else rotation, translation)
        if bevel_m:
            bevel = thing.modifiers.new("bevel", "BEVEL")
            bevel.width, bevel.segments, bevel.limit_method = bevel_m, 2, "ANGLE"
        return thing


def matrix(rotation, translation) -> Matrix:
    """A 4 x 4 matrix for Blender."""
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = rotation, translation
    return Matrix(whole.tolist())


def turn_z(angle: float) -> np.ndarray:
    """The rotation (3, 3) about z."""
    return np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])


def stand_up() -> np.ndarray:
    """The rotation (3, 3) that sets a thing whose long axis is y upright along z."""
    return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
