"""What most users would take instead, as a predictor of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from hf_handdiff.detection import load_mediapipe_hands, pad_to_square
from hf_handdiff.evaluation.protocol import NUM_JOINTS, HandBatch

BASELINES = ("mediapipe",)


@dataclass
class BaselinePrediction:
    """One hand an image, without mesh and uncertainty; see `protocol.Prediction`.

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
    subtracted. The first hand that it finds counts, whichever side it takes it for.

    Raises:
        InputError: MediaPipe is not installed.
    """

    def __init__(self):
        self._hands = load_mediapipe_hands("--baseline", max_num_hands=1)
        self.name = f"MediaPipe {version('mediapipe')}"

    def __call__(self, batch: HandBatch) -> BaselinePrediction:
        """Predict the hands of a batch."""
        answers = [self._predict(image) for image in batch.images]
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

    def _predict(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(21, 3) m, (21, 2) px and the score of one image."""
        square = pad_to_square(image)
        result = self._hands.process(square)
        if not result.multi_hand_landmarks:
            return np.full((NUM_JOINTS, 3), np.nan), np.full((NUM_JOINTS, 2), np.nan), np.zeros(())
        shares = np.array([(point.x, point.y) for point in result.multi_hand_landmarks[0].landmark])
        world = np.array([(point.x, point.y, point.z) for point in result.multi_hand_world_landmarks[0].landmark])
        score = result.multi_handedness[0].classification[0].score
        return world - world[0], shares * len(square), np.array(score)


def load_baseline(name: str) -> MediaPipeBaseline:
    """The baseline of a name of `BASELINES`."""
    return {"mediapipe": MediaPipeBaseline}[name]()
