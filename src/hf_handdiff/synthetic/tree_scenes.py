"""Pictures of hands for trees in the layout of other data sets: always a hand, from random streams of their own.

What an entry of a tree shows depends on the tree's seed, the layout, the split and the entry's number alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from hf_handdiff.synthetic.assets import SceneAssets
from hf_handdiff.synthetic.camera_effects import apply_camera_effects
from hf_handdiff.synthetic.generator import CROP, SceneSample, light_and_background, sample_with_hand
from hf_handdiff.synthetic.placement import Frame
from hf_handdiff.synthetic.plan import PINCH_SHARE, ScenePlan, sample_plan
from hf_handdiff.synthetic.shading import SUPERSAMPLING

ASSETS_OF_SPLIT = {"train": "train", "evaluation": "test"}
"""Whose lights, shapes and signers the splits of a tree use: see `SceneAssets`."""

FRAME_SIZE_PX = (640, 480)
_CANVAS_PX = max(FRAME_SIZE_PX)  # the renderer's pictures are square: a frame is the middle of one
_CUT_PX = (FRAME_SIZE_PX[0] - FRAME_SIZE_PX[1]) // 2
_FOCAL_PX, _CENTRE_SPREAD_PX = (600.0, 630.0), 6.0
_WINDOW_PX = (210, 320)
_GREEN = np.array([0.10, 0.55, 0.22], np.float32)
MIN_JOINTS_INSIDE = 11  # of 21; a hand of which fewer lie in the picture is drawn anew
_MOST_TRIES = 40
_HAND_STREAM, _LIGHT_STREAM, _CAMERA_STREAM = 1, 2, 100  # those of the versions follow the second


@dataclass(frozen=True)
class TreePicture:
    """What an entry shows.

    image (H, W, 3) uint8; intrinsics_px (3, 3) of it; row: the labels of a corpus row, whose camera and keypoints are
    those of what was rendered; hand_mask (H, W) bool: pixels that show the hand's skin, that of its forearm too;
    held_m (V, 3): the thing in the hand, camera axes, or None.
    """

    image: np.ndarray
    intrinsics_px: np.ndarray
    row: dict
    hand_mask: np.ndarray
    held_m: np.ndarray | None


def stream_seed(seed: int, layout: int) -> int:
    """The seed of a tree's own streams, which no corpus of `seed` and no tree of another layout shares."""
    return int(np.random.SeedSequence([seed, layout, 1]).generate_state(1, np.uint64)[0] >> 1)


def crop_picture(assets: SceneAssets, seed: int, entry: int, version: int, green_screen: bool = False) -> TreePicture:
    """A crop of 224 px. The versions of an entry show the same hand by the same camera in other light and places.

    Args:
        assets: of the split.
        seed: by `stream_seed`.
        entry: number in the split.
        version: from 0.
        green_screen: before nothing but green.
    """
    plan = sample_plan(assets.random_stream(seed, entry, _HAND_STREAM))
    image, sample = _picture(assets, seed, entry, version, plan, CROP, (0, CROP.size), green_screen)
    mask = _hand_mask(sample)
    return TreePicture(image, sample.row["intrinsics_px"], sample.row, mask, _held(sample))


def frame_picture(assets: SceneAssets, seed: int, entry: int, sequence: int) -> TreePicture:
    """A frame of 640 x 480 px of a hand that holds something, somewhere in it, by the camera of its sequence.

    Args:
        assets: of the split.
        seed: by `stream_seed`.
        entry: number in the split.
        sequence: its number in the split.
    """
    rng = assets.random_stream(seed, entry, _HAND_STREAM)
    drawn = sample_plan(rng)
    pinched = bool(rng.random() < PINCH_SHARE)
    plan = replace(drawn, subject="held", closed=False, glove=False, pinched=pinched)
    window = int(rng.integers(*_WINDOW_PX))
    corner = (
        int(rng.integers(0, FRAME_SIZE_PX[0] - window + 1)),
        int(rng.integers(_CUT_PX, _CUT_PX + FRAME_SIZE_PX[1] - window + 1)),
    )
    camera = sequence_camera(assets, seed, sequence)
    canvas = camera.copy()
    canvas[1, 2] += _CUT_PX
    shown = (_CUT_PX, _CUT_PX + FRAME_SIZE_PX[1])
    image, sample = _picture(assets, seed, entry, 0, plan, Frame(_CANVAS_PX, window, corner, canvas), shown)
    rows = slice(*shown)
    return TreePicture(image[rows], camera, sample.row, _hand_mask(sample)[rows], _held(sample))


def sequence_camera(assets: SceneAssets, seed: int, sequence: int) -> np.ndarray:
    """The camera (3, 3) px of all frames of a sequence."""
    rng = assets.random_stream(seed, sequence, _CAMERA_STREAM)
    focal = rng.uniform(*_FOCAL_PX)
    centre = np.array(FRAME_SIZE_PX) / 2 + rng.normal(0.0, _CENTRE_SPREAD_PX, 2)
    return np.array([[focal, 0.0, centre[0]], [0.0, focal, centre[1]], [0.0, 0.0, 1.0]])


def _picture(
    assets: SceneAssets,
    seed: int,
    entry: int,
    version: int,
    plan: ScenePlan,
    frame: Frame,
    shown_rows: tuple[int, int],
    green_screen: bool = False,
) -> tuple[np.ndarray, SceneSample]:
    """The developed picture of what was rendered and its scene: the hand by one stream, all else by the version's.

    shown_rows: the first row of the picture that is kept, and the one after the last.
    """
    cv2.setNumThreads(1)
    rng = assets.random_stream(seed, entry, _LIGHT_STREAM + version)
    light = replace(plan, light=sample_plan(rng).light)
    lighting, background = light_and_background(assets, light, rng, frame.size)
    if green_screen:
        background = np.broadcast_to(_GREEN * np.float32(rng.uniform(0.7, 1.2)), background.shape).copy()
    behind, poses = None if green_screen else rng, assets.poses(seed, entry)
    for tried in range(_MOST_TRIES):  # by the hand alone, so that all versions agree
        hand_rng = assets.random_stream(seed, entry, _HAND_STREAM, 1 + tried)
        sample, image = sample_with_hand(assets, poses, plan, lighting, background, hand_rng, behind, frame)
        x, y = sample.row["keypoints_2d_px"].T
        inside = (x >= 0) & (x < frame.size) & (y >= shown_rows[0]) & (y < shown_rows[1])
        if inside.sum() >= MIN_JOINTS_INSIDE:
            return apply_camera_effects(image, rng, low_light=light.light == "low"), sample
    raise RuntimeError(f"entry {entry} of seed {seed}: no view was found that shows the hand")


def _hand_mask(sample: SceneSample) -> np.ndarray:
    """(S, S) bool: pixels of which most show the hand's mesh."""
    own = (sample.buffer.object_ids() == 0).astype(np.float32)
    size = len(own) // SUPERSAMPLING
    return (own.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).mean((1, 3)) >= 0.5) & ~sample.covered


def _held(sample: SceneSample) -> np.ndarray | None:
    return None if sample.held is None else sample.held.points
