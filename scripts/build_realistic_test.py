"""Render the realistic test set: 300 hands by Blender's path tracer Cycles, with exact labels.

    pip install bpy==5.0.1 -e .[synthetic]      # in an environment of its own: it needs Python 3.11, numpy<2
    python scripts/build_realistic_test.py --work DIR --threads 2

It measures the gap between renderers, as a stand-in for the gap to photographs: places, lights and things are
others than the synthetic corpus's (`realistic_test/`), skin scatters light, lenses blur, and no panorama that
the corpus lights its hands with is used. Hands, poses and the meaning of every label are the corpus's.

Image i depends on the seed and i alone. Each is stored in DIR, written aside and renamed, when it is finished:
the same command carries on after a stop, and writes the Parquet when all are there. On a bare Debian the
packages libxi6 libxrender1 libxfixes3 libxkbcommon0 libsm6 libegl1 libgl1 may be needed.
"""

import argparse
import contextlib
import json
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import bpy
import cv2
import numpy as np
import roma
import torch
from mathutils import Vector
from realistic_test import places, skin, things
from realistic_test.shapes import matrix
from tqdm import tqdm

from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS
from hf_handdiff.synthetic.finger_closing import close_finger, starting_turn
from hf_handdiff.synthetic.grasps import place_in_palm
from hf_handdiff.synthetic.hand_mesh import ForearmShape, RenderHand
from hf_handdiff.synthetic.materials import srgb_to_linear
from hf_handdiff.synthetic.occluders import second_hand_offset
from hf_handdiff.synthetic.placement import (
    MAX_HAND_OFF_AXIS_DEG,
    MIN_DEPTH_M,
    Placement,
    arm_in_the_way,
    axis_rotation,
    everyday_rotation,
    fit_translation,
    random_rotation,
)
from hf_handdiff.synthetic.rasterizer import NO_FACE, project_points
from hf_handdiff.synthetic.renderer import VisibilityBuffer
from hf_handdiff.synthetic.shading import SUPERSAMPLING
from hf_handdiff.synthetic.shapes import sample_shape
from hf_handdiff.synthetic.skin import tone_color
from hf_handdiff.synthetic.visibility import SAMPLE_OFFSETS_PX, joint_visibility, probe_points, visible_share

DEFAULT_OUT = Path(__file__).parents[1] / "data" / "realistic_test"
FILE_NAME = "test-00000-of-00001.parquet"
STREAM = 0x4359434C  # parts the random streams from the corpus's, whatever their seeds
POSE_BLOCK = 1000
IMAGE_SIZE, RENDER_SIZE, SAMPLES = 224, 256, 16
FIELD_OF_VIEW_DEG, SPAN = (20.0, 70.0), (0.42, 0.88)
EVERYDAY_SHARE, BORDER_CUT_SHARE, OFF_AXIS_SHARE, SLEEVE_SHARE = 0.6, 0.12, 0.3, 0.4
KINDS = {"plain": 0.5, "held": 0.22, "front": 0.15, "second hand": 0.13}
MIN_VISIBLE_SHARE = 0.15
SPLIT = "test"  # whose hand shapes and recorded poses are drawn
MAX_TRIES = 40
MAX_FILE_BYTES = 12e6
HAND = "hand"
VIEW_TRANSFORMS = (("AgX", "None"), ("AgX", "AgX - Medium High Contrast"), ("Filmic", "None"), ("Standard", "None"))


@dataclass
class Hand:
    """A posed hand: parameters, tone, points (V, 3) of hand and forearm and joints (21, 3), wrist at 0."""

    pose_rad: np.ndarray
    shape: np.ndarray
    tone: float
    points: np.ndarray
    joints: np.ndarray


def even_numbers(seed: int, index: int) -> tuple[float, float]:
    """Two numbers in 0..1 that fill the square evenly as the index runs (the R2 sequence)."""
    start = np.random.default_rng([seed, STREAM]).random(2)
    return tuple(((start + index * np.array([0.7548776662466927, 0.5698402909980532])) % 1.0).tolist())


