"""Surroundings and lights: rooms, tables, shelves, gardens and streets, built around a hand at the origin.

The world has z up and the camera looks along +y, up or down by its pitch; metres. Everything is placed behind,
below or beside what the camera sees of the hand.
"""

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from . import shaders, things
from .shapes import Parts, stand_up, turn_z


@dataclass
class View:
    """What surroundings must know about the camera and the hand.

    rotation (3, 3) and position (3,): our camera axes (x right, y down, z away) in the world; focal: of the
    image's size; points (V, 3): what is in view of hand, arm and things with it, world; low, far: the lowest
    of them, and the farthest along +y.
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    points: np.ndarray

    def __post_init__(self):
        self.low, self.far = float(self.points[:, 2].min()), float(self.points[:, 1].max())

    def ray(self, x: float, y: float) -> np.ndarray:
        """The direction (3,) in the world of the image point (x, y), each -0.5 .. 0.5."""
        direction = self.rotation @ np.array([x / self.focal, y / self.focal, 1.0])
        return direction / np.linalg.norm(direction)

    def on_plane(self, rng: np.random.Generator, height: float, reach: float) -> np.ndarray:
        """A point (3,) of the level plane at `height` that is likely to be seen behind or beside the hand."""
        for _ in range(12):
            direction = self.ray(*rng.uniform(-0.6, 0.6, 2))
            if direction[2] < -0.02:
                distance = (height - self.position[2]) / direction[2]
                if 0.1 < distance < reach + np.linalg.norm(self.position):
                    return self.position + distance * direction
        return np.array([rng.uniform(-0.8, 0.8), self.far + rng.uniform(0.1, reach), height])

    def is_free(self, place: np.ndarray, radius: float) -> bool:
        """Whether nothing of the hand, nor the camera or its way to the hand, is within `radius` of `place`,
        seen from above."""
        if np.linalg.norm(self.points[:, :2] - place[:2], axis=1).min() < radius + 0.02:
            return False
        way = self.position[None] * np.linspace(0.0, 1.0, 8)[:, None]
        return bool(np.linalg.norm(way[:, :2] - place[:2], axis=1).min() > radius + 0.02)


# ---- rooms ----------------------------------------------------------------------------------------------


def _room(view: View, rng, wall_material, floor_material, gap=(0.15, 2.0), drop=(0.6, 1.2)) -> dict:
    """Four walls, a floor and a ceiling around camera and hand; returns where they are."""
    back = view.far + rng.uniform(*gap)
    floor = view.low - rng.uniform(*drop)
    front = min(view.position[1] - 1.0, -1.5)
    left, right = -rng.uniform(1.2, 2.5), rng.uniform(1.2, 2.5)
    top = max(rng.uniform(1.2, 1.7), view.position[2] + 0.5)
    width, depth, height = right - left, back - front, top - floor
    middle = np.array([(left + right) / 2, (front + back) / 2, (floor + top) / 2])
    side_material = wall_material if rng.random() < 0.6 else shaders.plaster(rng)

    def slab(size, centre, material, turn=None):
        # the texture lies in the x-y plane of the slab
        Parts().box(size, np.zeros(3), material).build("wall", np.eye(3) if turn is None else turn, centre)

    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    slab([width, height, 0.05], [middle[0], back + 0.025, middle[2]], wall_material, upright)
    slab([width, height, 0.05], [middle[0], front - 0.025, middle[2]], side_material, upright)
    for x, sign in ((left, -1), (right, 1)):
        slab(
            [depth, height, 0.05], [x + 0.025 * sign, middle[1], middle[2]], side_material, turn_z(np.pi / 2) @ upright
        )
    slab([width, depth, 0.05], [middle[0], middle[1], floor - 0.025], floor_material)
    slab([width, depth, 0.05], [middle[0], middle[1], top + 0.025], shaders.plaster(rng, (0.8, 0.8, 0.78)))
    if rng.random() < 0.5:
        Parts().box(
            [width, 0.015, 0.08], [middle[0], back - 0.008, floor + 0.04], shaders.plain(rng, (0.7, 0.7, 0.7), 0.4)
        ).build("skirting")
    return {"back": back, "floor": floor, "left": left, "right": right, "top": top, "front": front}


def _table(view: View, rng, material, back: float) -> float:
    """A table under the hand; returns the height of its top."""
    top = view.low - (rng.uniform(0.002, 0.02) if rng.random() < 0.4 else rng.uniform(0.02, 0.25))
    top = min(top, view.position[2] - 0.03)
    near = -rng.uniform(0.2, 0.7)
    far = max(min(back - 0.01, view.far + rng.uniform(0.2, 1.0)), near + 0.3)
    width = rng.uniform(1.2, 2.2)
    parts = Parts().box([width, far - near, 0.03], [rng.uniform(-0.3, 0.3), (near + far) / 2, top - 0.016], material)
    for x in (-0.45, 0.45):
        parts.box([0.05, 0.05, 0.7], [x * width, far - 0.08, top - 0.37], material)
    parts.build("table", bevel_m=0.003)
    return top


def _scatter(view: View, rng, height: float, reach: float, count: int, makers_up, makers_flat) -> None:
    """Things on a level surface, upright or lying."""
    taken: list[tuple[np.ndarray, float]] = []
    for _ in range(count * 3):
        if len(taken) >= count:
            break
        upright = rng.random() < 0.6
        thing = (makers_up if upright else makers_flat)[rng.integers(len(makers_up if upright else makers_flat))](rng)
        extent = thing.parts.extent()
        place = view.on_plane(rng, height, reach)
        radius = max(extent[0], extent[2] if upright else extent[1])
        if not view.is_free(place, radius) or any(np.linalg.norm(p[:2] - place[:2]) < r + radius for p, r in taken):
            continue
        taken.append((place, radius))
        turn = turn_z(rng.uniform(0.0, 2.0 * np.pi)) @ (stand_up() if upright else np.eye(3))
        points = np.concatenate(thing.parts.points) @ turn.T
        thing.parts.build(thing.name, turn, [place[0], place[1], height - points[:, 2].min() + 0.0005], thing.bevel_m)


def _on_wall(view: View, rng, back: float, share: float = 0.8) -> None:
    """Pictures, a clock, a shelf or a switch on the wall behind."""
    distance = back - view.position[1]
    for _ in range(int(rng.integers(1, 5))):
        if rng.random() > share:
            continue
        direction = view.ray(*rng.uniform(-0.6, 0.6, 2))
        if direction[1] < 0.2:
            continue
        x, _, z = view.position + direction * distance / direction[1]
        size = np.array([rng.uniform(0.12, 0.6), 0.02, rng.uniform(0.12, 0.6)])
        parts = Parts()
        if rng.random() < 0.75:
            parts.box(size, [x, back - 0.011, z], shaders.plain(rng) if rng.random() < 0.5 else shaders.wood(rng))
            art = [shaders.wallpaper, shaders.marble, lambda r: shaders.ground(r, "carpet")][rng.integers(3)](rng)
            parts.box(size * [0.86, 0.5, 0.86], [x, back - 0.02, z], art)
        else:
            parts.lathe([0.001, 0.15, 0.16, 0.16], [-0.01, -0.01, 0.0, 0.02], shaders.plain(rng, (0.8,) * 3))
            for piece in parts.points:
                piece += [x, back - 0.02, z]
        parts.build("picture", bevel_m=0.003)


def _curtain(view: View, rng, back: float, floor: float, top: float) -> None:
    x0 = rng.uniform(-1.2, 0.6)
    u, v = np.meshgrid(np.linspace(0, rng.uniform(0.5, 1.3), 90), np.linspace(0, 1, 12))
    depth = 0.03 * np.sin(u * rng.uniform(35, 60) + 0.6 * np.sin(3 * v)) + 0.01 * np.sin(u * 91)
    surface = np.stack([x0 + u, back - 0.06 + depth * (0.6 + 0.4 * v), floor + 0.05 + v * (top - floor - 0.1)], -1)
    Parts().grid(surface, shaders.fabric(rng)).build("curtain", smooth_deg=180)


def _window(view: View, rng, back: float) -> None:
    """A bright window in the wall behind."""
    x, z = rng.uniform(-0.7, 0.7), rng.uniform(0.0, 0.7)
    width, height = rng.uniform(0.5, 1.1), rng.uniform(0.7, 1.3)
    frame = shaders.plain(rng, (0.75,) * 3, 0.4)
    parts = Parts().box(
        [width, 0.01, height], [x, back - 0.006, z], shaders.glow((0.75, 0.88, 1.0), rng.uniform(1.0, 5.0))
    )
    for dx in (-0.5, 0.0, 0.5):
        parts.box([0.05, 0.06, height + 0.05], [x + dx * width, back - 0.03, z], frame)
    for dz in (-0.5, 0.15, 0.5):
        parts.box([width, 0.06, 0.05], [x, back - 0.03, z + dz * height], frame)
    parts.build("window", bevel_m=0.004)


def _lamp(view: View, rng, height: float) -> None:
    """A table lamp that is on."""
    place = view.on_plane(rng, height, 0.9)
    if not view.is_free(place, 0.12):
        return
    shade = shaders.Shader("shade", 0.8).set(
        Base_Color=(0.8, 0.7, 0.5), Emission_Color=(1.0, 0.7, 0.4), Emission_Strength=rng.uniform(0.5, 3.0)
    )
    parts = Parts().lathe([0.06, 0.06, 0.012, 0.012], [0.0, 0.015, 0.02, 0.3], shaders.metal(rng))
    parts.lathe([0.12, 0.075], [0.24, 0.4], shade.material)
    parts.build("lamp", stand_up(), place)


def _books(
    rng, parts: Parts, left: float, right: float, depth_at: float, base: float, height: float, materials
) -> None:
    """A row of standing books between `left` and `right`."""
    x = left
    while x < right - 0.06:
        width, tall = rng.uniform(0.012, 0.05), height * rng.uniform(0.65, 0.95)
        if rng.random() < 0.06:
            x += rng.uniform(0.03, 0.15)
            continue
        lean = rng.normal(0.0, 0.02)
        turn = np.array([[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]])
        parts.box(
            [width * 0.96, 0.15, tall],
            [x + width / 2, depth_at, base + tall / 2],
            materials[rng.integers(len(materials))],
            turn,
        )
        x += width


def _torso(view: View, rng, gap: float) -> None:
    """Somebody's shirt behind the hand."""
    material = shaders.fabric(rng)
    centre = np.array([rng.normal(0.0, 0.15), view.far + gap + 0.14, rng.uniform(-0.25, 0.15)])
    parts = Parts().ball(0.2, material, centre - [0, 0, 0.1], (1.0, 0.65, 1.7), 36)
    for side in (-1, 1):
        shoulder = centre + [0.19 * side, 0.0, 0.16]
        path = np.array([shoulder, shoulder + [0.06 * side, 0.01, -0.12], shoulder + [0.08 * side, 0.02, -0.34]])
        parts.tube(path, [0.075, 0.062, 0.052], material, 18)
    parts.build("shirt", smooth_deg=180)


