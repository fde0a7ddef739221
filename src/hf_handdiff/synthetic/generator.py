"""One sample of the synthetic corpus from its seed and index, and nothing else."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import roma
import torch

from hf_handdiff.data.features import NUM_VERTICES, UNKNOWN_SKIN_TONE
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE
from hf_handdiff.synthetic.assets import SamplePoses, SceneAssets
from hf_handdiff.synthetic.background import sample_background
from hf_handdiff.synthetic.body import random_body
from hf_handdiff.synthetic.camera_effects import apply_camera_effects, blur_moving, encode_jpeg
from hf_handdiff.synthetic.environment import Lighting, random_environment_rotation, rotate_lighting, studio_lighting
from hf_handdiff.synthetic.hand_mesh import RenderHand
from hf_handdiff.synthetic.hard_lights import back_lighting, coloured_lighting, hard_lighting
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.occluders import Occlusion, draw_patches
from hf_handdiff.synthetic.placement import Frame, Placement, sample_placement
from hf_handdiff.synthetic.plan import ScenePlan, sample_plan
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.renderer import VisibilityBuffer, render
from hf_handdiff.synthetic.scene import (
    HandInstance,
    contact_meshes,
    place_meshes,
    sample_hand,
    sample_occlusion,
    scene_without_hand,
    touching_hand,
)
from hf_handdiff.synthetic.shading import SUPERSAMPLING
from hf_handdiff.synthetic.surfaces import SURFACE_SHARE, random_surface
from hf_handdiff.synthetic.visibility import coarse_visible_share, joint_visibility, visible_share

IMAGE_SIZE = 224
NO_HAND_SHARE = 0.06
STUDIO_LIGHT_SHARE = 0.4
MEAN_IRRADIANCE = 1.25
MIN_VISIBLE_SHARE = 0.1
MIN_UNHIDDEN_SHARE, VIEW_TRIES = 0.35, 5  # by what the hand holds and touches and by its own arm
BACK_LIGHT_GAIN, LOW_LIGHT_GAIN = (0.25, 0.8), (0.06, 0.35)
CROP = Frame(IMAGE_SIZE, IMAGE_SIZE)


@dataclass
class SceneSample:
    """A row and what was rendered for it.

    row: one of CORPUS_FEATURES; meshes: all that was rendered, in camera axes, the hand first (none may be
    left where there is no hand); covered (H, W) bool: pixels that a flat patch hides; kinds: what the image came out
    as, of `plan.KINDS`, none where there is no hand; buffer: what each pixel sees, None where there is no hand; held:
    the mesh of what the hand holds.
    """

    row: dict
    meshes: list[Mesh]
    covered: np.ndarray
    kinds: tuple[str, ...] = ()
    buffer: VisibilityBuffer | None = None
    held: Mesh | None = None


def generate_sample(seed: int, index: int, assets: SceneAssets) -> dict:
    """Row `index` of the corpus of `seed`, as `hf_handdiff.data.features.CORPUS_FEATURES` declares it.

    The row depends on the seed, the index and the split of `assets` alone: rows can be made anywhere, in
    any order.
    """
    return generate_scene(seed, index, assets).row


def generate_scene(seed: int, index: int, assets: SceneAssets) -> SceneSample:
    """Row `index` of the corpus of `seed` with its scene, for looking at how labels came about."""
    rng = assets.random_stream(seed, index)
    cv2.setNumThreads(1)
    has_hand = rng.random() >= NO_HAND_SHARE
    plan = sample_plan(rng) if has_hand else ScenePlan()
    lighting, background = light_and_background(assets, plan, rng)
    if has_hand:
        sample, image = sample_with_hand(assets, assets.poses(seed, index), plan, lighting, background, rng, rng)
    else:
        sample, image = _sample_without_hand(assets, lighting, background, rng)
    picture = apply_camera_effects(image, rng, low_light=plan.light == "low")
    sample.row["image"] = {"bytes": encode_jpeg(picture, rng), "path": None}
    sample.row["sample_id"] = f"{seed}/{index}"
    return sample


def light_and_background(
    assets: SceneAssets, plan: ScenePlan, rng: np.random.Generator, size: int = IMAGE_SIZE
) -> tuple[Lighting, np.ndarray]:
    """Lights in camera axes, at an exposure near the right one, and what is seen behind everything, (size, size, 3)."""
    environment = assets.environments[rng.integers(len(assets.environments))]
    rotation = random_environment_rotation(rng)
    lighting = rotate_lighting(environment.lighting, rotation)
    gain = MEAN_IRRADIANCE / max(lighting.mean_irradiance(), 1e-4) * 2.0 ** rng.normal(0.0, 0.4)
    background = sample_background(size, environment, rotation, gain, rng)
    makers = {"hard": hard_lighting, "back": back_lighting, "coloured": coloured_lighting}
    if plan.light in makers or rng.random() < STUDIO_LIGHT_SHARE:
        lighting = makers.get(plan.light, studio_lighting)(rng)
        gain = MEAN_IRRADIANCE / lighting.mean_irradiance() * 2.0 ** rng.normal(0.0, 0.4)
    if plan.light == "back":  # the camera meters what is bright behind
        gain *= rng.uniform(*BACK_LIGHT_GAIN)
        background = np.maximum(background, 0.0) ** np.float32(rng.uniform(0.3, 0.8))
    elif plan.light == "low":
        dim = np.exp(rng.uniform(*np.log(LOW_LIGHT_GAIN)))
        gain, background = gain * dim, background * np.float32(dim ** (1 / 2.2))
    return lighting.scaled(gain), background


def _sample_without_hand(
    assets: SceneAssets, lighting: Lighting, background: np.ndarray, rng: np.random.Generator
) -> tuple[SceneSample, np.ndarray]:
    meshes, intrinsics, middle = scene_without_hand(IMAGE_SIZE, rng)
    image = background
    if meshes:
        image, _ = render(meshes, intrinsics, background, lighting, middle, assets.noise)
    row = {
        "has_hand": False,
        "keypoints_2d_px": np.zeros((NUM_JOINTS, 2), np.float32),
        "keypoints_visible": [False] * NUM_JOINTS,
        "joints_m": np.zeros((NUM_JOINTS, 3), np.float32),
        "vertices_m": np.zeros((NUM_VERTICES, 3), np.float32),
        "intrinsics_px": intrinsics.astype(np.float32),
        "pose_rad": np.zeros((NUM_ROTATIONS, 3), np.float32),
        "shape": [0.0] * NUM_SHAPE,
        "translation_m": [0.0] * 3,
        "visible_share": 0.0,
        "skin_tone": UNKNOWN_SKIN_TONE,
    }
    return SceneSample(row, meshes, np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)), image


@dataclass
class _Scene:
    """A hand before a camera with all that is round it: instance; placement; meshes in camera axes, the hand first;
    view: as `ScenePlan` has it; touched: by another hand; surface: a plane behind."""

    instance: HandInstance
    placement: Placement
    meshes: list[Mesh]
    view: str
    touched: bool
    surface: bool = False


def sample_with_hand(
    assets: SceneAssets,
    poses: SamplePoses,
    plan: ScenePlan,
    lighting: Lighting,
    background: np.ndarray,
    rng: np.random.Generator,
    behind: np.random.Generator | None,
    frame: Frame = CROP,
) -> tuple[SceneSample, np.ndarray]:
    """A hand as `plan` wants it, drawn over `background` (S, S, 3) float32: its scene and the image (S, S, 3) float32.

    The hand, what it touches and what hides it, and the camera are drawn from `rng`: two calls that differ in light and
    background alone show the same hand. The row has no image yet and no sample_id.

    Args:
        assets: of the split.
        poses: that the sample may use.
        plan: what it is to show; its light is that of `lighting` already.
        lighting: in camera axes.
        background: seen behind everything.
        rng: see above.
        behind: draws the body or the surface behind the hand; None: there is neither.
        frame: where in the picture the hand lies, and by which camera.
    """
    hand, size = assets.hand, frame.size
    scene = _compose(assets, poses, plan, rng, frame)
    if behind is not None:
        _put_behind(hand, scene, size, behind)
    instance, placement, meshes = scene.instance, scene.placement, scene.meshes
    hidden = plan.subject == "hidden" or plan.also_hidden
    occlusion = Occlusion()
    if hidden:
        occlusion = sample_occlusion(hand, instance, poses.other, assets.split, placement, size, rng)
    row = hand_labels(assets, instance, placement)
    moving_rng = rng if plan.moving and not scene.surface else None
    own_vertices = instance.meshes[0].points[: hand.num_hand_vertices]
    vertices = own_vertices @ placement.rotation.T + placement.translation_m

    def draw() -> tuple[np.ndarray, np.ndarray, VisibilityBuffer, float]:
        image, buffer, covered = _draw(assets, meshes, placement, occlusion, lighting, background, moving_rng)
        share = visible_share(hand, vertices, placement.intrinsics_px, buffer, 0, size, covered)
        return image, covered, buffer, share

    image, covered, buffer, share = draw()
    if share < MIN_VISIBLE_SHARE and hidden:
        occlusion, hidden = Occlusion(), False
        image, covered, buffer, share = draw()
    visible = joint_visibility(hand, row["joints_m"], placement.intrinsics_px, buffer, 0, size, covered)
    row["keypoints_visible"] = visible.tolist()
    row["visible_share"] = share
    kinds = _kinds(plan, scene, hidden, moving_rng is not None)
    held = meshes[len(instance.meshes) - 1] if instance.holds else None
    return SceneSample(row, meshes + occlusion.meshes, covered, kinds, buffer, held), image


def _compose(
    assets: SceneAssets, poses: SamplePoses, plan: ScenePlan, rng: np.random.Generator, frame: Frame
) -> _Scene:
    """The hand, what touches it and the camera; nothing is behind it yet."""
    hand = assets.hand
    pose = poses.closed if plan.closed else poses.own
    instance = sample_hand(hand, pose, assets.split, rng, plan=plan, grip_pose=poses.grip)
    own = instance.meshes
    touching = None
    if plan.subject == "two_hands":
        touching = touching_hand(hand, instance, poses.other, assets.split, rng)
        own = own + contact_meshes(*touching) if touching else own
    vertices, arm = np.split(own[0].points, [hand.num_hand_vertices])
    placement, meshes, view = _place(hand, vertices, arm, own, plan, rng, frame)
    if touching and coarse_visible_share(hand, meshes, placement.intrinsics_px, frame.size) < MIN_UNHIDDEN_SHARE:
        touching, meshes = None, place_meshes(instance.meshes, placement)
    return _Scene(instance, placement, meshes, view, touching is not None)


def _put_behind(hand: RenderHand, scene: _Scene, size: int, rng: np.random.Generator) -> None:
    """Add a surface behind the hand to `scene`, or the body that its arm belongs to, in place; or neither."""
    meshes = scene.meshes
    scene.surface = bool(rng.random() < SURFACE_SHARE)
    if scene.surface:
        everything = np.concatenate([mesh.points for mesh in meshes]) if scene.touched else meshes[0].points
        meshes.append(random_surface(everything, rng))
    else:
        arm_end = meshes[0].points[-1]
        meshes += random_body(meshes[0].points[: hand.num_hand_vertices], arm_end, scene.placement, size, rng)


def _place(
    hand: RenderHand,
    vertices: np.ndarray,
    arm: np.ndarray,
    own: list[Mesh],
    plan: ScenePlan,
    rng: np.random.Generator,
    frame: Frame,
) -> tuple[Placement, list[Mesh], str]:
    """A camera that the hand's own arm, what it holds and a hand that touches it leave enough to see, if one of
    VIEW_TRIES does; the meshes `own` before it; and the view: an everyday one where the planned one shows too little.
    """
    tries = VIEW_TRIES if len(own) > 1 and plan != ScenePlan() else 1
    camera = frame.window_intrinsics_px()
    most = -1.0
    for view in [plan.view] * tries + ["everyday"] * (tries > 1):
        placement = sample_placement(vertices, arm, frame.window_px, rng, view, camera)
        meshes = place_meshes(own, placement)
        share = coarse_visible_share(hand, meshes, placement.intrinsics_px, frame.window_px)
        if share > most:
            most, best = share, (placement, meshes, view)
        if share > MIN_UNHIDDEN_SHARE:
            break
    placement, meshes, view = best
    if camera is not None:
        placement = replace(placement, intrinsics_px=frame.intrinsics_px)
    return placement, meshes, view


def _kinds(plan: ScenePlan, scene: _Scene, hidden: bool, moving: bool) -> tuple[str, ...]:
    """What came of the plan, by the names in `plan.KINDS`."""
    found = {
        "held": scene.instance.holds,
        "two_hands": scene.touched,
        "hidden": hidden,
        "closed": plan.closed,
        scene.view: scene.view != "everyday",
        "glove": plan.glove,
        plan.light: plan.light != "ordinary",
        "moving": moving,
    }
    return tuple(kind for kind, there in found.items() if there) or ("plain",)


def _draw(
    assets: SceneAssets,
    meshes: list[Mesh],
    placement: Placement,
    occlusion: Occlusion,
    lighting: Lighting,
    background: np.ndarray,
    moving_rng: np.random.Generator | None,
) -> tuple[np.ndarray, VisibilityBuffer, np.ndarray]:
    """The image, what it shows where, and the pixels that flat patches cover; all meshes move with `moving_rng`."""
    focus = meshes[0].points[: assets.hand.num_hand_vertices].mean(0)
    image, buffer = render(
        meshes + occlusion.meshes, placement.intrinsics_px, background, lighting, focus, assets.noise
    )
    if moving_rng is not None:
        drawn = (buffer.face_ids >= 0).astype(np.float32)
        size = len(background)
        covered = drawn.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3))
        image = blur_moving(image, background, covered, moving_rng)
    return image, buffer, draw_patches(image, occlusion.patches)


def hand_labels(assets: SceneAssets, instance: HandInstance, placement: Placement) -> dict:
    """The labels of a hand: the standard mesh of its pose and shape, in camera axes and projected."""
    pose = instance.pose_rad.copy()
    pose[0] = axis_angle(placement.rotation)
    standard = assets.hand.standard(pose, instance.shape)
    translation = (placement.translation_m - standard.joints[0]).astype(np.float32)
    joints = standard.joints + translation
    return {
        "has_hand": True,
        "keypoints_2d_px": project_points(joints, placement.intrinsics_px).astype(np.float32),
        "joints_m": joints,
        "vertices_m": standard.vertices + translation,
        "intrinsics_px": placement.intrinsics_px.astype(np.float32),
        "pose_rad": pose,
        "shape": instance.shape.tolist(),
        "translation_m": translation.tolist(),
        "skin_tone": instance.skin_tone,
    }


def axis_angle(rotation: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) float32 of a rotation matrix (3, 3)."""
    return roma.rotmat_to_rotvec(torch.from_numpy(rotation)).numpy().astype(np.float32)
