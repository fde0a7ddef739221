"""Where the camera is and how the hand lies before it."""

from dataclasses import dataclass

import numpy as np

from hf_handdiff.synthetic.rasterizer import NEAR_PLANE_M, project_points

EVERYDAY_SHARE = 0.72
FIELD_OF_VIEW_DEG = (20.0, 90.0)
SPAN, ALONG_SPAN = (0.3, 0.95), 0.6
OFF_AXIS_SHARE = 0.4
MAX_OFF_AXIS_DEG = 22.0
MAX_CORNER_DEG = 50.0  # how far an edge of the crop may lie from the optical axis
MAX_HAND_OFF_AXIS_DEG = 32.0  # a pinhole stretches what lies farther out beyond what lenses show
BORDER_CUT_SHARE = 0.12
MIN_DEPTH_M = 0.15  # nothing of the hand is nearer; a wide-angle camera sees it smaller instead
ARM_DEPTH_SHARE, OWN_ARM_DEPTH_SHARE = 0.6, 0.2  # how near the arm may come; where it is seen from the elbow
ALONG_FIELD_OF_VIEW_DEG = (20.0, 42.0)  # along the arm: from farther away, or the arm would fill the view
MAX_TRIES = 12


@dataclass
class Placement:
    """intrinsics_px (3, 3); rotation (3, 3) from hand axes to camera axes; translation_m (3,), the wrist."""

    intrinsics_px: np.ndarray
    rotation: np.ndarray
    translation_m: np.ndarray


@dataclass(frozen=True)
class Frame:
    """A square picture of `size` px, of which a square window of `window_px` px frames the hand.

    corner_px: the window's top left corner (x, y) in the picture; intrinsics_px (3, 3) of the picture; None: drawn,
    which takes a window that is the whole picture.
    """

    size: int
    window_px: int
    corner_px: tuple[int, int] = (0, 0)
    intrinsics_px: np.ndarray | None = None

    def window_intrinsics_px(self) -> np.ndarray | None:
        """The camera (3, 3) of the window's own pixels; None: to be drawn."""
        if self.intrinsics_px is None:
            return None
        window = self.intrinsics_px.copy()
        window[:2, 2] -= self.corner_px
        return window


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A uniformly random rotation (3, 3), from a uniform unit quaternion."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def axis_rotation(axis: int, angle_rad: float) -> np.ndarray:
    """The rotation (3, 3) by `angle_rad` about the x (0), y (1) or z (2) axis."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    rotation = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation[first, first] = rotation[second, second] = cos
    rotation[first, second], rotation[second, first] = -sin, sin
    return rotation


def everyday_rotation(rng: np.random.Generator) -> np.ndarray:
    """A view that photographs have often: palm, back or edge of an upright hand, or one's own hands.

    Hand axes: fingers -x, back of the hand +y, thumb +z. Upright with the palm to the camera these become up
    (-y), away (+z) and right (+x).
    """
    palm_view = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    around = {"palm": 0.0, "back": np.pi, "thumb": 0.5 * np.pi, "little": -0.5 * np.pi}
    kind = str(rng.choice(["palm", "back", "thumb", "little", "own"], p=[0.36, 0.3, 0.08, 0.06, 0.2]))
    if kind == "own":  # fingers away from the camera and up, back of the hand up
        base = axis_rotation(0, rng.uniform(-1.2, -0.3)) @ axis_rotation(1, np.pi) @ palm_view
    else:
        base = axis_rotation(1, around[kind] + rng.normal(0.0, 0.4)) @ palm_view
    roll = rng.uniform(-np.pi, np.pi) if rng.random() < 0.3 else rng.normal(0.0, 0.6)
    return axis_rotation(2, roll) @ axis_rotation(0, rng.normal(0.0, 0.4)) @ base


def along_rotation(from_arm: bool, rng: np.random.Generator) -> np.ndarray:
    """A view along the forearm: from the elbow's side, or from the fingertips'; turned any way."""
    toward = -1.0 if from_arm else 1.0  # the arm, +x, points to the camera or away from it
    base = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, toward], [toward, 0.0, 0.0]])
    tilt = rng.uniform(0.25, 0.85) if from_arm else abs(rng.normal(0.0, 0.35))
    around = rng.uniform(-np.pi, np.pi)
    tilted = axis_rotation(2, around) @ axis_rotation(0, tilt) @ axis_rotation(2, -around)
    return tilted @ axis_rotation(2, rng.uniform(-np.pi, np.pi)) @ base


def edge_rotation(rng: np.random.Generator) -> np.ndarray:
    """A view of a hand's edge: from the thumb's or the little finger's side, turned any way."""
    palm_view = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    side = 0.5 * np.pi if rng.random() < 0.6 else -0.5 * np.pi
    base = axis_rotation(1, side + rng.normal(0.0, 0.25)) @ palm_view
    return axis_rotation(2, rng.uniform(-np.pi, np.pi)) @ axis_rotation(0, rng.normal(0.0, 0.35)) @ base


def sample_rotation(rng: np.random.Generator, view: str = "everyday") -> np.ndarray:
    """A global rotation: uniform or an everyday one, or that of another `view` (see `ScenePlan`)."""
    if view == "edge":
        return edge_rotation(rng)
    if view != "everyday":
        return along_rotation(view == "from_arm", rng)
    return everyday_rotation(rng) if rng.random() < EVERYDAY_SHARE else random_rotation(rng)


