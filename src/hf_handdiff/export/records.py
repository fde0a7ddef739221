"""Answers as records: what NAME.json, NAME.npz and the lines of NAME.jsonl hold. Lengths in m, images in px."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.hub.public import public_checkpoint

if TYPE_CHECKING:
    from hf_handdiff.video.reading import Frame
    from hf_handdiff.video.sequence import SmoothHand


@dataclass(frozen=True)
class HandToPredict:
    """One hand of an image.

    Attributes:
        box: (x0, y0, x1, y1) px around it, or None: the whole image is the crop.
        handedness: "left" or "right".
        keypoints: (21, 2) px that replace the built-in estimate, or None.
    """

    box: tuple[float, ...] | None
    handedness: str
    keypoints: np.ndarray | None = None


def prediction_record(
    output: Any, index: int, hand: HandToPredict, image_size: tuple[int, int], seed: int, checkpoint: str
) -> dict[str, Any]:
    """The content of NAME.json for one hand, arrays still as numpy arrays; 3D is wrist-relative, in camera axes.

    `box_px` is the image's own where the whole image was the crop; `translation_m` is None without intrinsics. Of a
    checkpoint in a folder it tells the name, not the path.

    Args:
        output: of a pipeline, as numpy arrays.
        index: which hand of the output.
        hand: as it was asked for.
        image_size: (height, width) px.
        seed: of the call.
        checkpoint: folder or Hub repository of the weights.
    """
    height, width = image_size
    return {
        "joints_m": output.joints[index],
        "joint_hypotheses_m": output.joint_hypotheses[index],
        "mean_joints_m": output.mean_joints[index],
        "joint_std_m": output.joint_std[index],
        "mean_vertices_m": output.mean_vertices[index],
        "keypoints_2d_px": output.keypoints_2d[index],
        "keypoint_scores": output.keypoint_scores[index],
        "translation_m": None if output.translation is None else output.translation[index],
        "hand_score": float(output.hand_score[index]),
        "handedness": hand.handedness,
        "box_px": [0.0, 0.0, float(width), float(height)] if hand.box is None else list(hand.box),
        "seed": seed,
        "checkpoint": public_checkpoint(checkpoint),
    }


def prediction_arrays(record: Mapping[str, Any], output: Any, index: int) -> dict[str, np.ndarray]:
    """The content of NAME.npz: what the record of a hand tells, and the vertices of all hypotheses."""
    arrays = {key: np.asarray(value) for key, value in record.items() if value is not None}
    return {**arrays, "vertices_m": output.vertices[index], "faces": np.asarray(output.faces)}


def frame_record(frame: Frame, hands: Mapping[int, SmoothHand], with_vertices: bool = False) -> dict[str, Any]:
    """The JSON line of a frame, arrays still as numpy arrays; 3D is wrist-relative, in camera axes.

    Args:
        frame: the frame.
        hands: its hands by number.
        with_vertices: also the meshes.
    """
    return {
        "frame": frame.number,
        "time_s": round(frame.time_s, 6),
        "hands": [
            {
                "id": number,
                "handedness": hand.own.handedness,
                "hand_score": hand.own.hand_score,
                "box_px": hand.own.box,
                "joints_m": hand.joints,
                "joint_std_m": hand.own.joint_std,
                "keypoints_2d_px": hand.keypoints,
                "keypoint_scores": hand.own.scores,
                "translation_m": hand.translation,
                "linked_hypothesis": hand.linked,
                "frame_joints_m": hand.own.mean_joints,
                "frame_keypoints_2d_px": hand.own.keypoints,
                **({"vertices_m": hand.vertices} if with_vertices else {}),
            }
            for number, hand in hands.items()
        ],
    }


def record_as_json(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON: arrays as nested lists, rounded to 7 decimals, NaN as null."""
    return json.dumps(_jsonable(record), allow_nan=False, separators=(",", ":"))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        rounded = np.round(value.astype(np.float64), 7)
        value = rounded.tolist()
        if np.isfinite(rounded).all():
            return value
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