# ---- places ---------------------------------------------------------------------------------------------


def desk(view: View, rng) -> None:
    """A desk or dining table in a room."""
    room = _room(view, rng, _wall(rng), _floor(rng))
    surface = [shaders.wood, shaders.wood, shaders.plain, shaders.marble][rng.integers(4)](rng)
    top = _table(view, rng, surface, room["back"])
    if rng.random() < 0.4:  # a screen at the back
        place = np.array([rng.uniform(-0.4, 0.4), min(view.far + rng.uniform(0.12, 0.5), room["back"] - 0.06), top])
        parts = Parts().box([0.55, 0.02, 0.33], place + [0, 0, 0.27], shaders.plain(rng, (0.02,) * 3))
        parts.box([0.53, 0.004, 0.31], place + [0, -0.011, 0.27], shaders.screen(rng, rng.uniform(0.3, 2.0)))
        parts.box([0.06, 0.03, 0.2], place + [0, 0.02, 0.1], shaders.plain(rng, (0.02,) * 3))
        parts.build("monitor", bevel_m=0.002)
    if rng.random() < 0.35:  # a keyboard
        place = view.on_plane(rng, top, 0.5)
        if view.is_free(place, 0.2):
            dark, cap = (
                shaders.plain(rng, shaders.grey(rng, 0.05, 0.8), 0.5),
                shaders.plain(rng, shaders.grey(rng, 0.05, 0.95), 0.6),
            )
            parts = Parts().box([0.4, 0.14, 0.012], [0, 0, 0.006], dark)
            for row in range(6):
                for column in range(20):
                    parts.box([0.0165, 0.0175, 0.006], [-0.19 + 0.02 * column, -0.055 + 0.022 * row, 0.014], cap)
            parts.build("keyboard", turn_z(rng.normal(0.0, 0.3)), place)
    if rng.random() < 0.4:
        _lamp(view, rng, top)
    _scatter(view, rng, top, 0.8, int(rng.integers(3, 9)), things.STANDING, things.LYING)
    _on_wall(view, rng, room["back"])


