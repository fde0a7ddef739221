"""Putting a scene together: a hand in a pose before a camera, with what it wears and what hides it."""

from dataclasses import dataclass

import numpy as np
import torch

from hf_handdiff.data.features import UNKNOWN_SKIN_TONE
from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler
from hf_handdiff.synthetic.body import upper_arm
from hf_handdiff.synthetic.grasps import sample_grasp, sample_pinched
from hf_handdiff.synthetic.hand_mesh import ForearmShape, RenderHand
from hf_handdiff.synthetic.materials import Material, random_object_material
from hf_handdiff.synthetic.mesh import Mesh, ball, bunch, capsule
from hf_handdiff.synthetic.occluders import (
    KIND_SHARES,
    KINDS,
    SECOND_HOLDS_SHARE,
    Occlusion,
    flat_patches,
    second_hand_offset,
    solid_in_front,
)
from hf_handdiff.synthetic.placement import Placement, random_rotation, sample_intrinsics
from hf_handdiff.synthetic.plan import ScenePlan
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.shapes import sample_shape
from hf_handdiff.synthetic.skin import sample_skin
from hf_handdiff.synthetic.solids import random_solid
from hf_handdiff.synthetic.two_hands import Contact, sample_contact
from hf_handdiff.synthetic.wearables import glove, random_wearables

GRASP_TRIES = 4
SAME_PERSON_SHARE, OTHER_SIDE_SHARE = 0.75, 0.75  # of second hands in front or beside
TOUCHING_SAME_PERSON_SHARE, TOUCHING_OTHER_SIDE_SHARE = 0.85, 0.92  # of hands that touch


@dataclass
class HandInstance:
    """One hand of a scene: parameters, skin, and its meshes in its own axes with the wrist at 0.

    pose_rad (16, 3) without global rotation; skin_tone, -1 in a glove; joints (21, 3) m; meshes: skin first, then
    what it wears and holds; holds: whether it holds something, which is then the last.
    """

    pose_rad: np.ndarray
    shape: np.ndarray
    skin: Material
    skin_tone: float
    joints: np.ndarray
    meshes: list[Mesh]
    holds: bool = False


def sample_hand(
    hand: RenderHand,
    pose: np.ndarray,
    split: str,
    rng: np.random.Generator,
    skin: tuple[Material, float] | None = None,
    plan: ScenePlan | None = None,
    grip_pose: np.ndarray | None = None,
) -> HandInstance:
    """A hand in `pose` (16, 3), of a random shape of `split` and a skin, with a forearm that may be dressed.

    What `plan` asks of the hand itself is done: where it is to hold something the pose is replaced, by `grip_pose`
    (16, 3) where thumb and finger are to hold it; it may wear a glove.
    """
    plan = ScenePlan() if plan is None else plan
    shape, held = sample_shape(split, rng), None
    if plan.subject == "held":
        pose, held = _sample_held(hand, shape, grip_pose if plan.pinched else None, rng)
    return dressed_hand(hand, pose, shape, rng, skin, plan, held)


def dressed_hand(
    hand: RenderHand,
    pose: np.ndarray,
    shape: np.ndarray,
    rng: np.random.Generator,
    skin: tuple[Material, float] | None = None,
    plan: ScenePlan | None = None,
    held: Mesh | None = None,
) -> HandInstance:
    """The hand of `pose` (16, 3) and `shape` (10,) with forearm, clothes and what it holds; see `sample_hand`."""
    plan = ScenePlan() if plan is None else plan
    material, tone = sample_skin(rng) if skin is None else skin
    posed = hand.pose(pose, shape)
    vertices, joints = posed.vertices - posed.joints[0], posed.joints - posed.joints[0]
    from_arm = plan.view == "from_arm"
    forearm = ForearmShape(
        flexion_rad=float(np.clip(rng.normal(0.0, 0.5 if from_arm else 0.3), -1.0, 1.1)),
        deviation_rad=float(np.clip(rng.normal(0.0, 0.15), -0.4, 0.4)),
        length_m=rng.uniform(0.21, 0.27) if from_arm else rng.uniform(0.26, 0.5),
        widening=rng.uniform(1.2, 1.6),
    )
    points = hand.with_forearm(vertices, forearm)
    rings = hand.forearm_rings(points)
    meshes = glove(hand, points, material, rng) if plan.glove else [hand.skin_mesh(points, material)]
    worn = random_wearables(rings, rng)
    meshes += worn
    if from_arm:
        meshes.append(upper_arm(rings, worn[0].material if worn else material, rng))
    if held is not None:
        meshes.append(held)
    tone = UNKNOWN_SKIN_TONE if plan.glove else tone
    return HandInstance(pose, shape, material, tone, joints, meshes, held is not None)


