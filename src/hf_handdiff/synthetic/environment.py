"""Light environments: panoramas as background, and the directional lights that stand for them.

A panorama's direction d (OpenCV axes, y down) lies at column atan2(x, z) and row arccos(-y).
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hf_handdiff.synthetic.shading import tone_curve

ENVIRONMENTS_PATH = Path(__file__).parent / "assets" / "environments.npz"
LIGHT_MAP_SIZE = (64, 32)  # width, height
NUM_LIGHTS = 6
KEY_CONE_COSINE = 0.92
# Which panoramas each split sees: what a model was tested under, it was not trained under.
ENVIRONMENT_SPLITS = {
    "train": ("city", "forest", "interior", "night", "studio", "sunrise"),
    "validation": ("courtyard",),
    "test": ("sunset",),
}
_LOG_GAIN, _LOG_MAX = 64.0, np.log2(1.0 + 64.0 * 64.0)


def encode_log_radiance(radiance: np.ndarray) -> np.ndarray:
    """Linear radiance to uint8 on a logarithmic scale that ends at 64."""
    return np.round(255.0 * np.clip(np.log2(1.0 + _LOG_GAIN * radiance) / _LOG_MAX, 0.0, 1.0)).astype(np.uint8)


def decode_log_radiance(code: np.ndarray) -> np.ndarray:
    """Inverse of `encode_log_radiance`, float32."""
    return (np.exp2(code.astype(np.float32) * np.float32(_LOG_MAX / 255.0)) - 1.0) / np.float32(_LOG_GAIN)


@dataclass
class Lighting:
    """What lights a scene: `directions` (L, 3) unit, toward the light; `colors` (L, 3) linear irradiance;
    `ambient` (3, 3): light from below, light from above, and the unit direction that is down."""

    directions: np.ndarray
    colors: np.ndarray
    ambient: np.ndarray

    def scaled(self, gain: float) -> "Lighting":
        """The same lights, `gain` times as bright."""
        ambient = self.ambient * np.array([[gain], [gain], [1.0]])
        return Lighting(self.directions, self.colors * gain, ambient)

    def mean_irradiance(self) -> float:
        """Brightness that a surface facing the camera's way sees, roughly; used to set the exposure."""
        towards_camera = np.clip(-self.directions[:, 2] * 0.7 + 0.3, 0.0, None)
        return float((self.colors.mean(1) * towards_camera).sum() + self.ambient[:2].mean())


@dataclass
class Environment:
    """A panorama (H, W, 3) uint8 log radiance and the lights that stand for it, in the panorama's own
    axes."""

    panorama: np.ndarray
    lighting: Lighting