def kitchen(view: View, rng) -> None:
    """A worktop before a tiled wall, with a rail of tools."""
    room = _room(view, rng, shaders.tiles(rng), shaders.tiles(rng), gap=(0.1, 0.7))
    top = _table(
        view,
        rng,
        [shaders.marble, shaders.wood, lambda r: shaders.ground(r, "concrete")][rng.integers(3)](rng),
        room["back"],
    )
    _scatter(
        view,
        rng,
        top,
        0.6,
        int(rng.integers(4, 10)),
        (things.bowl, things.bottle, things.bottle, things.apple, things.cup),
        (things.fork, things.spoon, things.banana),
    )
    rail = rng.uniform(0.05, 0.4)
    steel = shaders.metal(rng)
    Parts().tube(np.array([[-1.0, room["back"] - 0.05, rail], [1.0, room["back"] - 0.05, rail]]), 0.006, steel).build(
        "rail"
    )
    for x in np.arange(-0.8, 0.8, rng.uniform(0.1, 0.25)):
        tool = (things.spoon, things.fork, things.scissors)[rng.integers(3)](rng)
        half = tool.parts.extent()[1]
        tool.parts.build(tool.name, stand_up(), [x, room["back"] - 0.05, rail - half])


def library(view: View, rng) -> None:
    """A wall of books."""
    room = _room(view, rng, _wall(rng), _floor(rng), gap=(0.35, 1.5))
    material, back = shaders.wood(rng), room["back"] - 0.13
    spines = [shaders.plain(rng, shaders.color(rng, (0.2, 0.9), (0.1, 0.8)), 0.5) for _ in range(14)]
    parts, books = Parts(), Parts()
    step = rng.uniform(0.26, 0.38)
    for z in np.arange(room["floor"] + 0.1, room["top"] - 0.1, step):
        parts.box([room["right"] - room["left"], 0.26, 0.02], [(room["left"] + room["right"]) / 2, back, z], material)
        _books(rng, books, max(room["left"], -1.2), min(room["right"], 1.2), back - 0.02, z + 0.01, step - 0.05, spines)
    for x in np.arange(room["left"], room["right"], 0.8) + rng.uniform(0, 0.3):
        parts.box([0.02, 0.26, room["top"] - room["floor"]], [x, back, (room["top"] + room["floor"]) / 2], material)
    parts.build("shelf")
    books.build("books", bevel_m=0.0015)