def poses_of(seed: int, index: int, _cache: dict = {}) -> np.ndarray:  # noqa: B006
    """Two poses (2, 16, 3) for image `index`, from the package's sampler, drawn in blocks."""
    key = (seed, index // POSE_BLOCK)
    if key not in _cache:
        state = np.random.SeedSequence([*key, STREAM]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0] >> 1))
        poses = sample_poses(2 * POSE_BLOCK, generator, split=SPLIT).numpy()
        poses[:, 0] = 0.0
        _cache[key] = poses.reshape(POSE_BLOCK, 2, 16, 3).astype(np.float32)
    return _cache[key][index % POSE_BLOCK]


# ---- hand, camera, what hides the hand --------------------------------------------------------------------


def pose_hand(hand: RenderHand, pose: np.ndarray, shape: np.ndarray, tone: float, rng) -> Hand:
    """A hand with a long forearm."""
    posed = hand.pose(pose, shape)
    forearm = ForearmShape(
        flexion_rad=float(np.clip(rng.normal(0.0, 0.35), -0.9, 0.9)),
        deviation_rad=float(np.clip(rng.normal(0.0, 0.15), -0.35, 0.35)),
        length_m=rng.uniform(0.4, 0.6),
        widening=rng.uniform(1.4, 1.8),
    )
    points = hand.with_forearm(posed.vertices - posed.joints[0], forearm)
    return Hand(pose, shape, tone, points, posed.joints - posed.joints[0])


def grasp(hand: RenderHand, shape: np.ndarray, rng) -> tuple[np.ndarray, things.Thing, np.ndarray, np.ndarray]:
    """A pose (16, 3), the thing that it holds, and the thing's rotation and place in the hand's axes.

    The corpus's way of closing fingers, around other things.
    """
    thing = things.HELD[rng.integers(len(things.HELD))](rng)
    flat = hand.pose(np.zeros((16, 3), np.float32), shape).joints
    joints = flat - flat[0]
    rotation, centre = place_in_palm(thing, joints, rng)
    frames = load_open_hand_arrays()["joint_frames"]
    pose = np.zeros((16, 3), np.float32)

    def clearance(points: np.ndarray) -> np.ndarray:
        return thing.distance((points - centre) @ rotation)

    for finger in FINGERS:
        start = starting_turn(finger, frames, rng)
        pose[list(MANO_FINGERS[finger])] = close_finger(
            finger, start, joints, frames, clearance, rng.uniform(0.0, 0.1), rng
        )
    return pose, thing, rotation, centre


def place_hand(hand: RenderHand, posed: Hand, rng) -> Placement:
    """A view of the hand in which neither the person's own arm is in the way nor the arm's far end shows."""
    own, arm = np.split(posed.points, [hand.num_hand_vertices])
    for _ in range(MAX_TRIES):
        rotation = everyday_rotation(rng) if rng.random() < EVERYDAY_SHARE else random_rotation(rng)
        field_of_view = np.radians(np.exp(rng.uniform(*np.log(FIELD_OF_VIEW_DEG))))
        focal = 0.5 * IMAGE_SIZE / np.tan(0.5 * field_of_view)
        middle = np.full(2, 0.5 * IMAGE_SIZE)
        if rng.random() < OFF_AXIS_SHARE:
            middle += focal * np.tan(np.radians(rng.uniform(-18.0, 18.0, 2)))
        intrinsics = np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]])
        span = rng.uniform(*SPAN)
        margin = 0.5 * (1.0 - span) + (rng.uniform(0.1, 0.35) if rng.random() < BORDER_CUT_SHARE else 0.0)
        centre = IMAGE_SIZE * (0.5 + rng.uniform(-1.0, 1.0, 2) * margin)
        reach = focal * np.tan(np.radians(MAX_HAND_OFF_AXIS_DEG))
        centre = np.clip(centre, middle - reach, middle + reach)
        translation = fit_translation(own @ rotation.T, intrinsics, centre, span * IMAGE_SIZE)
        placement = Placement(intrinsics, rotation, translation)
        end = posed.points[-1] @ rotation.T + translation
        if not arm_in_the_way(own, arm, placement, IMAGE_SIZE) and not in_view(end[None], intrinsics, 0.12).any():
            break
    return placement


