"""What most users would take instead, as a predictor of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.evaluation.batches import HandBatch
from hf_handdiff.hand.topology import NUM_JOINTS
from hf_handdiff.models.mediapipe_hands import load_mediapipe_hands, pad_to_square, padded_side

BASELINES = ("mediapipe",)


@dataclass
class BaselinePrediction:
    """One hand an image, without mesh and uncertainty; see `batches.Prediction`.

    Attributes:
        joints: (B, 1, 21, 3) m, wrist-relative, camera axes; NaN where no hand was found.
        mean_joints: (B, 21, 3) m, the same.
        joint_std: (B, 21) NaN.
        keypoints_2d: (B, 21, 2) px; NaN where no hand was found.
        hand_score: (B,) 0..1; 0 where no hand was found.
        found: (B,) bool.
    """

    joints: Tensor
    mean_joints: Tensor
    joint_std: Tensor
    keypoints_2d: Tensor
    hand_score: Tensor
    found: np.ndarray
    vertices: None = None
    mean_vertices: None = None
    joint_hypotheses: None = None


class MediaPipeBaseline:
    """MediaPipe's hand solution, palm detector and landmark network, on each whole image as a photo of its own.

    Its world landmarks are metres in camera axes (x right, y down, z away) about the hand's middle; the wrist is
    subtracted. Of the hands that it finds the one nearest to the true hand counts, whichever side it takes it for;
    one whose middle is farther off than half the true hand's box is another hand: the true one was not found. This
    look at the truth is in the baseline's favour.

    Raises:
        InputError: MediaPipe is not installed.
    """

    def __init__(self):
        self._hands = load_mediapipe_hands("--baseline", max_num_hands=2)
        self.name = f"MediaPipe {version('mediapipe')}"

    def __call__(self, batch: HandBatch) -> BaselinePrediction:
        """Predict the hands of a batch."""
        truths = batch.keypoints_px.numpy()
        answers = [self._predict(image, truth) for image, truth in zip(batch.images, truths, strict=True)]
        joints, keypoints, scores = (
            torch.from_numpy(np.stack(values)).float() for values in zip(*answers, strict=True)
        )
        return BaselinePrediction(
            joints=joints.unsqueeze(1),
            mean_joints=joints,
            joint_std=torch.full(joints.shape[:2], torch.nan),
            keypoints_2d=keypoints,
            hand_score=scores,
            found=torch.isfinite(joints).flatten(1).all(dim=1).numpy(),
        )

    def close(self) -> None:
        """Free MediaPipe's resources."""
        self._hands.close()

    def _predict(self, image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(21, 3) m, (21, 2) px and the score of the hand at the true keypoints (21, 2) px of one image."""
        result = self._hands.process(pad_to_square(image))
        found = [
            padded_side(image) * np.array([(point.x, point.y) for point in hand.landmark])
            for hand in result.multi_hand_landmarks or ()
        ]
        low, high = truth.min(0), truth.max(0)
        offsets = [np.linalg.norm((low + high - points.min(0) - points.max(0)) / 2) for points in found]
        if not found or min(offsets) > (high - low).max() / 2:
            return np.full((NUM_JOINTS, 3), np.nan), np.full((NUM_JOINTS, 2), np.nan), np.zeros(())
        chosen = int(np.argmin(offsets))
        world = result.multi_hand_world_landmarks[chosen].landmark
        world = np.array([(point.x, point.y, point.z) for point in world])
        score = result.multi_handedness[chosen].classification[0].score
        return world - world[0], found[chosen], np.array(score)


def load_baseline(name: str) -> MediaPipeBaseline:
    """The baseline of a name of `BASELINES`."""
    return {"mediapipe": MediaPipeBaseline}[name]()
