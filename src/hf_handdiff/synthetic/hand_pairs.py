"""Images of two hands in contact with the truth of both, to measure what looks for all hands of a photo."""

from dataclasses import dataclass

import cv2
import numpy as np

from hf_handdiff.synthetic.assets import SceneAssets
from hf_handdiff.synthetic.body import random_body
from hf_handdiff.synthetic.camera_effects import apply_camera_effects
from hf_handdiff.synthetic.generator import light_and_background
from hf_handdiff.synthetic.placement import Placement, sample_placement
from hf_handdiff.synthetic.plan import ScenePlan
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.renderer import VisibilityBuffer, render
from hf_handdiff.synthetic.scene import HandInstance, contact_meshes, place_meshes, sample_hand, touching_hand
from hf_handdiff.synthetic.two_hands import Contact
from hf_handdiff.synthetic.visibility import joint_visibility, visible_share

PAIR_STREAM = 2  # keeps these samples' random numbers apart from the corpus's
PAIR_IMAGE_SIZE = 320
MIN_VISIBLE_SHARE, TRIES, MOST_TRIES = 0.3, 8, 40


@dataclass
class PairedHand:
    """The truth of one hand of a pair, in camera axes (x right, y down, z away).

    is_left; joints_m (21, 3) and vertices_m (778, 3) of the open hand, those of a left hand mirrored; keypoints_2d_px
    (21, 2), origin at the outer corner of the top-left pixel; keypoints_visible (21,) bool; visible_share 0..1.
    """

    is_left: bool
    joints_m: np.ndarray
    vertices_m: np.ndarray
    keypoints_2d_px: np.ndarray
    keypoints_visible: np.ndarray
    visible_share: float


@dataclass
class HandPair:
    """image (S, S, 3) uint8 RGB; intrinsics_px (3, 3); hands: the right one, then the one that touches it."""

    image: np.ndarray
    intrinsics_px: np.ndarray
    hands: tuple[PairedHand, PairedHand]


def generate_hand_pair(seed: int, index: int, assets: SceneAssets, image_size: int = PAIR_IMAGE_SIZE) -> HandPair:
    """Image `index` of `seed` of a right hand and another one, mostly the same person's left one, that touch.

    It depends on the seed, the index, the split of `assets` and the size alone. Both hands are in view, and each shows
    at least MIN_VISIBLE_SHARE of itself where one of TRIES scenes does; else it is the one after them.

    Args:
        image_size: side of the image in px.

    Raises:
        ValueError: `image_size` is not positive.
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    cv2.setNumThreads(1)
    rng = assets.random_stream(seed, index, PAIR_STREAM)
    plan = ScenePlan(subject="two_hands")
    poses = assets.poses(seed, index)
    for tried in range(MOST_TRIES):
        own = poses.closed if rng.random() < 0.25 else poses.own
        first = sample_hand(assets.hand, own, assets.split, rng)
        touching = touching_hand(assets.hand, first, poses.other, assets.split, rng)
        if touching is None:
            continue
        pair = _render_pair(assets, plan, first, *touching, image_size, rng)
        if min(hand.visible_share for hand in pair.hands) >= MIN_VISIBLE_SHARE or tried >= TRIES:
            return pair
    raise RuntimeError(f"sample {index} of seed {seed}: no way was found in which two hands touch")


def _render_pair(
    assets: SceneAssets,
    plan: ScenePlan,
    first: HandInstance,
    other: HandInstance,
    contact: Contact,
    image_size: int,
    rng: np.random.Generator,
) -> HandPair:
    """Set both hands before a camera and draw them."""
    count = assets.hand.num_hand_vertices
    touching = contact_meshes(other, contact)
    skins = [first.meshes[0].points, touching[0].points]
    vertices, arms = (np.concatenate(parts) for parts in zip(*(np.split(skin, [count]) for skin in skins), strict=True))
    placement = sample_placement(vertices, arms, image_size, rng)
    meshes = place_meshes(first.meshes + touching, placement)
    both = np.concatenate([meshes[0].points[:count], meshes[len(first.meshes)].points[:count]])
    behind = random_body(both, meshes[0].points[-1], placement, image_size, rng)
    lighting, background = light_and_background(assets, plan, rng, image_size)
    drawn = meshes + behind
    image, buffer = render(drawn, placement.intrinsics_px, background, lighting, both.mean(0), assets.noise)
    truth = (
        _truth(assets, first, None, placement, buffer, 0, both[:count], image_size),
        _truth(assets, other, contact, placement, buffer, len(first.meshes), both[count:], image_size),
    )
    return HandPair(apply_camera_effects(image, rng), placement.intrinsics_px.astype(np.float32), truth)


def _truth(
    assets: SceneAssets,
    instance: HandInstance,
    contact: Contact | None,
    placement: Placement,
    buffer: VisibilityBuffer,
    number: int,
    skin_m: np.ndarray,
    image_size: int,
) -> PairedHand:
    """The truth of the hand whose skin is mesh `number` of the scene and, without its arm, `skin_m` (V, 3)."""
    standard = assets.hand.standard(instance.pose_rad, instance.shape)
    joints, vertices = standard.joints - standard.joints[0], standard.vertices - standard.joints[0]
    if contact is not None:
        joints, vertices = contact.placed(joints), contact.placed(vertices)
    joints, vertices = (p @ placement.rotation.T + placement.translation_m for p in (joints, vertices))
    camera = placement.intrinsics_px
    return PairedHand(
        is_left=contact is not None and contact.mirrored,
        joints_m=joints.astype(np.float32),
        vertices_m=vertices.astype(np.float32),
        keypoints_2d_px=project_points(joints, camera).astype(np.float32),
        keypoints_visible=joint_visibility(assets.hand, joints, camera, buffer, number, image_size),
        visible_share=visible_share(assets.hand, skin_m, camera, buffer, number, image_size),
    )