def living_room(view: View, rng) -> None:
    """A sofa, curtains, a window, plants."""
    room = _room(view, rng, _wall(rng), _floor(rng), gap=(0.7, 2.2))
    cloth = shaders.fabric(rng)
    x, y = rng.uniform(-0.5, 0.5), room["back"] - 0.5
    if y - 0.45 > view.far + 0.05:
        seat = room["floor"] + 0.42
        parts = (
            Parts()
            .box([1.7, 0.8, 0.2], [x, y, seat - 0.1], cloth)
            .box([1.7, 0.22, 0.6], [x, y + 0.35, seat + 0.2], cloth)
        )
        for side in (-0.9, 0.9):
            parts.box([0.2, 0.8, 0.5], [x + side, y, seat], cloth)
        parts.build("sofa", bevel_m=0.05)
        for _ in range(int(rng.integers(1, 4))):
            Parts().ball(
                0.22, shaders.fabric(rng), [x + rng.uniform(-0.7, 0.7), y + 0.15, seat + 0.18], (1, 0.4, 0.9)
            ).build("cushion", smooth_deg=180)
    if rng.random() < 0.6:
        _window(view, rng, room["back"])
    if rng.random() < 0.7:
        _curtain(view, rng, room["back"], room["floor"], room["top"])
    _on_wall(view, rng, room["back"], 0.5)
    for _ in range(2):
        plant = things.flower_pot(rng)
        place = np.array([rng.uniform(-1.2, 1.2), view.far + rng.uniform(0.3, 1.0), 0.0])
        if place[1] < room["back"] - 0.3:
            scale = rng.uniform(1.5, 4.0)
            plant.parts.points = [p * scale for p in plant.parts.points]
            base = room["floor"] + scale * plant.half_extent[1]
            plant.parts.build("plant", stand_up(), [place[0], place[1], base])