def sample_intrinsics(
    image_size: int, rng: np.random.Generator, field_of_view_deg: tuple[float, float] = FIELD_OF_VIEW_DEG
) -> np.ndarray:
    """Intrinsics (3, 3) px of the crop's camera: its field of view is drawn evenly in its logarithm.

    For a share of the crops the principal point is far from the middle, as when the crop was cut out of a
    larger photo; the wider the view, the less far, so that no edge is seen at more than MAX_CORNER_DEG.
    """
    drawn_deg = np.exp(rng.uniform(*np.log(field_of_view_deg)))
    focal = 0.5 * image_size / np.tan(np.radians(0.5 * drawn_deg))
    centre = np.full(2, 0.5 * image_size)
    if rng.random() < OFF_AXIS_SHARE:
        most = min(MAX_OFF_AXIS_DEG, MAX_CORNER_DEG - 0.5 * drawn_deg)
        centre = centre + focal * np.tan(np.radians(rng.uniform(-most, most, 2)))
    return np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])


def sample_placement(
    vertices: np.ndarray,
    arm: np.ndarray,
    image_size: int,
    rng: np.random.Generator,
    view: str = "everyday",
    intrinsics_px: np.ndarray | None = None,
) -> Placement:
    """Turn the hand `vertices` (V, 3), wrist at 0, and set it so that its box takes a sampled share of the
    image.

    Views where the person's own arm, of points `arm` (A, 3), would stand between the camera and the hand
    are drawn again. view: as `ScenePlan` has it. intrinsics_px (3, 3): the camera's, drawn where there is None.
    """
    depth_share = OWN_ARM_DEPTH_SHARE if view == "from_arm" else ARM_DEPTH_SHARE
    for _ in range(MAX_TRIES):
        placement = _draw_placement(vertices, image_size, rng, view, intrinsics_px)
        if not arm_in_the_way(vertices, arm, placement, image_size, depth_share):
            break
    return placement


def arm_in_the_way(
    vertices: np.ndarray,
    arm: np.ndarray,
    placement: Placement,
    image_size: int,
    depth_share: float = ARM_DEPTH_SHARE,
) -> bool:
    """Whether the arm comes nearer to the camera, within its view, than `depth_share` of the hand's distance."""
    in_camera = arm @ placement.rotation.T + placement.translation_m
    hand_depth = (vertices @ placement.rotation[2]).mean() + placement.translation_m[2]
    near = in_camera[:, 2] < max(depth_share * hand_depth, MIN_DEPTH_M)
    if not near.any():
        return False
    offset = in_camera[near, :2] * placement.intrinsics_px[0, 0] / np.maximum(in_camera[near, 2:], NEAR_PLANE_M)
    pixels = offset + placement.intrinsics_px[:2, 2]
    margin = 0.25 * image_size
    return bool(((pixels > -margin) & (pixels < image_size + margin)).all(1).any())


def _draw_placement(
    vertices: np.ndarray, image_size: int, rng: np.random.Generator, view: str, intrinsics_px: np.ndarray | None
) -> Placement:
    rotation = sample_rotation(rng, view)
    along = view in ("from_arm", "from_tips")
    intrinsics = intrinsics_px
    if intrinsics is None:
        intrinsics = sample_intrinsics(image_size, rng, ALONG_FIELD_OF_VIEW_DEG if along else FIELD_OF_VIEW_DEG)
    span = np.clip(rng.normal(0.58, 0.1), *SPAN) if rng.random() < 0.6 else rng.uniform(*SPAN)
    span = min(span, ALONG_SPAN) if along else span
    margin = 0.5 * (1.0 - span) + (rng.uniform(0.0, 0.35) if rng.random() < BORDER_CUT_SHARE else 0.0)
    centre_px = image_size * (0.5 + rng.uniform(-1.0, 1.0, 2) * margin)
    reach_px = intrinsics[0, 0] * np.tan(np.radians(MAX_HAND_OFF_AXIS_DEG))
    centre_px = np.clip(centre_px, intrinsics[:2, 2] - reach_px, intrinsics[:2, 2] + reach_px)
    translation = fit_translation(vertices @ rotation.T, intrinsics, centre_px, span * image_size)
    return Placement(intrinsics, rotation, translation)


def fit_translation(points: np.ndarray, intrinsics_px: np.ndarray, centre_px: np.ndarray, size_px: float) -> np.ndarray:
    """The translation (3,) m by which the box of the projected `points` (V, 3) has its centre at `centre_px`
    and its longer side `size_px`. Points stay in front of the camera by `MIN_DEPTH_M`, if need be smaller."""
    focal = intrinsics_px[0, 0]
    middle = 0.5 * (points.max(0) + points.min(0))
    depth = focal * np.ptp(points[:, :2], axis=0).max() / size_px
    ray = (np.append(centre_px, 1.0) - [*intrinsics_px[:2, 2], 0.0]) / [focal, focal, 1.0]
    translation = ray * depth - middle
    for _ in range(6):
        translation[2] = max(translation[2], MIN_DEPTH_M - points[:, 2].min())
        pixels = project_points(points + translation, intrinsics_px)
        low, high = pixels.min(0), pixels.max(0)
        depth = translation[2] + middle[2]
        translation[:2] += (centre_px - 0.5 * (low + high)) * depth / focal
        translation[2] += depth * ((high - low).max() / size_px - 1.0)
    translation[2] = max(translation[2], MIN_DEPTH_M - points[:, 2].min())
    return translation