def in_view(points: np.ndarray, intrinsics: np.ndarray, margin: float) -> np.ndarray:
    """Which of `points` (N, 3) in camera axes lie in the image or beyond its border by a share of its size."""
    ahead = points[:, 2] > 0.02
    pixels = project_points(np.where(ahead[:, None], points, [0.0, 0.0, 1.0]), intrinsics) / IMAGE_SIZE
    return ahead & ((pixels > -margin) & (pixels < 1.0 + margin)).all(1)


def camera_in_world(rng, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and position (3,) of the camera's axes, with the hand's `centre` at the origin."""
    pitch = np.radians(rng.uniform(-80.0, -40.0) if rng.random() < 0.2 else np.clip(rng.normal(-12.0, 16.0), -60, 22))
    sin, cos = np.sin(pitch), np.cos(pitch)
    level = np.array([[1.0, 0.0, 0.0], [0.0, sin, cos], [0.0, -cos, sin]])
    rotation = level @ axis_rotation(2, rng.normal(0.0, 0.08))
    return rotation, -rotation @ centre


def add_camera(placement: Placement, camera, depth: float, rng) -> None:
    """A camera with these intrinsics and a lens that blurs what is far from `depth`."""
    data = bpy.data.cameras.new("camera")
    focal, centre = placement.intrinsics_px[0, 0], placement.intrinsics_px[:2, 2]
    data.sensor_width, data.lens = 36.0, 36.0 * focal / IMAGE_SIZE
    data.shift_x, data.shift_y = 0.5 - centre[0] / IMAGE_SIZE, centre[1] / IMAGE_SIZE - 0.5
    data.clip_start = 0.01
    blur_px = np.exp(rng.uniform(np.log(0.1), np.log(2.5)))  # of what lies 0.1 m behind
    aperture = blur_px * depth * (depth + 0.1) / (0.1 * focal)
    data.dof.use_dof, data.dof.focus_distance = True, depth
    data.dof.aperture_fstop = 0.001 * data.lens / aperture
    thing = bpy.data.objects.new("camera", data)
    thing.matrix_world = matrix(camera[0] @ np.diag([1.0, -1.0, -1.0]), camera[1])
    bpy.context.scene.collection.objects.link(thing)
    bpy.context.scene.camera = thing


def add_in_front(vertices: np.ndarray, camera, rng) -> list:
    """A thing between the camera and a random point of the hand."""
    thing = things.IN_FRONT[rng.integers(len(things.IN_FRONT))](rng)
    target = vertices[rng.integers(len(vertices))]
    reach = np.linalg.norm(np.concatenate(thing.parts.points), axis=1).max()
    nearest = vertices[:, 2].min()
    depth = max(nearest - rng.uniform(0.35, 1.0) * reach - 0.01, 0.45 * nearest)
    size = np.clip(depth / nearest, 0.5, 1.0)
    thing.parts.points = [points * size for points in thing.parts.points]
    aside = rng.normal(size=3) * [1.0, 1.0, 0.0]
    centre = target * depth / target[2] + aside / np.linalg.norm(aside) * rng.uniform(0.0, 0.5) * reach * size
    return [thing.parts.build(thing.name, *_in_world(camera, random_rotation(rng), centre), thing.bevel_m)]


def add_second_hand(hand: RenderHand, first: Hand, pose, vertices, placement, camera, own_skin, rng) -> list:
    """Another hand beside or in front, mostly the same person's left one; no stump in view."""
    tone = first.tone if rng.random() < 0.75 else rng.random()
    own_skin = own_skin if tone == first.tone else skin.sample_skin(tone, hand, rng)
    other = pose_hand(hand, pose, first.shape, tone, rng)
    mirrored = rng.random() < 0.8
    flip = np.array([-1.0, 1.0, 1.0]) if mirrored else np.ones(3)
    points, joints = other.points * flip, other.joints * flip
    size = np.linalg.norm(np.ptp(vertices, axis=0)[:2])
    for _ in range(MAX_TRIES):
        centre = vertices.mean(0) + second_hand_offset(size, rng)
        rotation = random_rotation(rng)
        moved = (points - joints.mean(0)) @ rotation.T + centre
        own = moved[: hand.num_hand_vertices]
        other_placement = Placement(placement.intrinsics_px, np.eye(3), np.zeros(3))
        end_shows = in_view(moved[-1:], placement.intrinsics_px, 0.12).any()
        too_near = own[:, 2].min() < max(0.5 * vertices[:, 2].min(), MIN_DEPTH_M)
        if not (end_shows or too_near or arm_in_the_way(own, moved[len(own) :], other_placement, IMAGE_SIZE)):
            break
    else:
        return []
    worn = skin.add_wearables(
        hand.forearm_rings(moved), (joints - joints.mean(0)) @ rotation.T + centre, camera, rng, 0.4
    )
    return [skin.hand_object("second hand", hand, moved, own_skin, camera, mirrored), *worn]


def _in_world(camera, rotation: np.ndarray, translation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return camera[0] @ rotation, camera[0] @ translation + camera[1]


# ---- what is seen -----------------------------------------------------------------------------------------


class Rays:
    """Rays of the camera against the scene as it is rendered."""

    def __init__(self, camera, intrinsics: np.ndarray):
        self.rotation, self.position = camera
        self.intrinsics = intrinsics
        self.graph = bpy.context.evaluated_depsgraph_get()

    def first(self, point: np.ndarray, before: float | None = None):
        """The first hit along the ray through `point` (3,) in camera axes: (object, face, depth z) or None.

        before: look only so far towards the point, as a share of the way.
        """
        direction = self.rotation @ point
        length = float(np.linalg.norm(direction))
        reach = 1e3 if before is None else before * length
        hit, place, _, face, thing, _ = bpy.context.scene.ray_cast(
            self.graph, Vector(self.position.tolist()), Vector((direction / length).tolist()), distance=reach
        )
        if not hit:
            return None
        return thing, face, float((np.array(place) - self.position) @ self.rotation[:, 2])

    def pixel(self, x: float, y: float) -> np.ndarray:
        """A point (3,) in camera axes on the ray of the pixel position (x, y)."""
        focal = self.intrinsics[0, 0]
        return np.array([(x - self.intrinsics[0, 2]) / focal, (y - self.intrinsics[1, 2]) / focal, 1.0])


def clear_the_way(rays_of, vertices: np.ndarray, keep: set[str]) -> None:
    """Remove surroundings that stand between the camera and the hand `vertices` (V, 3), or cut into it."""
    for _ in range(6):
        rays = rays_of()
        blocking = set()
        for vertex in vertices[in_view(vertices, rays.intrinsics, 0.02)][::6]:
            found = rays.first(vertex, 0.995)
            if found is not None and found[0].name not in keep:
                blocking.add(found[0].name)
        if not blocking:
            return
        for name in blocking:
            bpy.data.objects.remove(bpy.data.objects[name])


def see(rays: Rays, hand: RenderHand, vertices: np.ndarray, joints: np.ndarray) -> VisibilityBuffer:
    """What the camera sees first around the hand, by one ray a pixel, and finer where joints are probed."""
    size = IMAGE_SIZE * SUPERSAMPLING
    buffer = VisibilityBuffer(
        np.zeros((size, size), np.float32),
        np.full((size, size), NO_FACE, np.int32),
        np.zeros(len(hand.faces) + 1, np.int32),
        np.array([0, len(hand.faces), len(hand.faces) + 1]),
    )
    other = len(hand.faces)

    def cast(x: float, y: float) -> tuple[float, int]:
        found = rays.first(rays.pixel(x, y))
        if found is None:
            return 0.0, NO_FACE
        thing, face, depth = found
        return 1.0 / depth, face // skin.FACES_PER_FACE if thing.name == HAND else other

    pixels = project_points(vertices, rays.intrinsics)
    low = np.clip(np.floor(pixels.min(0)) - 2, 0, IMAGE_SIZE).astype(int)
    high = np.clip(np.ceil(pixels.max(0)) + 2, 0, IMAGE_SIZE).astype(int)
    step = SUPERSAMPLING
    for row in range(low[1], high[1]):
        for column in range(low[0], high[0]):
            block = np.s_[row * step : (row + 1) * step, column * step : (column + 1) * step]
            buffer.inverse_depth[block], buffer.face_ids[block] = cast(column + 0.5, row + 0.5)
    probes = project_points(probe_points(joints), rays.intrinsics)
    for probe in probes:
        for column, row in np.floor((probe + SAMPLE_OFFSETS_PX) * step).astype(int):
            if 0 <= row < size and 0 <= column < size:
                hit = cast((column + 0.5) / step, (row + 0.5) / step)
                buffer.inverse_depth[row, column], buffer.face_ids[row, column] = hit
    return buffer


# ---- rendering --------------------------------------------------------------------------------------------


def start_scene(threads: int) -> None:
    """An empty scene with the settings of the renderer."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = RENDER_SIZE
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.seed = "CPU", SAMPLES, 0
    cycles.use_adaptive_sampling, cycles.adaptive_threshold = True, 0.05
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 3, 2, 2, 0
    cycles.sample_clamp_indirect, cycles.sample_clamp_direct = 4.0, 60.0
    cycles.caustics_reflective = cycles.caustics_refractive = False


def render_linear(path: Path) -> tuple[np.ndarray, bpy.types.Image]:
    """Render the scene to `path` (an EXR) and read it back: (S, S, 3) float32, linear, and Blender's image."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_depth = "16"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    pixels = np.empty(RENDER_SIZE * RENDER_SIZE * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(RENDER_SIZE, RENDER_SIZE, 4)[::-1, :, :3], image


def develop(linear: np.ndarray, picture, mask: np.ndarray, tone: float, png: Path, rng) -> np.ndarray:
    """The rendering as a camera gives it, by way of the file `png`: exposed partly for the hand and partly for
    the whole, balanced, tone-mapped, with a little noise: (224, 224, 3) uint8."""
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    mask = cv2.resize(mask.astype(np.uint8), luminance.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    on_hand = float(luminance[mask].mean()) if mask.any() else float(luminance.mean())
    albedo = float(srgb_to_linear(tone_color(tone)).mean())
    for_hand = albedo * 0.8 / max(on_hand, 1e-6)
    for_all = 0.18 / max(float(np.exp(np.log(luminance + 1e-5).mean())), 1e-6)
    exposure = for_hand**0.65 * for_all**0.35 * 2.0 ** rng.normal(0.0, 0.3)
    exposure = np.clip(exposure, 0.035 / max(on_hand, 1e-6), 0.48 / max(on_hand, 1e-6))

    # cameras take most of the light's colour away
    albedos = srgb_to_linear(tone_color(tone))
    cast = (linear[mask].mean(0) if mask.any() else linear.mean((0, 1))) / albedos + 1e-6
    balance = np.clip((cast.mean() / cast) ** rng.uniform(0.3, 0.9), 0.4, 2.2)
    pixels = np.ones((*linear.shape[:2], 4), np.float32)
    pixels[..., :3] = (linear * balance)[::-1]
    picture.pixels.foreach_set(pixels.reshape(-1))

    scene = bpy.context.scene
    transform, look = VIEW_TRANSFORMS[rng.choice(len(VIEW_TRANSFORMS), p=[0.3, 0.25, 0.2, 0.25])]
    scene.view_settings.view_transform, scene.view_settings.look = transform, look
    scene.view_settings.exposure = float(np.log2(exposure))
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_depth = "8"
    picture.save_render(str(png), scene=scene)
    image = cv2.imread(str(png))[..., ::-1].astype(np.float32) / 255.0
    image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:  # phones sharpen
        image += rng.uniform(0.2, 0.8) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    noise = np.exp(rng.uniform(np.log(0.003), np.log(0.025)))
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape).astype(np.float32), (0, 0), 0.6) * 1.8
    image += grain * noise * (0.4 + 0.6 * np.sqrt(np.clip(image, 0.0, 1.0)))
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


@contextlib.contextmanager
def silence():
    """Keep Blender's own words off the terminal."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept), os.close(nothing)


def make_sample(seed: int, index: int, hand: RenderHand, scratch: Path, threads: int) -> tuple[dict, str]:
    """Row `index`, and words about it."""
    rng = np.random.default_rng([seed, STREAM, index])
    kind_at, tone = even_numbers(seed, index)
    kind = list(KINDS)[min(int(np.searchsorted(np.cumsum(list(KINDS.values())), kind_at)), len(KINDS) - 1)]
    start_scene(threads)

    # 1. the hand before the camera
    poses = poses_of(seed, index)
    shape = sample_shape(SPLIT, rng)
    pose, held = poses[0], None
    if kind == "held":
        pose, *held = grasp(hand, shape, rng)
    posed = pose_hand(hand, pose, shape, tone, rng)
    placement = place_hand(hand, posed, rng)
    points = (posed.points @ placement.rotation.T + placement.translation_m).astype(np.float32)
    vertices = points[: hand.num_hand_vertices]
    camera = camera_in_world(rng, vertices.mean(0))
    add_camera(placement, camera, float(vertices[:, 2].mean()), rng)
    own_skin = skin.sample_skin(tone, hand, rng)
    protected = [skin.hand_object(HAND, hand, points, own_skin, camera)]
    joints_full = posed.joints @ placement.rotation.T + placement.translation_m
    protected += skin.add_wearables(hand.forearm_rings(points), joints_full, camera, rng, SLEEVE_SHARE)

    # 2. what hides it
    hiding = []
    if held:
        thing, rotation, centre = held
        to_camera = (placement.rotation @ rotation, placement.rotation @ centre + placement.translation_m)
        hiding = [thing.parts.build(thing.name, *_in_world(camera, *to_camera), thing.bevel_m)]
    elif kind == "front":
        hiding = add_in_front(vertices, camera, rng)
    elif kind == "second hand":
        hiding = add_second_hand(hand, posed, poses[1], vertices, placement, camera, own_skin, rng)

    # 3. surroundings that keep clear of all that
    bpy.context.view_layer.update()
    seen = points[in_view(points, placement.intrinsics_px, 0.15)] @ camera[0].T + camera[1]
    for thing in protected[1:] + hiding:
        corners = np.array([thing.matrix_world @ Vector(corner) for corner in thing.bound_box])
        inside = in_view((corners - camera[1]) @ camera[0], placement.intrinsics_px, 0.15)
        seen = np.concatenate([seen, corners[inside]])
    view = places.View(*camera, placement.intrinsics_px[0, 0] / IMAGE_SIZE, seen)
    where = places.build_place(view, rng)
    bpy.context.view_layer.update()
    keep = {thing.name for thing in protected + hiding}
    clear_the_way(lambda: Rays(camera, placement.intrinsics_px), vertices, keep)

    # 4. labels
    row = labels(hand, posed, placement)
    buffer = see(Rays(camera, placement.intrinsics_px), hand, vertices, row["joints_m"])
    share = visible_share(hand, vertices, placement.intrinsics_px, buffer, 0, IMAGE_SIZE)
    if share < MIN_VISIBLE_SHARE and hiding:
        kind = "plain"
        for thing in hiding:
            bpy.data.objects.remove(thing)
        bpy.context.view_layer.update()
        clear_the_way(lambda: Rays(camera, placement.intrinsics_px), vertices, {thing.name for thing in protected})
        buffer = see(Rays(camera, placement.intrinsics_px), hand, vertices, row["joints_m"])
        share = visible_share(hand, vertices, placement.intrinsics_px, buffer, 0, IMAGE_SIZE)
    row["visible_share"] = share
    visible = joint_visibility(hand, row["joints_m"], placement.intrinsics_px, buffer, 0, IMAGE_SIZE)
    row["keypoints_visible"] = visible.tolist()

    # 5. the picture
    path = scratch / f".{index:05d}.{os.getpid()}.exr"
    with silence():
        linear, picture = render_linear(path)
        mask = (buffer.face_ids[::SUPERSAMPLING, ::SUPERSAMPLING] >= 0) & (
            buffer.face_ids[::SUPERSAMPLING, ::SUPERSAMPLING] < hand.num_hand_faces
        )
        image = develop(linear, picture, mask, tone, path.with_suffix(".png"), rng)
    path.unlink(), path.with_suffix(".png").unlink()
    ok, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(84, 96))])
    if not ok:
        raise RuntimeError("OpenCV could not encode a rendered image as JPEG")
    row["image"] = jpeg.tobytes()
    row["sample_id"] = f"realistic/{seed}/{index}"
    row["skin_tone"] = tone
    name = f"{kind} ({', '.join(t.name for t in hiding)})" if kind != "plain" else kind
    return row, f"{name}, {where}"


def labels(hand: RenderHand, posed: Hand, placement: Placement) -> dict:
    """The labels of the standard mesh of the same parameters, in camera axes and projected."""
    pose = posed.pose_rad.astype(np.float32).copy()
    pose[0] = roma.rotmat_to_rotvec(torch.from_numpy(placement.rotation)).numpy()
    standard = hand.standard(pose, posed.shape)
    translation = (placement.translation_m - standard.joints[0]).astype(np.float32)
    joints = standard.joints + translation
    return {
        "has_hand": True,
        "keypoints_2d_px": project_points(joints, placement.intrinsics_px).astype(np.float32),
        "joints_m": joints,
        "vertices_m": standard.vertices + translation,
        "intrinsics_px": placement.intrinsics_px.astype(np.float32),
        "pose_rad": pose,
        "shape": posed.shape.tolist(),
        "translation_m": translation.tolist(),
    }


# ---- files ------------------------------------------------------------------------------------------------


def store(path: Path, row: dict, words: str) -> None:
    """Write a finished row aside and rename it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    arrays = {key: value for key, value in row.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in row.items() if key not in arrays and key != "image"}
    with aside.open("wb") as file:
        np.savez(file, image=np.frombuffer(row["image"], np.uint8), rest=json.dumps(rest), words=words, **arrays)
    aside.replace(path)


def load(path: Path) -> dict:
    """A stored row as the corpus's schema has it."""
    with np.load(path) as arrays:
        row = {key: arrays[key] for key in arrays.files if key not in ("image", "rest", "words")}
        image = arrays["image"].tobytes()
        return row | json.loads(str(arrays["rest"])) | {"image": {"bytes": image, "path": None}}


def assemble(paths: list[Path], out: Path) -> Path:
    """Write the Parquet of all stored rows."""
    from datasets import Dataset

    from hf_handdiff.data.features import CORPUS_FEATURES

    rows = [load(path) for path in paths]
    columns = {name: [row[name] for row in rows] for name in CORPUS_FEATURES}
    out.mkdir(parents=True, exist_ok=True)
    target = out / FILE_NAME
    aside = target.with_name(f".{FILE_NAME}.{os.getpid()}")
    Dataset.from_dict(columns, features=CORPUS_FEATURES).to_parquet(str(aside))
    if aside.stat().st_size > MAX_FILE_BYTES:
        size = aside.stat().st_size
        aside.unlink()
        raise SystemExit(f"the file would have {size / 1e6:.1f} MB, more than {MAX_FILE_BYTES / 1e6:.0f}")
    aside.replace(target)
    return target


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where finished images are kept until all are there")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="default: data/realistic_test of this repository")
    parser.add_argument("--num-samples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--threads", type=int, default=1, help="of the renderer; default: 1")
    parser.add_argument("--only", type=int, nargs="*", help="render these images and write no Parquet")
    parser.add_argument("--partial", action="store_true", help="write the Parquet of what is there, render nothing")
    args = parser.parse_args()
    if args.num_samples < 1 or args.threads < 1 or args.seed < 0:
        parser.error("--num-samples and --threads must be positive, --seed not negative")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    paths = [args.work / f"{args.seed}-{index:05d}.npz" for index in range(args.num_samples)]
    if not args.partial:
        todo = [i for i in range(args.num_samples) if not paths[i].exists()] if args.only is None else args.only
        hand = RenderHand()
        with tqdm(total=args.num_samples, initial=args.num_samples - len(todo), unit="image") as bar:
            for index in todo:
                row, words = make_sample(args.seed, index, hand, args.work, args.threads)
                store(paths[index], row, words)
                bar.set_postfix_str(words)
                bar.update()
    if args.only is None:
        there = [path for path in paths if path.exists()]
        if not there:
            raise SystemExit(f"{args.work} holds no finished image")
        target = assemble(there, args.out)
        print(f"{len(there)} images, {target.stat().st_size / 1e6:.2f} MB: {target}")


if __name__ == "__main__":
    main()
