"""Things that a hand can hold: boxes, sheets, bottles, cups, plates, balls, pens and tools."""

from dataclasses import dataclass, replace

import numpy as np

from hf_handdiff.synthetic.materials import PATTERN_LABEL, Material
from hf_handdiff.synthetic.mesh import Mesh, ball, box, joined, lathe, swept

# Kinds of things and their shares: all, and those that lie well in a closed hand.
THINGS = {
    "tool": 0.16,
    "box": 0.15,
    "sheet": 0.09,
    "can": 0.1,
    "bottle": 0.11,
    "pen": 0.08,
    "ball": 0.11,
    "mug": 0.05,
    "phone": 0.04,
    "plate": 0.03,
    "cup": 0.04,
    "stick": 0.02,
    "spray": 0.02,
}
PALM_THINGS = THINGS | {"sheet": 0.03, "plate": 0.0, "phone": 0.06, "pen": 0.06, "stick": 0.04, "spray": 0.05}


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


def random_solid(rng: np.random.Generator, material: Material, things: dict[str, float] | None = None) -> Solid:
    """A random solid of a size that a hand can hold.

    things: their kinds and shares, `THINGS` if None; "tool" is one of `random_tool`.
    """
    things = THINGS if things is None else things
    shares = np.array(list(things.values()))
    kind = str(rng.choice(list(things), p=shares / shares.sum()))
    if kind == "tool":
        return random_tool(rng, material)
    mesh = _random_solid_mesh(kind, rng, material)
    shape = {"box": "box", "sheet": "box", "phone": "box", "ball": "ball"}.get(kind, "round")
    half_extent = 0.5 * np.ptp(mesh.points, axis=0)
    if kind == "mug":
        half_extent[0] = half_extent[2]
        mesh = joined([mesh, _mug_handle(half_extent, material)])
    elif kind == "spray":
        mesh = joined([mesh, *_spray_head(half_extent, material, rng)])
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


def _mug_handle(half_extent: np.ndarray, material: Material) -> Mesh:
    """An ear on the +x side of a mug."""
    angle = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    size = 0.55 * half_extent[1]
    path = np.stack([half_extent[0] * 0.95 + size * np.cos(angle), size * np.sin(angle), np.zeros(9)], 1)
    return swept(path, 0.0055, material)


def _spray_head(half_extent: np.ndarray, material: Material, rng: np.random.Generator) -> list[Mesh]:
    """Nozzle and trigger on top of a spray bottle."""
    top = np.array([0.0, half_extent[1], 0.0])
    nozzle = box(np.array([rng.uniform(0.05, 0.07), 0.02, 0.02]), material)
    trigger = box(np.array([0.008, 0.045, 0.012]), material)
    return [nozzle.moved(np.eye(3), top + [0.015, 0.01, 0.0]), trigger.moved(np.eye(3), top + [0.032, -0.022, 0.0])]


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


def _random_solid_mesh(kind: str, rng: np.random.Generator, material: Material) -> Mesh:
    """The mesh of one of `THINGS`; mugs and spray bottles without what stands out of them."""
    if kind == "box":
        return box(rng.uniform([0.02, 0.05, 0.02], [0.08, 0.18, 0.09]), material)
    if kind == "sheet":
        return box(rng.uniform([0.05, 0.09, 0.0008], [0.15, 0.22, 0.008]), material)
    if kind == "phone":
        return box(rng.uniform([0.062, 0.13, 0.007], [0.08, 0.165, 0.011]), material)
    if kind == "ball":
        return ball(rng.uniform(0.018, 0.05), material)
    radius, length = {
        "can": ((0.02, 0.04), (0.06, 0.16)),
        "bottle": ((0.025, 0.042), (0.14, 0.26)),
        "pen": ((0.003, 0.012), (0.1, 0.2)),
        "mug": ((0.032, 0.045), (0.07, 0.11)),
        "cup": ((0.028, 0.042), (0.08, 0.14)),
        "plate": ((0.06, 0.12), (0.008, 0.025)),
        "stick": ((0.008, 0.018), (0.25, 0.6)),
        "spray": ((0.025, 0.038), (0.14, 0.2)),
    }[kind]
    profile = {"stick": "can", "spray": "bottle"}.get(kind, kind)
    return lathe(*_profile(profile, rng.uniform(*radius), rng.uniform(*length), rng), material)


def lathe_thing(kind: str, radius: float, material: Material, rng: np.random.Generator) -> Solid:
    """A body of revolution of the profile `kind` ("pen", "can" or "bottle") and of `radius` m."""
    length = rng.uniform(0.1, 0.2) if kind != "bottle" else radius * rng.uniform(2.5, 5.0)
    mesh = lathe(*_profile(kind, radius, length, rng), material)
    return Solid(mesh, "round", np.array([radius, 0.5 * length, radius]))


def _profile(kind: str, radius: float, length: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Radii and heights (K,) of a lathe body around the origin."""
    if kind == "bottle":
        neck, shoulder = rng.uniform(0.25, 0.5), rng.uniform(0.55, 0.75)
        share = np.array([0.0, 0.0, 0.03, 0.3, shoulder, shoulder + 0.12, shoulder + 0.14, 1.0, 1.0])
        factor = np.array([0.85, 0.9, 1.0, rng.uniform(0.85, 1.0), 1.0, neck, neck, neck, neck * 0.98])
        share[0], share[-1] = -0.002, 1.002
    elif kind == "pen":
        share, factor = np.array([0.0, 0.08, 0.1, 1.0, 1.01]), np.array([0.15, 0.8, 1.0, 1.0, 0.7])
    elif kind == "plate":
        share, factor = np.array([0.0, 0.1, 1.0, 1.001]), np.array([0.55, 0.6, 1.0, 0.97])
    elif kind == "cup":
        share, factor = np.array([0.0, 0.02, 1.0, 1.001]), np.array([0.68, 0.7, 1.0, 0.97])
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