def bed(view: View, rng) -> None:
    """Crumpled cloth under the hand."""
    room = _room(view, rng, _wall(rng), _floor(rng), gap=(0.6, 1.5), drop=(0.5, 0.8))
    u, v = np.meshgrid(np.linspace(-1.0, 1.0, 130), np.linspace(-0.6, 1.0, 110))
    height = np.zeros_like(u)
    for _ in range(16):
        direction = rng.normal(size=2)
        frequency = rng.uniform(4, 30)
        wave = np.sin(
            frequency * (direction[0] * u + direction[1] * v) / np.linalg.norm(direction)
            + 2.0 * np.sin(2.5 * u + rng.uniform(0, 6))
            + rng.uniform(0, 6)
        )
        height += (0.12 / frequency) * (1.0 - np.abs(wave)) * rng.uniform(0.3, 1.0)
    top = min(view.low - rng.uniform(0.005, 0.1), view.position[2] - 0.05)
    surface = np.stack([u, v + max(view.far - 0.4, 0.0), top + height - height.max()], -1)
    Parts().grid(surface, shaders.fabric(rng)).build("cloth", smooth_deg=180)
    for _ in range(int(rng.integers(0, 3))):
        centre = np.array([rng.uniform(-0.5, 0.5), view.far + rng.uniform(0.25, 0.6), top + 0.06])
        if view.is_free(centre, 0.2):
            Parts().ball(0.3, shaders.fabric(rng), centre, (1, 0.6, 0.35), 32).build("pillow", smooth_deg=180)
    _on_wall(view, rng, room["back"], 0.5)


def floor(view: View, rng) -> None:
    """A floor, a rug, things that lie about."""
    room = _room(view, rng, _wall(rng), _floor(rng), gap=(0.3, 1.5), drop=(0.02, 0.5))
    if rng.random() < 0.6:
        size = rng.uniform(0.5, 1.2, 2)
        Parts().box([*size, 0.012], np.zeros(3), shaders.fabric(rng)).build(
            "rug", turn_z(rng.uniform(0, 3)), [rng.uniform(-0.2, 0.2), view.far * 0.5, room["floor"] + 0.006]
        )
    _scatter(view, rng, room["floor"] + 0.012, 0.8, int(rng.integers(2, 8)), things.STANDING, things.LYING)


def workshop(view: View, rng) -> None:
    """A pegboard with tools over a bench."""
    room = _room(
        view,
        rng,
        shaders.ground(rng, "concrete") if rng.random() < 0.5 else shaders.brick_wall(rng),
        shaders.ground(rng, "concrete"),
        gap=(0.2, 1.0),
    )
    Parts().box([1.8, 0.015, 0.9], [0.0, room["back"] - 0.01, 0.25], shaders.wood(rng)).build("board")
    for _ in range(int(rng.integers(8, 18))):
        tool = (things.scissors, things.spoon, things.remote, things.phone, things.keys, things.fork)[rng.integers(6)](
            rng
        )
        tool.parts.build(
            tool.name, stand_up(), [rng.uniform(-0.8, 0.8), room["back"] - 0.035, rng.uniform(-0.1, 0.6)], tool.bevel_m
        )
    top = _table(view, rng, shaders.wood(rng), room["back"])
    _scatter(view, rng, top, 0.7, int(rng.integers(2, 8)), (things.bottle, things.cup, things.cube), things.LYING)


def studio(view: View, rng) -> None:
    """A sheet of paper that bends up behind."""
    material = shaders.plaster(rng, shaders.color(rng, (0.0, 0.7), (0.1, 0.95)))
    base, far = min(view.low - rng.uniform(0.01, 0.4), view.position[2] - 0.1), view.far + rng.uniform(0.2, 1.2)
    angle = np.linspace(0, np.pi / 2, 12)
    y = np.concatenate([[-3.0, -1.0], far - 0.5 + 0.5 * np.sin(angle), [far, far]])
    z = base + np.concatenate([[0.0, 0.0], 0.5 - 0.5 * np.cos(angle), [1.5, 3.0]])
    x = np.linspace(-4, 4, 5)
    surface = np.stack(
        [
            np.broadcast_to(x, (len(y), 5)),
            np.broadcast_to(y[:, None], (len(y), 5)),
            np.broadcast_to(z[:, None], (len(y), 5)),
        ],
        -1,
    )
    Parts().grid(surface, material).build("paper", smooth_deg=180)


