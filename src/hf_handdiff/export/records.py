"""Answers as records: what NAME.json, NAME.npz and the lines of NAME.jsonl hold. Lengths in m, images in px."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.hand.mesh_kinds import known_faces
from hf_handdiff.hand.open_hand import mesh_of_faces
from hf_handdiff.hand.topology import OPEN_HAND
from hf_handdiff.hand.wrist_frame import wrist_frame
from hf_handdiff.hub.public import public_checkpoint

if TYPE_CHECKING:
    from hf_handdiff.video.reading import Frame
    from hf_handdiff.video.sequence import SmoothHand

_PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")
_CONVENTION = (
    "MANO's parameters of a {side} hand, hand layer: {layer}. Rotations are axis-angle vectors in rad; global_orient "
    "turns the hand about its wrist joint, in camera axes (x right, y down, z away); hand_pose is zero for the flat "
    "hand (no mean pose, no PCA), in MANO's order: index, middle, little, ring, thumb, each from the palm outwards. "
    "Vertices relative to the wrist are hand_scale * (posed vertices - posed wrist joint), in m."
)


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

    `box_px` is the image's own where the whole image was the crop; `translation_m` and `mean_translation_m` are None
    without intrinsics, a score is NaN where there is nothing to tell it from. `faces` are counter-clockwise from
    outside, of a left hand too. Of a checkpoint in a folder it tells the name, not the path. The parameters are those
    of `parameter_fields`.

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
        "translation_m": _row(output, "translation", index),
        "mean_translation_m": _row(output, "mean_translation", index),
        **parameter_fields(output, index),
        "faces": outward_faces(output.faces, hand.handedness),
        "hand_score": float(output.hand_score[index]),
        "side_score": float(output.side_score[index]),
        "keypoint_agreement": float(output.keypoint_agreement[index]),
        "handedness": hand.handedness,
        "box_px": [0.0, 0.0, float(width), float(height)] if hand.box is None else list(hand.box),
        "seed": seed,
        "checkpoint": public_checkpoint(checkpoint),
    }


def parameter_fields(output: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The parameters of a hand of an output, by which it can be posed again or retargeted.

    `global_orient` (3,), `hand_pose` (15, 3), `betas` (10,), `hand_scale`, a float; `convention` says in words what
    they mean. `wrist_frame` has `rotation` (3, 3), whose columns are the wrist's axes in camera axes, `position_m` (3,)
    in the camera frame, None without intrinsics, and `joints_m` (21, 3) in that frame (`hand.wrist_frame`). All of
    these are None where the answer has no parameters. `metric_scale`: by what the lengths were multiplied to have the
    size that the caller gave; 1 where none was given.

    Args:
        output: of a pipeline, as numpy arrays.
        index: which hand of it.
    """
    fields: dict[str, Any] = dict.fromkeys((*_PARAMETERS, "convention", "wrist_frame"))
    if output.get("global_orient") is not None:
        fields |= {name: output[name][index] for name in _PARAMETERS}
        fields["hand_scale"] = float(fields["hand_scale"])
        fields["convention"] = parameter_convention(output["handedness"][index], output.get("faces"))
        frame = wrist_frame(output["global_orient"][index][None], output["mean_joints"][index][None])
        fields["wrist_frame"] = {
            "rotation": frame.rotation[0].numpy(),
            "position_m": _row(output, "mean_translation", index),
            "joints_m": frame.joints[0].numpy(),
        }
    scale = _row(output, "metric_scale", index)
    return {**fields, "metric_scale": 1.0 if scale is None else float(scale)}


def outward_faces(faces: np.ndarray, handedness: str) -> np.ndarray:
    """The triangles (F, 3) of a pipeline's output, counter-clockwise from outside for a hand of that side.

    Raises:
        InputError: there are none, see `known_faces`.
    """
    faces = known_faces(faces)
    return faces[:, ::-1] if handedness == "left" else faces


def _row(output: Mapping[str, Any], name: str, index: int) -> Any:
    values = output.get(name)
    return None if values is None else values[index]


def parameter_convention(handedness: str, faces: np.ndarray | None) -> str:
    """What the parameters of a hand of that side mean, in words; `faces` (F, 3) tell which hand layer they are of."""
    layer = OPEN_HAND if faces is None else mesh_of_faces(faces)
    layer = "the open hand of hf_handdiff" if layer == OPEN_HAND else f"{layer}, the user's file"
    if handedness == "left":
        layer += ", mirrored by the plane x = 0"
    return _CONVENTION.format(side=handedness, layer=layer)


def prediction_arrays(record: Mapping[str, Any], output: Any, index: int) -> dict[str, np.ndarray]:
    """The content of NAME.npz: what the record of a hand tells, and the vertices of all hypotheses.

    What the record nests becomes `wrist_frame_rotation`, `wrist_frame_position_m`, `wrist_frame_joints_m`.
    """
    arrays: dict[str, np.ndarray] = {}
    for key, value in record.items():
        nested = value if isinstance(value, Mapping) else {"": value}
        named = {f"{key}_{name}" if name else key: inner for name, inner in nested.items()}
        arrays |= {name: np.asarray(inner) for name, inner in named.items() if inner is not None}
    return {**arrays, "vertices_m": output.vertices[index]}


def frame_record(frame: Frame, hands: Mapping[int, SmoothHand], with_vertices: bool = False) -> dict[str, Any]:
    """The JSON line of a frame, arrays still as numpy arrays; 3D is wrist-relative, in camera axes.

    `frame_joints_m`, `frame_keypoints_2d_px` and `frame_parameters` (see `parameter_fields`) are the frame's own
    answer; `joints_m`, `keypoints_2d_px`, `translation_m` and `vertices_m` are smoothed over the frames around it.

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
                "frame_parameters": parameter_fields(hand.own.output or {}, hand.own.index),
                **({"vertices_m": hand.vertices} if with_vertices else {}),
            }
            for number, hand in hands.items()
        ],
    }


def record_as_json(record: Mapping[str, Any] | list[Mapping[str, Any]]) -> str:
    """A record, or a list of them, as one line of JSON: arrays as nested lists, rounded to 7 decimals, NaN as null."""
    return json.dumps(_jsonable(record), allow_nan=False, separators=(",", ":"))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iu":
            return value.tolist()
        rounded = np.round(value.astype(np.float64), 7)
        value = rounded.tolist()
        if np.isfinite(rounded).all():
            return value
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
