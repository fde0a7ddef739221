"""Things to hold, to hide a hand behind, and to stand about; none of them has a shape of the corpus.

A thing lies around the origin with its long axis along y, as in `hf_handdiff.synthetic.mesh.Solid`.
"""

from dataclasses import dataclass

import numpy as np

from . import shaders
from .shapes import Parts


@dataclass
class Thing:
    """A thing: its parts, the radius of its rounded edges, and the solid that fingers close around.

    kind: "box", "round" or "ball", with half_extent (3,) m; `distance` as in the corpus's `Solid`.
    """

    name: str
    parts: Parts
    kind: str
    half_extent: np.ndarray
    bevel_m: float = 0.0

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (N,) m of points (N, 3) to the solid."""
        if self.kind == "ball":
            return np.linalg.norm(points, axis=1) - self.half_extent[0]
        if self.kind == "round":
            radial = np.hypot(points[:, 0], points[:, 2]) - self.half_extent[0]
            outside = np.stack([radial, np.abs(points[:, 1]) - self.half_extent[1]], 1)
        else:
            outside = np.abs(points) - self.half_extent
        return np.linalg.norm(np.maximum(outside, 0.0), axis=1) + np.minimum(outside.max(1), 0.0)


def phone(rng) -> Thing:
    """A slab with a screen and a camera bump."""
    size = np.array([rng.uniform(0.066, 0.078), rng.uniform(0.138, 0.165), rng.uniform(0.007, 0.011)])
    parts = Parts()
    body = shaders.plain(rng, shaders.grey(rng, 0.05, 0.9), 0.25)
    parts.box(size, np.zeros(3), body)
    side = -1.0 if rng.random() < 0.5 else 1.0
    display = (
        shaders.screen(rng, rng.uniform(0.2, 1.5)) if rng.random() < 0.6 else shaders.plain(rng, (0.01,) * 3, 0.05)
    )
    parts.box(size * [0.93, 0.95, 0.04], [0.0, 0.0, side * size[2] * 0.5], display)
    bump = [size[0] * 0.22, size[1] * 0.36, -side * size[2] * 0.55]
    parts.box([0.026, 0.03, 0.003], bump, body)
    lens = shaders.plain(rng, (0.01, 0.01, 0.015), 0.05)
    for k in (-1, 1):
        parts.box([0.009, 0.009, 0.0035], np.add(bump, [0.0, 0.007 * k, -side * 0.0005]), lens)
    return Thing("phone", parts, "box", 0.5 * size, 0.0022)


def cup(rng) -> Thing:
    """A cup with a handle."""
    radius, height = rng.uniform(0.034, 0.044), rng.uniform(0.075, 0.105)
    glaze = shaders.plain(rng, None, rng.uniform(0.1, 0.4))
    flare = rng.uniform(0.8, 1.0)
    parts = Parts()
    share = np.array([0.0, 0.0, 0.04, 0.5, 0.97, 1.0, 1.0, 0.96, 0.5, 0.08, 0.08])
    radii = np.array(
        [
            0.001,
            0.88 * flare,
            0.95 * flare,
            0.5 * (1 + flare),
            1.0,
            1.0,
            0.95,
            0.92,
            0.46 * (1 + flare),
            0.85 * flare,
            0.001,
        ]
    )
    parts.lathe(radius * radii, height * (share - 0.5), glaze)
    parts.ring(0.3 * height, 0.005, glaze, (0.97 * radius, 0.0, 0.0), (0.0, 0.0, 1.0), np.pi * 1.1, 0.45 * np.pi)
    return Thing("cup", parts, "round", np.array([radius, 0.5 * height, radius]))


def spiky_ball(rng) -> Thing:
    """A massage ball."""
    radius = rng.uniform(0.024, 0.036)
    rubber = shaders.plain(rng, shaders.color(rng, (0.5, 1.0), (0.4, 0.9)), 0.4)
    parts = Parts().ball(radius, rubber)
    count = int(rng.integers(50, 90))
    k = np.arange(count) + 0.5
    y = 1.0 - 2.0 * k / count
    angle = np.pi * (1.0 + 5.0**0.5) * k
    for d in np.stack([np.sqrt(1 - y * y) * np.cos(angle), y, np.sqrt(1 - y * y) * np.sin(angle)], 1):
        parts.tube(
            np.array([d * radius * 0.95, d * radius * 1.1, d * radius * 1.2]), [0.0032, 0.0022, 0.0006], rubber, 6
        )
    return Thing("spiky ball", parts, "ball", np.full(3, radius * 1.08))


def pen(rng) -> Thing:
    """A ball pen with clip, grip and button."""
    radius, length = rng.uniform(0.0045, 0.006), rng.uniform(0.13, 0.15)
    body, trim = shaders.plain(rng, None, 0.25), shaders.metal(rng)
    parts = Parts()
    parts.lathe(
        radius * np.array([0.02, 0.15, 0.6, 1.0, 1.0, 0.9, 0.02]),
        length * (np.array([0.0, 0.0, 0.09, 0.12, 0.98, 1.0, 1.0]) - 0.5),
        body,
        16,
    )
    parts.lathe(
        radius * np.array([1.06, 1.1, 1.1, 1.06]), length * (np.array([0.5, 0.505, 0.525, 0.53]) - 0.5), trim, 16
    )
    parts.lathe(radius * np.array([0.5, 0.5, 0.02]), length * np.array([0.5, 0.56, 0.56]), trim, 12)
    parts.box([0.0035, 0.3 * length, 0.0015], [0.0, 0.33 * length, radius * 1.25], trim)
    return Thing("pen", parts, "round", np.array([radius, 0.5 * length, radius]))


def fork(rng) -> Thing:
    """A fork: a bent handle and four tines."""
    steel = shaders.metal(rng)
    parts = Parts()
    y = np.linspace(-0.1, 0.045, 16)
    z = 0.004 * np.cos(np.linspace(0.0, 3.0, 16))
    width = np.interp(y, [-0.1, -0.07, 0.02, 0.035, 0.045], [0.008, 0.0075, 0.003, 0.008, 0.011])
    parts.tube(np.stack([np.zeros(16), y, z], 1), width, steel, 12, flatten=0.25)
    for x in (-0.009, -0.003, 0.003, 0.009):
        along = np.linspace(0.0, 1.0, 7)
        path = np.stack([np.full(7, x), 0.042 + 0.05 * along, z[-1] + 0.008 * along**2], 1)
        parts.tube(path, np.interp(along, [0.0, 0.8, 1.0], [0.0019, 0.0014, 0.0004]), steel, 8)
    return Thing("fork", parts, "round", np.array([0.006, 0.1, 0.004]))


def spoon(rng) -> Thing:
    """A cooking spoon."""
    material = shaders.wood(rng) if rng.random() < 0.6 else shaders.metal(rng)
    length = rng.uniform(0.16, 0.24)
    parts = Parts().tube(
        np.array([[0.0, -0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.3, 0.0]]) * length, [0.006, 0.005, 0.004], material, 12
    )
    parts.ball(0.028, material, [0.0, 0.42 * length, 0.0], [0.8, 1.25, 0.25])
    return Thing("spoon", parts, "round", np.array([0.006, 0.5 * length, 0.006]))


def keys(rng) -> Thing:
    """Three keys on a ring with a tag."""
    parts = Parts().ring(0.014, 0.0011, shaders.metal(rng), (0.0, 0.03, 0.0), (0.3, 0.1, 1.0))
    for k in range(3):
        steel = shaders.metal(rng)
        angle = (k - 1) * 0.5 + rng.normal(0.0, 0.1)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
        head = 0.011 * np.stack(
            [np.cos(np.linspace(0, 2 * np.pi, 12, False)), np.sin(np.linspace(0, 2 * np.pi, 12, False))], 1
        )
        blade = np.array(
            [
                [-0.004, -0.009],
                [-0.004, -0.045],
                [0.0, -0.05],
                [0.003, -0.044],
                [0.001, -0.038],
                [0.004, -0.033],
                [0.002, -0.027],
                [0.004, -0.021],
                [0.004, -0.009],
            ]
        )
        for outline in (head, blade):
            points = np.column_stack([outline, np.zeros(len(outline))]) @ turn.T
            parts.plate(points[:, :2], 0.002, steel, (0.02 * np.sin(angle), 0.012, 0.003 * (k - 1)))
    parts.box([0.024, 0.04, 0.004], [0.02, 0.06, 0.0], shaders.plain(rng))
    return Thing("keys", parts, "box", np.array([0.02, 0.035, 0.006]), 0.0)


def scissors(rng) -> Thing:
    """Scissors, a little open."""
    grip, steel = shaders.plain(rng, None, 0.4), shaders.metal(rng)
    open_angle = rng.uniform(0.05, 0.3)
    parts = Parts()
    for side in (-1.0, 1.0):
        cos, sin = np.cos(0.5 * side * open_angle), np.sin(0.5 * side * open_angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        outline = np.array([[-0.006, -0.02], [0.007, -0.02], [0.006, 0.02], [0.0005, 0.095], [-0.002, 0.095]]) * [
            side,
            1.0,
        ]
        outline = outline if side > 0 else outline[::-1]
        parts.plate(outline @ turn.T, 0.002, steel, (0.0, 0.0, 0.0012 * side))
        centre = turn @ np.array([-side * 0.022, -0.058])
        parts.ring(0.019, 0.0042, grip, (centre[0], centre[1], 0.0012 * side), (0.0, 0.0, 1.0))
        path = np.array([[0.0, -0.015], [-side * 0.005, -0.03], [-side * 0.012, -0.043]]) @ turn.T
        parts.tube(np.column_stack([path, np.full(3, 0.0012 * side)]), 0.005, grip, 10)
    return Thing("scissors", parts, "box", np.array([0.03, 0.04, 0.005]))


def apple(rng) -> Thing:
    """An apple with its stem and a leaf."""
    radius = rng.uniform(0.033, 0.042)
    shader = shaders.Shader("apple", 0.25)
    red = shaders.color(rng, (0.75, 0.95), (0.4, 0.7)) if rng.random() < 0.2 else (rng.uniform(0.3, 0.6), 0.02, 0.02)
    green = (0.35, 0.45, 0.05)
    share = shader.ramp(shader.noise(shader.stretch(shader.position(), (60.0, 8.0, 60.0)), 1.0, 3.0), 0.3, 0.7)
    shader.set(Base_Color=shader.mix(share, red, green if rng.random() < 0.6 else shaders.scaled(red, 0.6)))
    polar = np.linspace(0.0, np.pi, 22)
    radii = np.sin(polar) * (1.0 + 0.12 * np.cos(polar)) + 1e-4
    heights = (
        np.cos(polar) * 0.88 - 0.35 * np.exp(-((polar / 0.35) ** 2)) + 0.2 * np.exp(-(((np.pi - polar) / 0.25) ** 2))
    )
    parts = Parts().lathe(radius * radii[::-1], radius * heights[::-1], shader.material)
    stem = np.array([[0.0, 0.5, 0.0], [0.02, 0.8, 0.0], [0.1, 1.15, 0.05]]) * radius
    parts.tube(stem, [0.0012, 0.0011, 0.0018], shaders.plain(rng, (0.08, 0.04, 0.02), 0.8), 8)
    if rng.random() < 0.5:
        _leaf(parts, radius * np.array([0.03, 0.85, 0.0]), np.array([1.0, 0.45, 0.2]), 0.04, shaders.foliage(rng))
    return Thing("apple", parts, "ball", np.full(3, radius))


def _leaf(parts: Parts, start, along, length, material, bend: float = 0.25) -> None:
    """A curved leaf blade with a fold at its midrib."""
    along = np.asarray(along) / np.linalg.norm(along)
    across = np.cross(along, [0.13, 0.27, 0.95])
    across /= np.linalg.norm(across)
    up = np.cross(across, along)
    s, t = np.linspace(0.0, 1.0, 12)[:, None], np.linspace(-1.0, 1.0, 7)[None]
    width = 0.36 * np.sin(np.pi * s**0.8) ** 0.8 * (1.0 - 0.3 * s) + 0.004
    lift = 0.12 * np.abs(t) * width / 0.3 - bend * s**2 + 0.02 * np.sin(9.0 * s + 2 * t)
    surface = start + length * (s[..., None] * along + (width * t)[..., None] * across + lift[..., None] * up)
    parts.grid(surface, material)


def leaf(rng) -> Thing:
    """A twig with broad leaves."""
    green, parts = shaders.foliage(rng), Parts()
    length = rng.uniform(0.08, 0.16)
    bend = rng.normal(0.0, 0.02)
    share = np.linspace(-1.0, 1.0, 9)
    path = np.stack([bend * share**2, length * share, np.zeros(9)], 1)
    parts.tube(path, np.linspace(0.0026, 0.001, 9), shaders.plain(rng, (0.1, 0.07, 0.03), 0.8), 8)
    for k in range(int(rng.integers(4, 8))):
        at = path[rng.integers(3, 9)]
        side = -1.0 if k % 2 else 1.0
        _leaf(
            parts,
            at,
            [side * rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.9), rng.normal(0.0, 0.4)],
            rng.uniform(0.05, 0.1),
            green,
        )
    return Thing("twig", parts, "round", np.array([0.003, length, 0.003]))


def book(rng) -> Thing:
    """A closed book: cover, pages, spine."""
    size = np.array([rng.uniform(0.09, 0.13), rng.uniform(0.14, 0.2), rng.uniform(0.01, 0.035)])
    cover = shaders.plain(rng, None, 0.5) if rng.random() < 0.6 else shaders.wallpaper(rng)
    paper = shaders.plain(rng, (0.75, 0.7, 0.6), 0.9)
    parts = Parts().box(size * [0.96, 0.97, 0.86], [0.01 * size[0], 0.0, 0.0], paper)
    for z in (-0.5, 0.5):
        parts.box([size[0], size[1], 0.002], [0.0, 0.0, z * (size[2] - 0.002)], cover)
    parts.box([0.003, size[1], size[2]], [-0.5 * size[0], 0.0, 0.0], cover)
    return Thing("book", parts, "box", 0.5 * size, 0.0006)


def cube(rng) -> Thing:
    """A puzzle cube of coloured stones."""
    edge = rng.uniform(0.045, 0.058)
    black, step = shaders.plain(rng, (0.015,) * 3, 0.4), edge / 3
    colors = [
        (0.6, 0.02, 0.02),
        (0.0, 0.25, 0.05),
        (0.01, 0.05, 0.4),
        (0.75, 0.5, 0.0),
        (0.8, 0.8, 0.8),
        (0.8, 0.2, 0.0),
    ]
    stickers = [shaders.plain(rng, rgb, 0.3) for rgb in colors]
    parts = Parts().box(np.full(3, edge), np.zeros(3), black)
    for axis in range(3):
        for side in (-1, 1):
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    centre, size = np.zeros(3), np.full(3, 0.86 * step)
                    centre[axis], size[axis] = side * 0.5 * edge, 0.0012
                    centre[(axis + 1) % 3], centre[(axis + 2) % 3] = a * step, b * step
                    parts.box(size, centre, stickers[rng.integers(6)])
    return Thing("cube", parts, "box", np.full(3, 0.5 * edge))


def banana(rng) -> Thing:
    """A banana."""
    shader = shaders.Shader("banana", 0.45)
    spots = shader.ramp(shader.noise(shader.position(), 120.0, 4.0), 0.62, 0.7)
    shader.set(Base_Color=shader.mix(spots, (0.7, 0.45, 0.04), (0.12, 0.06, 0.02)))
    share = np.linspace(-1.0, 1.0, 17)
    path = np.stack([0.03 * share**2 - 0.01, 0.085 * share, np.zeros(17)], 1)
    radius = 0.017 * np.interp(share, [-1, -0.85, -0.6, 0.0, 0.6, 0.85, 1.0], [0.2, 0.45, 0.9, 1.0, 0.9, 0.3, 0.25])
    parts = Parts().tube(path, radius, shader.material, 6)
    return Thing("banana", parts, "round", np.array([0.016, 0.08, 0.016]))


def remote(rng) -> Thing:
    """A remote control with rows of buttons."""
    size = np.array([rng.uniform(0.04, 0.05), rng.uniform(0.14, 0.18), rng.uniform(0.014, 0.02)])
    parts = Parts().box(size, np.zeros(3), shaders.plain(rng, shaders.grey(rng, 0.05, 0.4), 0.5))
    rubber = [shaders.plain(rng, shaders.grey(rng, 0.3, 0.9), 0.7), shaders.plain(rng, None, 0.6)]
    for row in range(8):
        for column in (-1, 0, 1):
            centre = [column * 0.28 * size[0], (0.4 - 0.1 * row) * size[1], 0.5 * size[2]]
            parts.box([0.007, 0.007, 0.003], centre, rubber[int(rng.random() < 0.15)])
    return Thing("remote", parts, "box", 0.5 * size, 0.0015)


def spanner(rng) -> Thing:
    """An open-ended spanner."""
    length = rng.uniform(0.13, 0.19)
    jaw = np.array(
        [
            [0.004, 0.0],
            [0.007, 0.012],
            [0.016, 0.014],
            [0.016, 0.028],
            [0.009, 0.034],
            [0.0055, 0.022],
            [-0.0055, 0.022],
            [-0.009, 0.034],
            [-0.016, 0.028],
            [-0.016, 0.014],
            [-0.007, 0.012],
            [-0.004, 0.0],
        ]
    )
    half = jaw + [0.0, 0.5 * length - 0.03]
    parts = Parts().plate(np.concatenate([half, -half]), 0.006, shaders.metal(rng))
    return Thing("spanner", parts, "round", np.array([0.006, 0.5 * length, 0.006]), 0.001)


def comb(rng) -> Thing:
    """A comb."""
    length, material = rng.uniform(0.12, 0.18), shaders.plain(rng)
    parts = Parts().box([0.012, length, 0.004], [0.0, 0.0, 0.0], material)
    for y in np.arange(-0.48, 0.5, 0.03) * length:
        parts.box([0.026, 0.0016, 0.002], [0.018, y, 0.0], material)
    return Thing("comb", parts, "box", np.array([0.012, 0.5 * length, 0.004]))


def star(rng) -> Thing:
    """A toy star."""
    points, radius = int(rng.integers(5, 8)), rng.uniform(0.035, 0.05)
    angle = np.arange(2 * points) * np.pi / points
    r = radius * np.where(np.arange(2 * points) % 2, rng.uniform(0.4, 0.6), 1.0)
    parts = Parts().plate(
        np.stack([r * np.cos(angle), r * np.sin(angle)], 1), rng.uniform(0.012, 0.025), shaders.plain(rng)
    )
    return Thing("star", parts, "box", np.array([0.7 * radius, 0.7 * radius, 0.01]), 0.002)


def bowl(rng) -> Thing:
    """An open bowl."""
    radius = rng.uniform(0.06, 0.09)
    share = np.linspace(0.05, 0.5 * np.pi, 10)
    outer, inner = radius * np.sin(share), 0.94 * radius * np.sin(share[::-1])
    low, high = -0.7 * radius * np.cos(share), -0.7 * radius * np.cos(share[::-1]) * 0.92
    parts = Parts().lathe(
        np.concatenate([outer, inner]), np.concatenate([low, high]) + 0.35 * radius, shaders.plain(rng, None, 0.2), 40
    )
    return Thing("bowl", parts, "round", np.array([radius, 0.35 * radius, radius]))


def flower_pot(rng) -> Thing:
    """A plant in a pot."""
    radius, height = rng.uniform(0.04, 0.08), rng.uniform(0.07, 0.14)
    clay = shaders.plain(rng, (0.4, 0.15, 0.07), 0.8) if rng.random() < 0.5 else shaders.plain(rng)
    parts = Parts().lathe(
        radius * np.array([0.001, 0.7, 0.95, 1.05, 1.05, 0.9, 0.001]),
        height * np.array([-0.5, -0.5, 0.35, 0.35, 0.5, 0.42, 0.42]),
        clay,
    )
    green = shaders.foliage(rng)
    for _ in range(int(rng.integers(9, 20))):
        direction = np.array([rng.normal(), rng.uniform(0.5, 2.5), rng.normal()])
        _leaf(
            parts, np.array([0.0, 0.42 * height, 0.0]), direction, rng.uniform(0.1, 0.24), green, rng.uniform(0.1, 0.5)
        )
    return Thing("plant", parts, "round", np.array([radius, 0.5 * height, radius]))


def bottle(rng) -> Thing:
    """A square bottle with a cap and a label."""
    width, height = rng.uniform(0.05, 0.075), rng.uniform(0.14, 0.22)
    parts = Parts().box([width, height, width], [0.0, 0.0, 0.0], shaders.plain(rng, None, 0.1))
    parts.box([width * 1.02, 0.4 * height, width * 1.02], [0.0, -0.1 * height, 0.0], shaders.wallpaper(rng))
    parts.lathe(
        [0.3 * width, 0.3 * width, 0.36 * width, 0.36 * width, 0.001],
        height * np.array([0.48, 0.55, 0.55, 0.65, 0.65]),
        shaders.plain(rng),
        20,
    )
    return Thing("bottle", parts, "box", np.array([0.5 * width, 0.5 * height, 0.5 * width]), 0.006)


# the corpus too holds mugs, spoons and scissors: here they only stand about
HELD = (phone, phone, spiky_ball, apple, book, cube, banana, pen, fork, remote, spanner, comb, star)
IN_FRONT = (phone, spiky_ball, pen, fork, keys, apple, book, leaf, leaf, leaf, cube, banana, spanner, comb, star)
STANDING = (cup, apple, cube, bowl, flower_pot, bottle, book, spiky_ball)
LYING = (phone, book, pen, fork, spoon, keys, scissors, remote, banana)