def night(view: View, rng) -> None:
    """Dark surroundings with far lamps."""
    Parts().box([40.0, 40.0, 0.1], [0.0, 10.0, view.low - 1.3], shaders.ground(rng, "asphalt")).build("ground")
    walls = Parts()
    for _ in range(6):
        walls.box(
            [rng.uniform(2, 5), 1.0, rng.uniform(3, 9)],
            [rng.uniform(-9, 9), rng.uniform(8, 16), 1.5],
            shaders.facade(rng),
        )
    walls.build("houses")
    warm = [(1.0, 0.6, 0.25), (1.0, 0.85, 0.6), (0.6, 0.8, 1.0), (1.0, 0.15, 0.1), (0.2, 1.0, 0.4), (1.0, 0.3, 0.8)]
    for _ in range(int(rng.integers(15, 40))):
        direction = view.ray(*rng.uniform(-0.6, 0.6, 2))
        place = view.position + direction * rng.uniform(3.0, 9.0)
        if place[1] > view.far + 1.0:
            glow = shaders.glow(warm[rng.integers(len(warm))], rng.uniform(2, 14))
            Parts().ball(rng.uniform(0.01, 0.06), glow, place, sides=12).build("far light")


def garden(view: View, rng) -> None:
    """A lawn with hedges, trunks and a fence or wall under the sky."""
    level = view.low - rng.uniform(0.05, 1.2)
    Parts().box(
        [60.0, 60.0, 0.1], [0.0, 20.0, level - 0.05], shaders.ground(rng, "grass" if rng.random() < 0.7 else "sand")
    ).build("ground")
    green = [shaders.foliage(rng) for _ in range(3)]
    for _ in range(int(rng.integers(3, 7))):
        size = rng.uniform([0.3, 0.3, 0.4], [1.2, 0.8, 1.6])
        centre = np.array([rng.uniform(-2.5, 2.5), view.far + size[1] + rng.uniform(0.2, 3.0), level + 0.8 * size[2]])
        spread = rng.normal(size=(1500, 3))
        spread *= rng.uniform(0.75, 1.0, (1500, 1)) / np.linalg.norm(spread, axis=1, keepdims=True)
        bush = Parts().leaves(centre + spread * size, rng.uniform(0.06, 0.16), green[rng.integers(3)], rng)
        bush.ball(0.8, shaders.plain(rng, (0.01, 0.02, 0.005), 0.9), centre, size, 16)
        bush.build("bush")
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(-2, 2), view.far + rng.uniform(0.8, 4.0)
        path = np.array(
            [[x, y, level], [x + rng.normal(0, 0.1), y, level + 1.5], [x + rng.normal(0, 0.3), y, level + 4]]
        )
        Parts().tube(path, [0.14, 0.11, 0.07], shaders.wood(rng), 14).build("trunk", smooth_deg=180)
    at = view.far + rng.uniform(2.0, 5.0)
    if rng.random() < 0.4:
        Parts().box([14.0, 0.2, 2.2], [0, at, level + 1.1], shaders.brick_wall(rng)).build("garden wall")
    elif rng.random() < 0.5:
        fence, material = Parts(), shaders.wood(rng)
        for x in np.arange(-4, 4, 0.16):
            fence.box([0.1, 0.02, 1.2], [x, at, level + 0.6], material)
        fence.build("fence")


def street(view: View, rng) -> None:
    """Houses along a road under the sky."""
    level = view.low - rng.uniform(0.5, 1.3)
    Parts().box(
        [80.0, 80.0, 0.1],
        [0.0, 20.0, level - 0.05],
        shaders.ground(rng, "asphalt" if rng.random() < 0.6 else "concrete"),
    ).build("ground")
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    x = -16.0
    while x < 16.0:
        width, height = rng.uniform(4, 8), rng.uniform(4, 14)
        material = shaders.facade(rng) if rng.random() < 0.8 else shaders.brick_wall(rng)
        Parts().box([width, height, 2.0], np.zeros(3), material).build(
            "house", upright, [x + width / 2, view.far + rng.uniform(5, 10), level + height / 2]
        )
        x += width + (rng.uniform(0.5, 3.0) if rng.random() < 0.3 else 0.0)
    for _ in range(int(rng.integers(1, 5))):
        place = np.array([rng.uniform(-4, 4), view.far + rng.uniform(1.5, 5.0), level])
        paint, dark = shaders.plain(rng, None, 0.2), shaders.plain(rng, (0.02,) * 3, 0.2)
        if rng.random() < 0.5:
            Parts().box([3.4, 1.5, 0.6], [0, 0, 0.6], paint).box([1.9, 1.3, 0.5], [0, 0, 1.1], dark).build(
                "car", turn_z(rng.normal(0, 0.3)), place, 0.12
            )
        else:
            Parts().tube(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]), 0.05, shaders.metal(rng)).box(
                [0.4, 0.02, 0.4], [0, -0.06, 2.0], paint
            ).build("sign", None, place)


