"""One sample of the synthetic corpus from its seed and index, and nothing else."""

from dataclasses import dataclass

import cv2
import numpy as np
import roma
import torch

from hf_handdiff.data.features import NUM_VERTICES, UNKNOWN_SKIN_TONE
from hf_handdiff.hand.topology import NUM_JOINTS, NUM_ROTATIONS, NUM_SHAPE
from hf_handdiff.synthetic.assets import SceneAssets
from hf_handdiff.synthetic.background import sample_background
from hf_handdiff.synthetic.body import random_body
from hf_handdiff.synthetic.camera_effects import apply_camera_effects, encode_jpeg
from hf_handdiff.synthetic.environment import Lighting, random_environment_rotation, rotate_lighting, studio_lighting
from hf_handdiff.synthetic.mesh import Mesh
from hf_handdiff.synthetic.occluders import Occlusion, draw_patches
from hf_handdiff.synthetic.placement import Placement, sample_placement
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.renderer import VisibilityBuffer, render
from hf_handdiff.synthetic.scene import HandInstance, place_meshes, sample_hand, sample_occlusion, scene_without_hand
from hf_handdiff.synthetic.surfaces import SURFACE_SHARE, random_surface
from hf_handdiff.synthetic.visibility import joint_visibility, visible_share

IMAGE_SIZE = 224
NO_HAND_SHARE = 0.06
STUDIO_LIGHT_SHARE = 0.4
MEAN_IRRADIANCE = 1.25
MIN_VISIBLE_SHARE = 0.1


@dataclass
class SceneSample:
    """A row and what was rendered for it.

    row: one of CORPUS_FEATURES; meshes: all that was rendered, in camera axes, the hand first (none may be
    left where there is no hand); covered (H, W) bool: pixels that a flat patch hides.
    """

    row: dict
    meshes: list[Mesh]
    covered: np.ndarray


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
    lighting, background = _light_and_background(assets, rng)
    if rng.random() < NO_HAND_SHARE:
        sample, image = _sample_without_hand(assets, lighting, background, rng)
    else:
        sample, image = _sample_with_hand(assets, assets.poses(seed, index), lighting, background, rng)
    sample.row["image"] = {"bytes": encode_jpeg(apply_camera_effects(image, rng), rng), "path": None}
    sample.row["sample_id"] = f"{seed}/{index}"
    return sample


def _light_and_background(assets: SceneAssets, rng: np.random.Generator) -> tuple[Lighting, np.ndarray]:
    """Lights in camera axes, at an exposure near the right one, and what is seen behind everything."""
    environment = assets.environments[rng.integers(len(assets.environments))]
    rotation = random_environment_rotation(rng)
    lighting = rotate_lighting(environment.lighting, rotation)
    gain = MEAN_IRRADIANCE / max(lighting.mean_irradiance(), 1e-4) * 2.0 ** rng.normal(0.0, 0.4)
    background = sample_background(IMAGE_SIZE, environment, rotation, gain, rng)
    if rng.random() < STUDIO_LIGHT_SHARE:
        lighting = studio_lighting(rng)
        gain = MEAN_IRRADIANCE / lighting.mean_irradiance() * 2.0 ** rng.normal(0.0, 0.4)
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


def _sample_with_hand(
    assets: SceneAssets,
    poses: np.ndarray,
    lighting: Lighting,
    background: np.ndarray,
    rng: np.random.Generator,
) -> tuple[SceneSample, np.ndarray]:
    hand = assets.hand
    instance = sample_hand(hand, poses[0], assets.split, rng)
    own_vertices, arm = np.split(instance.meshes[0].points, [hand.num_hand_vertices])
    placement = sample_placement(own_vertices, arm, IMAGE_SIZE, rng)
    meshes = place_meshes(instance, placement)
    if rng.random() < SURFACE_SHARE:
        meshes.append(random_surface(meshes[0].points, rng))
    else:
        arm_end = meshes[0].points[-1]
        meshes += random_body(meshes[0].points[: hand.num_hand_vertices], arm_end, placement, IMAGE_SIZE, rng)
    occlusion = sample_occlusion(hand, instance, poses[1], assets.split, placement, IMAGE_SIZE, rng)
    row = hand_labels(assets, instance, placement)
    image, buffer, covered = _draw(assets, meshes, placement, occlusion, lighting, background)
    vertices = own_vertices @ placement.rotation.T + placement.translation_m
    share = visible_share(hand, vertices, placement.intrinsics_px, buffer, 0, IMAGE_SIZE, covered)
    if share < MIN_VISIBLE_SHARE and (occlusion.meshes or occlusion.patches):
        occlusion = Occlusion()
        image, buffer, covered = _draw(assets, meshes, placement, occlusion, lighting, background)
        share = visible_share(hand, vertices, placement.intrinsics_px, buffer, 0, IMAGE_SIZE, covered)
    visible = joint_visibility(hand, row["joints_m"], placement.intrinsics_px, buffer, 0, IMAGE_SIZE, covered)
    row["keypoints_visible"] = visible.tolist()
    row["visible_share"] = share
    return SceneSample(row, meshes + occlusion.meshes, covered), image


def _draw(
    assets: SceneAssets,
    meshes: list[Mesh],
    placement: Placement,
    occlusion: Occlusion,
    lighting: Lighting,
    background: np.ndarray,
) -> tuple[np.ndarray, VisibilityBuffer, np.ndarray]:
    focus = meshes[0].points[: assets.hand.num_hand_vertices].mean(0)
    image, buffer = render(
        meshes + occlusion.meshes, placement.intrinsics_px, background, lighting, focus, assets.noise
    )
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
