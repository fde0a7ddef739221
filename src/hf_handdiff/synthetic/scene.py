"""Putting a scene together: a hand in a pose before a camera, with what it wears and what hides it."""

from dataclasses import dataclass

import numpy as np
import torch

from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler
from hf_handdiff.synthetic.grasps import sample_grasp
from hf_handdiff.synthetic.hand_mesh import ForearmShape, RenderHand
from hf_handdiff.synthetic.materials import Material, random_object_material
from hf_handdiff.synthetic.mesh import Mesh, ball, bunch, capsule, random_solid
from hf_handdiff.synthetic.occluders import (
    HELD_SHARE,
    KIND_SHARES,
    KINDS,
    OTHERWISE_OCCLUDED_SHARE,
    Occlusion,
    flat_patches,
    second_hand_offset,
    solid_in_front,
)
from hf_handdiff.synthetic.placement import Placement, random_rotation, sample_intrinsics
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.shapes import sample_shape
from hf_handdiff.synthetic.skin import sample_skin
from hf_handdiff.synthetic.wearables import random_wearables

GRASP_TRIES = 4


@dataclass
class HandInstance:
    """One hand of a scene: parameters, skin, and its meshes in its own axes with the wrist at 0.

    pose_rad (16, 3) without global rotation; joints (21, 3) m; meshes: skin first, then what it wears and
    holds.
    """

    pose_rad: np.ndarray
    shape: np.ndarray
    skin: Material
    skin_tone: float
    joints: np.ndarray
    meshes: list[Mesh]


def sample_hand(
    hand: RenderHand,
    pose: np.ndarray,
    split: str,
    rng: np.random.Generator,
    skin: tuple[Material, float] | None = None,
) -> HandInstance:
    """A hand in `pose` (16, 3), of a random shape of `split` and a skin, with a forearm that may be dressed.

    For a share of the hands the pose is replaced by one that holds a solid, which is then the last of the
    meshes.
    """
    shape = sample_shape(split, rng)
    held = None
    if rng.random() < HELD_SHARE:
        pose, held = _sample_free_grasp(hand, shape, rng)
    material, tone = sample_skin(rng) if skin is None else skin
    posed = hand.pose(pose, shape)
    vertices, joints = posed.vertices - posed.joints[0], posed.joints - posed.joints[0]
    forearm = ForearmShape(
        flexion_rad=float(np.clip(rng.normal(0.0, 0.3), -1.0, 1.1)),
        deviation_rad=float(np.clip(rng.normal(0.0, 0.15), -0.4, 0.4)),
        length_m=rng.uniform(0.26, 0.5),
        widening=rng.uniform(1.2, 1.6),
    )
    points = hand.with_forearm(vertices, forearm)
    meshes = [hand.skin_mesh(points, material), *random_wearables(hand.forearm_rings(points), rng)]
    if held is not None:
        meshes.append(held)
    return HandInstance(pose, shape, material, tone, joints, meshes)


def _sample_free_grasp(hand: RenderHand, shape: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Mesh]:
    """A grasp whose fingers do not run through each other; the best of GRASP_TRIES if none is free of it."""
    flat = hand.pose(np.zeros((16, 3), np.float32), shape).joints
    least = np.inf
    for _ in range(GRASP_TRIES):
        pose, held = sample_grasp(flat - flat[0], rng)
        overlap = float(default_sampler().overlap(torch.from_numpy(pose)[None])[0])
        if overlap < least:
            least, best = overlap, (pose, held)
        if overlap <= MAX_OVERLAP_M:
            break
    return best


def sample_occlusion(
    hand: RenderHand,
    instance: HandInstance,
    other_pose: np.ndarray,
    split: str,
    placement: Placement,
    image_size: int,
    rng: np.random.Generator,
) -> Occlusion:
    """Nothing, or one or two things that hide parts of the hand.

    A second hand takes `other_pose` (16, 3) and a shape of `split`.
    """
    occlusion = Occlusion()
    if rng.random() >= OTHERWISE_OCCLUDED_SHARE:
        return occlusion
    vertices = instance.meshes[0].points[: hand.num_hand_vertices]
    vertices = vertices @ placement.rotation.T + placement.translation_m
    for _ in range(2 if rng.random() < 0.2 else 1):
        kind = KINDS[rng.choice(len(KINDS), p=KIND_SHARES)]
        if kind == "front":
            occlusion.meshes.append(solid_in_front(vertices, rng))
        elif kind == "second_hand":
            occlusion.meshes += _second_hand(hand, instance, other_pose, split, vertices, rng)
        else:
            pixels = project_points(vertices, placement.intrinsics_px)
            box = np.concatenate([pixels.min(0), pixels.max(0)])
            occlusion.patches += flat_patches(image_size, box, rng)
    return occlusion


def _second_hand(
    hand: RenderHand,
    instance: HandInstance,
    pose: np.ndarray,
    split: str,
    vertices_m: np.ndarray,
    rng: np.random.Generator,
) -> list[Mesh]:
    """Another hand beside or in front of `vertices_m`, most often the same person's left one."""
    skin = (instance.skin, instance.skin_tone) if rng.random() < 0.75 else None
    other = sample_hand(hand, pose, split, rng, skin)
    size = np.linalg.norm(np.ptp(vertices_m, axis=0)[:2])
    centre = vertices_m.mean(0) + second_hand_offset(size, rng)
    centre[2] = max(centre[2], 0.5 * vertices_m[:, 2].min())
    left = rng.random() < 0.75
    rotation = random_rotation(rng)
    middle = other.joints.mean(0) * ([-1.0, 1.0, 1.0] if left else [1.0, 1.0, 1.0])
    meshes = [mesh.mirrored() if left else mesh for mesh in other.meshes]
    return [mesh.moved(rotation, centre - rotation @ middle) for mesh in meshes]


def scene_without_hand(image_size: int, rng: np.random.Generator) -> tuple[list[Mesh], np.ndarray, np.ndarray]:
    """Meshes in camera axes, intrinsics (3, 3) and the middle (3,) of a scene that holds things but no
    hand."""
    intrinsics = sample_intrinsics(image_size, rng)
    middle = np.array([0.0, 0.0, intrinsics[0, 0] * 0.2 / image_size])
    middle[:2] = (0.5 * image_size - intrinsics[:2, 2]) * middle[2] / intrinsics[0, 0]
    meshes = []
    for _ in range(rng.integers(0, 4)):
        kind = rng.choice(["solid", "limb", "head", "bunch"], p=[0.4, 0.2, 0.15, 0.25])
        if kind == "solid":
            thing = random_solid(rng, random_object_material(rng)).mesh
        elif kind == "limb":
            thing = capsule(
                rng.uniform(0.02, 0.045), rng.uniform(0.15, 0.35), sample_skin(rng)[0], rng.uniform(0.6, 1.0)
            )
        elif kind == "head":
            thing = ball(rng.uniform(0.03, 0.08), sample_skin(rng)[0], rng.uniform(1.0, 1.4))
        else:
            thing = bunch(sample_skin(rng)[0] if rng.random() < 0.7 else random_object_material(rng), rng)
        meshes.append(thing.moved(random_rotation(rng), middle + rng.normal(0.0, 0.05, 3) * [1.0, 1.0, 0.5]))
    return meshes, intrinsics, middle


def place_meshes(instance: HandInstance, placement: Placement) -> list[Mesh]:
    """The hand, what it wears and what it holds, in camera axes; the hand itself is the first."""
    return [mesh.moved(placement.rotation, placement.translation_m) for mesh in instance.meshes]