def _wall(rng):
    return [shaders.plaster, shaders.plaster, shaders.plaster, shaders.wallpaper, shaders.brick_wall, shaders.wood][
        rng.integers(6)
    ](rng)


def _floor(rng):
    return [shaders.planks, shaders.tiles, lambda r: shaders.ground(r, "carpet"), shaders.wood][rng.integers(4)](rng)


INDOORS = (desk, desk, kitchen, library, living_room, bed, floor, workshop)
OUTDOORS = (garden, garden, street)
PLACES = {"indoors": 0.62, "outdoors": 0.22, "studio": 0.07, "night": 0.09}


def build_place(view: View, rng: np.random.Generator) -> str:
    """Surroundings of a random kind, with their lights; returns their names."""
    kind = str(rng.choice(list(PLACES), p=list(PLACES.values())))
    if kind == "indoors":
        place = INDOORS[rng.integers(len(INDOORS))]
    elif kind == "outdoors":
        place = OUTDOORS[rng.integers(len(OUTDOORS))]
    else:
        place = {"studio": studio, "night": night}[kind]
    place(view, rng)
    if kind != "studio" and rng.random() < 0.12:
        _torso(view, rng, rng.uniform(0.1, 0.5))
    lights = {
        "indoors": (window_light, window_light, fluorescent, lamp_light, ring_light, candle, display, mixed),
        "outdoors": (sun, sun, overcast),
        "studio": (window_light, ring_light, fluorescent, mixed),
        "night": (candle, display, lamp_light, mixed),
    }[kind]
    light = lights[rng.integers(len(lights))]
    light(view, rng)
    return f"{place.__name__}, {light.__name__}"


# ---- lights ---------------------------------------------------------------------------------------------


def _world(rgb, strength: float) -> None:
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (*rgb, 1.0)
    background.inputs["Strength"].default_value = strength
    bpy.context.scene.world = world


def _fill(view: View, rng, share: float) -> None:
    """What the rest of the room sends back: a wide, weak light from above and behind the camera."""
    _world((1.0, 1.0, 1.0), 0.25 * share)
    _area(view.position + [rng.uniform(-0.5, 0.5), -0.3, 0.45], (1.6, 1.2), share, shaders.grey(rng, 0.8, 1.0, 0.06))


def _area(place, size, irradiance: float, rgb, target=(0.0, 0.0, 0.0), shape="RECTANGLE"):
    """An area light that gives about `irradiance` at its target."""
    data = bpy.data.lights.new("area", "AREA")
    data.shape, data.size, data.size_y, data.color = shape, size[0], size[1], rgb
    thing = bpy.data.objects.new("area", data)
    thing.location = place
    toward = Vector(np.subtract(target, place).tolist())
    thing.rotation_euler = toward.to_track_quat("-Z", "Y").to_euler()
    data.energy = 4.0 * irradiance * (toward.length_squared + 0.25 * size[0] * size[1]) * np.pi / 2
    bpy.context.scene.collection.objects.link(thing)
    thing.visible_camera = False
    return thing


def _point(place, radius: float, irradiance: float, rgb) -> None:
    data = bpy.data.lights.new("point", "POINT")
    data.shadow_soft_size, data.color = radius, rgb
    data.energy = 12.0 * irradiance * float(np.dot(place, place))
    thing = bpy.data.objects.new("point", data)
    thing.location = place
    bpy.context.scene.collection.objects.link(thing)


def _beside(view: View, rng, distance, front: float = 0.2) -> np.ndarray:
    """A place (3,) beside, above or before the hand, rather on the camera's side."""
    toward = view.position / np.linalg.norm(view.position)
    for _ in range(30):
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        if direction @ toward > front and direction[2] > -0.1:
            break
    return direction * rng.uniform(*distance)


WARM, DAY, COOL = (1.0, 0.62, 0.3), (0.92, 0.96, 1.0), (0.7, 0.85, 1.0)


