"""The scene of a photo as files: a list of its hands, and one GLB with all of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_handdiff.export.records import outward_faces, parameter_convention
from hf_handdiff.hand.wrist_frame import wrist_frame
from hf_handdiff.viz.scene_glb import StandingHand, write_scene_glb

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline
    from hf_handdiff.scene import HandScene, SceneHand

_PARAMETERS = ("global_orient", "hand_pose", "betas", "hand_scale")


def hand_name(scene: HandScene, number: int) -> str:
    """What a hand of a scene is called in its files: "hand_0_right"."""
    return f"hand_{number}_{scene.hands[number].handedness}"


def scene_record(scene: HandScene) -> list[dict[str, Any]]:
    """The content of NAME_scene.json, a record for each hand, arrays still as numpy arrays.

    `joints_m`, `vertices_m`, `mean_translation_m` (the wrist) and `wrist_frame.position_m` are in the camera frame;
    `joints_m` of `wrist_frame` are in that of the wrist. `hypothesis` is the number of the hypothesis that stands in
    the answer's place, None for the answer; `penetration_m` how deep the hand and another go into each other.
    """
    return [
        {
            "name": hand_name(scene, number),
            "handedness": hand.handedness,
            "joints_m": hand.joints,
            "vertices_m": hand.vertices,
            "joint_std_m": hand.joint_std,
            "mean_translation_m": hand.translation,
            **_parameter_fields(scene, hand),
            "metric_scale": hand.metric_scale,
            "hypothesis": hand.hypothesis,
            "penetration_m": hand.penetration,
            "intrinsics_px": scene.intrinsics,
            "faces": outward_faces(scene.faces, hand.handedness),
        }
        for number, hand in enumerate(scene.hands)
    ]


def _parameter_fields(scene: HandScene, hand: SceneHand) -> dict[str, Any]:
    if hand.parameters is None:
        return dict.fromkeys((*_PARAMETERS, "convention", "wrist_frame"))
    values = hand.parameters
    frame = wrist_frame(values["global_orient"][None], (hand.joints - hand.translation)[None])
    return {
        **{name: values[name] for name in _PARAMETERS[:-1]},
        "hand_scale": float(values["hand_scale"]),
        "convention": parameter_convention(hand.handedness, scene.faces),
        "wrist_frame": {
            "rotation": frame.rotation[0].numpy(),
            "position_m": hand.translation,
            "joints_m": frame.joints[0].numpy(),
        },
    }


def write_scene_file(path: str | os.PathLike, pipeline: CascadedHandPipeline, scene: HandScene) -> None:
    """Write the hands of a scene as one GLB file, see `write_scene_glb`; hands without parameters get no bones.

    Args:
        path: the file to write.
        pipeline: what answered.
        scene: the hands.

    Raises:
        InputError: the parameters do not give the vertices of their hand.
    """
    hands = [
        StandingHand(
            hand_name(scene, number),
            hand.vertices,
            hand.joints,
            hand.joint_std,
            None if hand.parameters is None else hand.rig(pipeline.hand_layer),
        )
        for number, hand in enumerate(scene.hands)
    ]
    write_scene_glb(path, hands, np.asarray(scene.faces))
