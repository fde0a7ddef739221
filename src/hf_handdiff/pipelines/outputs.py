"""What the pipelines return."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput

Array = np.ndarray | torch.Tensor


@dataclass
class HandPipelineOutput(BaseOutput):
    """N hands for each of B images. Arrays are numpy or torch by `output_type`, float32 unless said otherwise.

    Camera frame: OpenCV axes (x right, y down, z away). "Wrist-relative" means in these axes with the wrist at 0.
    Pixels are those of the photo as it was given. Fields that a pipeline does not make are None.

    Args:
        joints: (B, N, 21, 3) m, wrist-relative. From stage 2 they are read off the meshes.
        vertices: (B, N, V, 3) m, wrist-relative.
        joint_hypotheses: (B, N, 21, 3) m, wrist-relative: what stage 1 proposed.
        mean_joints: (B, 21, 3) m: the one answer, by `aggregation`.
        mean_vertices: (B, V, 3) m: its mesh.
        joint_std: (B, 21) m: calibrated radius, the root mean square distance expected between the true joint and
            that of `mean_joints`.
        joint_std_calibrated: whether that radius was calibrated for how this call sampled (schedulers, steps, guidance,
            noise); False also where the checkpoint carries no calibration.
        keypoints_2d: (B, 21, 2) px: the 2D points that were used, NaN where one was not seen.
        keypoint_scores: (B, 21) 0..1.
        keypoint_cov: (B, 21, 2, 2) px²: what is believed of `keypoints_2d`, point by point, scaled so that the ellipse
            in which nine in ten points of a normal distribution lie holds nine in ten true ones; NaN where not seen.
        translation: (B, N, 3) m: the wrist in the camera frame; None without intrinsics.
        hand_score: (B,) 0..1: is there a hand in the crop at all; NaN without an image.
        side_score: (B,) 0..1: how sure it is that the hand is of the side that was told; NaN without an image.
        keypoint_agreement: (B,) 0..1: share of the keypoints that the caller gave that lie where the encoder sees them;
            NaN where it had no image or found the keypoints itself.
        faces: (F, 3) int64 vertex indices, counter-clockwise from outside for a right hand; a left hand is its
            mirror image, so reverse each triangle (`faces[:, ::-1]`) where the winding matters. None where the
            checkpoint's meshes are of a hand of the user's (MANO's) that was not given to `use_hand`.
        handedness: "left" or "right", one an image.
        crops: (B, 3) centre x, centre y and side in px of the square that the networks saw.
        image_indices: (B,) int64, with `boxes="detect"`: which of the images each hand was found in, else None.
        boxes: (B, 4) x0, y0, x1, y1 px, with `boxes="detect"`: where it was found, else None.
        global_orient: (B, 3) rad, axis-angle in camera axes: the parameters of the answer, with `aggregation="fitted"`.
            With the next three, `hand.posed_hand` gives `mean_vertices` again. Those of left hands are for the left
            hand of MANO.
        hand_pose: (B, 15, 3) rad, axis-angle in MANO's order, zero for the flat hand.
        betas: (B, 10).
        hand_scale: (B,) size of the hand about its wrist.
        hypothesis_parameters: with `fit="all"`, a dict of the same for every hypothesis, with an axis N after B.
        mean_translation: (B, 3) m: the wrist of `mean_joints` in the camera frame; None without intrinsics.
        metric_scale: (B,): by what all lengths above were multiplied, `hand_scale` too, so that the hand has the size
            that `hand_length_m` or `wrist_depth_m` gave; 1 without them.
    """

    joints: Array | None = None
    vertices: Array | None = None
    joint_hypotheses: Array | None = None
    mean_joints: Array | None = None
    mean_vertices: Array | None = None
    joint_std: Array | None = None
    joint_std_calibrated: bool | None = None
    keypoints_2d: Array | None = None
    keypoint_scores: Array | None = None
    keypoint_cov: Array | None = None
    translation: Array | None = None
    hand_score: Array | None = None
    side_score: Array | None = None
    keypoint_agreement: Array | None = None
    faces: Array | None = None
    handedness: list[str] | None = None
    crops: Array | None = None
    image_indices: Array | None = None
    boxes: Array | None = None
    global_orient: Array | None = None
    hand_pose: Array | None = None
    betas: Array | None = None
    hand_scale: Array | None = None
    hypothesis_parameters: dict | None = None
    mean_translation: Array | None = None
    metric_scale: Array | None = None

    def finish(self, output_type: str, return_dict: bool) -> "HandPipelineOutput | tuple":
        """Arrays by `output_type`, "np" or "pt"; without `return_dict` a tuple of the fields that are not None."""
        output = self
        if output_type == "np":
            output = HandPipelineOutput(**{name: _to_numpy(value) for name, value in self.items()})
        return output if return_dict else output.to_tuple()


def _to_numpy(value):
    if isinstance(value, dict):
        return {name: _to_numpy(one) for name, one in value.items()}
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value