def window_light(view: View, rng) -> None:
    """Daylight from a window out of view."""
    side = -1.0 if rng.random() < 0.5 else 1.0
    place = np.array([side * rng.uniform(0.8, 1.1), rng.uniform(-1.0, 0.3), rng.uniform(0.1, 0.8)])
    _area(place, rng.uniform(0.5, 1.3, 2), 1.0, DAY)
    _fill(view, rng, rng.uniform(0.08, 0.4))


def fluorescent(view: View, rng) -> None:
    """Tubes at the ceiling, a little green."""
    tint = (0.9 + 0.1 * rng.random(), 1.0, 0.85 + 0.1 * rng.random())
    for x in (-0.5, 0.5):
        _area(
            (x + rng.normal(0, 0.2), rng.uniform(-0.9, 0.4), rng.uniform(0.9, 1.15)),
            (1.2, 0.08),
            0.6,
            tint,
            (x, 0.0, 0.0),
        )
    _fill(view, rng, rng.uniform(0.15, 0.4))


def lamp_light(view: View, rng) -> None:
    """A warm lamp near by."""
    _point(_beside(view, rng, (0.45, 0.95)), rng.uniform(0.02, 0.08), 1.0, WARM)
    _fill(view, rng, rng.uniform(0.04, 0.3))


def ring_light(view: View, rng) -> None:
    """A ring of light around the camera, as people film with."""
    distance = np.linalg.norm(view.position)
    radius = rng.uniform(0.12, 0.24) * max(distance, 0.4)
    glow = shaders.glow((1.0, 0.93, 0.85), rng.uniform(12.0, 20.0))
    away = view.rotation[:, 2]
    Parts().ring(radius, 0.12 * radius, glow, view.position - 0.03 * away, away).build("ring light")
    _fill(view, rng, rng.uniform(0.1, 0.3))


def candle(view: View, rng) -> None:
    """Candles, very warm and near."""
    for _ in range(int(rng.integers(1, 4))):
        _point(_beside(view, rng, (0.3, 0.7), 0.1), 0.012, rng.uniform(0.4, 1.0), (1.0, 0.45, 0.13))
    _fill(view, rng, rng.uniform(0.02, 0.1))


def display(view: View, rng) -> None:
    """The light of a screen in a dim room."""
    place = _beside(view, rng, (0.35, 0.6), 0.3)
    _area(place, (0.55, 0.33), 1.0, (0.6 + 0.2 * rng.random(), 0.8, 1.0))
    _fill(view, rng, rng.uniform(0.05, 0.2))


def mixed(view: View, rng) -> None:
    """Two or three coloured lights."""
    for _ in range(int(rng.integers(2, 4))):
        _area(
            _beside(view, rng, (0.6, 1.1), -0.2),
            (0.3, 0.3),
            rng.uniform(0.3, 1.0),
            shaders.color(rng, (0.2, 0.7), (0.9, 1.0)),
        )
    _fill(view, rng, rng.uniform(0.1, 0.3))


def sun(view: View, rng) -> None:
    """Sun and sky."""
    elevation, azimuth = np.radians(rng.uniform(8.0, 65.0)), rng.uniform(0.0, 2.0 * np.pi)
    if np.sin(azimuth) > 0.3 and rng.random() < 0.7:  # rather not into the sun
        azimuth = -azimuth
    _sky(rng, elevation, azimuth, rng.uniform(0.1, 0.4))
    data = bpy.data.lights.new("sun", "SUN")
    low = float(np.clip(np.degrees(elevation) / 35.0, 0.0, 1.0))
    data.color, data.energy = (1.0, 0.6 + 0.35 * low, 0.35 + 0.5 * low), rng.uniform(2.0, 5.0)
    data.angle = np.radians(rng.uniform(0.5, 4.0))
    direction = Vector((np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)))
    thing = bpy.data.objects.new("sun", data)
    thing.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(thing)


def overcast(view: View, rng) -> None:
    """A grey sky."""
    _world(shaders.grey(rng, 0.85, 1.0, 0.04), 1.0)


def _sky(rng, elevation: float, azimuth: float, strength: float) -> None:
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    sky = world.node_tree.nodes.new("ShaderNodeTexSky")
    sky.sky_type, sky.sun_disc = "MULTIPLE_SCATTERING", False
    sky.sun_elevation, sky.sun_rotation = elevation, 0.5 * np.pi - azimuth
    world.node_tree.links.new(sky.outputs[0], world.node_tree.nodes["Background"].inputs["Color"])
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = strength
    bpy.context.scene.world = world