def decompose_lights(light_map: np.ndarray) -> Lighting:
    """Split a panorama (h, w, 3) into a key light (the brightest cone), secondary lights and an ambient
    gradient.

    The rest of the sphere is shared out to the nearest of evenly spread directions; the strongest of these
    become lights at their mean direction, and what remains becomes ambient light from above and from below.
    """
    height, width = light_map.shape[:2]
    polar = (np.arange(height) + 0.5) / height * np.pi
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    polar, azimuth = np.meshgrid(polar, azimuth, indexing="ij")
    directions = np.stack(
        [np.sin(polar) * np.sin(azimuth), -np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1
    ).reshape(-1, 3)
    solid_angle = (np.sin(polar) * (np.pi / height) * (2 * np.pi / width)).reshape(-1, 1)
    power = light_map.reshape(-1, 3) * solid_angle / np.pi
    smoothed = cv2.GaussianBlur(light_map.mean(-1), (0, 0), 1.0).reshape(-1)
    key = directions @ directions[np.argmax(smoothed)] > KEY_CONE_COSINE
    groups = [key]
    spread = _even_directions(14)
    nearest = np.argmax(directions @ spread.T, 1)
    groups += [(nearest == k) & ~key for k in range(len(spread))]
    energy = np.array([power[g].sum() for g in groups])
    order = [0] + [k for k in np.argsort(-energy) if k != 0]
    lights = [groups[k] for k in order[:NUM_LIGHTS]]
    rest = ~np.any(lights, axis=0)
    mean_directions = np.array([(directions[g] * power[g].mean(1, keepdims=True)).sum(0) for g in lights])
    mean_directions /= np.linalg.norm(mean_directions, axis=1, keepdims=True) + 1e-9
    colors = np.array([power[g].sum(0) for g in lights])
    below = (power * np.clip(directions[:, 1:2], 0, None))[rest].sum(0) * 2.0
    above = (power * np.clip(-directions[:, 1:2], 0, None))[rest].sum(0) * 2.0
    bounce = 0.12 * (colors.sum(0) + above + below)
    return Lighting(mean_directions, colors, np.stack([below + bounce, above + bounce, [0.0, 1.0, 0.0]]))


def _even_directions(count: int) -> np.ndarray:
    """`count` directions spread evenly over the sphere (a Fibonacci spiral)."""
    k = np.arange(count) + 0.5
    y = 1.0 - 2.0 * k / count
    radius, angle = np.sqrt(1.0 - y * y), np.pi * (1.0 + 5.0**0.5) * k
    return np.stack([radius * np.cos(angle), y, radius * np.sin(angle)], 1)


def load_environments(names: tuple[str, ...], path: Path = ENVIRONMENTS_PATH) -> list[Environment]:
    """The environments `names` of the committed asset."""
    environments = []
    with np.load(path) as arrays:
        for name in names:
            jpeg = cv2.imdecode(arrays[f"{name}/jpeg"], cv2.IMREAD_COLOR)[..., ::-1]
            light_map = arrays[f"{name}/light"].astype(np.float64)
            environments.append(Environment(np.ascontiguousarray(jpeg), decompose_lights(light_map)))
    return environments


def random_environment_rotation(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) rotation from panorama axes to camera axes: any heading, moderate pitch and roll."""
    heading = rng.uniform(0.0, 2.0 * np.pi)
    pitch, roll = rng.normal(0.0, 0.35), rng.normal(0.0, 0.15)
    cos, sin = np.cos, np.sin
    turn = np.array([[cos(heading), 0, sin(heading)], [0, 1, 0], [-sin(heading), 0, cos(heading)]])
    tilt = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    bank = np.array([[cos(roll), -sin(roll), 0], [sin(roll), cos(roll), 0], [0, 0, 1]])
    return bank @ tilt @ turn


def rotate_lighting(lighting: Lighting, rotation: np.ndarray) -> Lighting:
    """`lighting` in the axes that `rotation` (3, 3) leads to."""
    ambient = lighting.ambient.copy()
    ambient[2] = rotation @ ambient[2]
    return Lighting(lighting.directions @ rotation.T, lighting.colors, ambient)


def studio_lighting(rng: np.random.Generator) -> Lighting:
    """Made-up light: a key light from the camera's side and weaker, tinted ones from anywhere."""
    directions = rng.normal(size=(NUM_LIGHTS, 3))
    directions[0, 2] = -abs(directions[0, 2]) - 0.2
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    strength = np.concatenate([[rng.uniform(0.4, 2.5)], rng.uniform(0.0, 0.5, NUM_LIGHTS - 1)])
    tint = 1.0 + rng.normal(0.0, 0.12, (NUM_LIGHTS, 3))
    sky, ground = rng.uniform(0.1, 0.5, (2, 1)) * (1.0 + rng.normal(0.0, 0.1, (2, 3)))
    return Lighting(directions, strength[:, None] * tint, np.stack([ground, sky, [0.0, 1.0, 0.0]]))


def panorama_crop(
    environment: Environment, rotation: np.ndarray, size: int, field_of_view_rad: float, gain: float
) -> np.ndarray:
    """The view of the panorama through a camera: (size, size, 3) float32 display values 0..1."""
    focal = 0.5 * size / np.tan(0.5 * field_of_view_rad)
    axis = ((np.arange(size) + 0.5 - 0.5 * size) / focal).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ rotation.astype(np.float32)
    height, width = environment.panorama.shape[:2]
    column = (np.arctan2(rays[..., 0], rays[..., 2]) / (2 * np.pi) + 0.5) * width - 0.5
    row = np.arctan2(np.hypot(rays[..., 0], rays[..., 2]), -rays[..., 1]) / np.pi * height - 0.5
    code = cv2.remap(environment.panorama, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return _display_table(gain)[code]


def _display_table(gain: float) -> np.ndarray:
    """Display value (256,) float32 of every code of the log radiance at an exposure of `gain`."""
    radiance = decode_log_radiance(np.arange(256)) * np.float32(gain)
    return np.array([tone_curve(value) for value in radiance], np.float32)