def _sample_held(
    hand: RenderHand, shape: np.ndarray, grip_pose: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, Mesh]:
    """A pose and what it holds: between the tips of `grip_pose` where there is one and that works, or in a grasp whose
    fingers do not run through each other; the best of GRASP_TRIES if none is free of it."""
    if grip_pose is not None:
        held = sample_pinched(hand.joints(grip_pose, shape), rng)
        if held is not None:
            return grip_pose, held
    flat = hand.joints(np.zeros((16, 3), np.float32), shape)
    least = np.inf
    for _ in range(GRASP_TRIES):
        pose, held = sample_grasp(flat, rng)
        overlap = float(default_sampler().overlap(torch.from_numpy(pose)[None])[0])
        if overlap < least:
            least, best = overlap, (pose, held)
        if overlap <= MAX_OVERLAP_M:
            break
    return best


def touching_hand(
    hand: RenderHand, instance: HandInstance, pose: np.ndarray, split: str, rng: np.random.Generator
) -> tuple[HandInstance, Contact] | None:
    """Another hand that touches `instance`, most often the same person's left one, and how; None if it cannot be.

    pose (16, 3): the other hand's, unless it closes around this one. Its meshes are in its own axes, as of a right
    hand: `contact_meshes` brings them to those of `instance`.
    """
    left = bool(rng.random() < TOUCHING_OTHER_SIDE_SHARE)
    same = rng.random() < TOUCHING_SAME_PERSON_SHARE
    shape = instance.shape if left and same else sample_shape(split, rng)
    contact = sample_contact(hand, instance.joints, instance.pose_rad, pose, shape, left, rng)
    if contact is None:
        return None
    skin = (instance.skin, instance.skin_tone) if same else None
    return dressed_hand(hand, contact.pose_rad, shape, rng, skin), contact


def contact_meshes(other: HandInstance, contact: Contact) -> list[Mesh]:
    """The meshes of a hand that touches another, in the axes of that one."""
    meshes = [mesh.mirrored() if contact.mirrored else mesh for mesh in other.meshes]
    return [mesh.moved(contact.rotation, contact.offset_m) for mesh in meshes]


def sample_occlusion(
    hand: RenderHand,
    instance: HandInstance,
    other_pose: np.ndarray,
    split: str,
    placement: Placement,
    image_size: int,
    rng: np.random.Generator,
) -> Occlusion:
    """One or two things that hide parts of the hand.

    A second hand takes `other_pose` (16, 3) and a shape of `split`.
    """
    occlusion = Occlusion()
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
    skin = (instance.skin, instance.skin_tone) if rng.random() < SAME_PERSON_SHARE else None
    plan = ScenePlan(subject="held" if rng.random() < SECOND_HOLDS_SHARE else "bare")
    other = sample_hand(hand, pose, split, rng, skin, plan)
    size = np.linalg.norm(np.ptp(vertices_m, axis=0)[:2])
    centre = vertices_m.mean(0) + second_hand_offset(size, rng)
    centre[2] = max(centre[2], 0.5 * vertices_m[:, 2].min())
    left = rng.random() < OTHER_SIDE_SHARE
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


def place_meshes(meshes: list[Mesh], placement: Placement) -> list[Mesh]:
    """Meshes of a hand's own axes in camera axes."""
    return [mesh.moved(placement.rotation, placement.translation_m) for mesh in meshes]
