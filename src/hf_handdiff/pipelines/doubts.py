"""What the image says against the arguments that came with it: a side that it does not show, points that lie elsewhere.

Nothing is corrected. The caller is told, by a warning and by two scores of the output.
"""

import torch
from diffusers.utils import logging

from hf_handdiff import camera
from hf_handdiff.models.image_encoder import HandImageEncoderOutput
from hf_handdiff.models.keypoint_distribution import KeypointDistribution
from hf_handdiff.pipelines.hand_side import LOW_SIDE_SCORE
from hf_handdiff.pipelines.inputs import HandRequest

logger = logging.get_logger(__name__)

LOW_AGREEMENT = 0.5
"""Below it the caller's 2D points are taken to be another hand's: chosen on validation renders."""
_AGREES_WITHIN_STD = 3.0
_AGREES_WITHIN_EXTENT = 0.15
"""A point agrees within so many standard deviations of the encoder's belief, or this share of the hand's extent."""


def keypoint_agreement(encoded: HandImageEncoderOutput, request: HandRequest) -> torch.Tensor:
    """How many of the caller's 2D points lie where the encoder sees them.

    Args:
        encoded: of the same B hands.
        request: with `keypoints`.

    Returns:
        (B,) 0..1.
    """
    own = camera.crop_to_pixels(encoded.keypoints.float().cpu(), request.crops)
    return _share_that_agrees(request.keypoints, own, _reach(encoded, own, request.crops))


def _reach(encoded: HandImageEncoderOutput, own: torch.Tensor, crops: torch.Tensor) -> torch.Tensor:
    """(B, 21) px: how far off a point still agrees."""
    extent = (own.amax(1) - own.amin(1)).amax(-1, keepdim=True)
    reach = (_AGREES_WITHIN_EXTENT * extent).expand(own.shape[:2])
    if encoded.distribution is not None:
        belief: KeypointDistribution = encoded.distribution.to("cpu", torch.float32).scaled(crops[:, 2])
        deviation = (belief.covariance().diagonal(dim1=-2, dim2=-1).sum(-1) / 2).sqrt()
        reach = torch.maximum(reach, _AGREES_WITHIN_STD * deviation)
    return reach


def _share_that_agrees(points: torch.Tensor, own: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Of the points (B, 21, 2) px that are not NaN."""
    seen = torch.isfinite(points).all(-1)
    near = seen & ((points - own).norm(dim=-1) < reach)
    return near.sum(-1) / seen.sum(-1)


def warn_of_doubts(request: HandRequest, side: torch.Tensor, agreement: torch.Tensor, encoded) -> None:
    """Log a warning for each kind of argument that the images speak against.

    Args:
        request: of B hands.
        side, agreement: (B,) of `side_score` and `keypoint_agreement`, NaN where there is none.
        encoded: the encoder's answer, or None.
    """
    wrong = (side < LOW_SIDE_SCORE).nonzero().flatten().tolist()
    if wrong:
        told = sorted({request.handedness[index] for index in wrong})
        other = "left or right" if len(told) > 1 else {"left": "right", "right": "left"}[told[0]]
        logger.warning(
            f"handedness: {_hands(wrong, len(side))} told to be {' and '.join(told)} and seen as {other}: "
            f"side_score {_values(side[wrong])}; of the wrong side an answer is worth little"
        )
    apart = (agreement < LOW_AGREEMENT).nonzero().flatten().tolist()
    if apart:
        logger.warning(
            f"keypoints_2d: {_hands(apart, len(side))} seen elsewhere in the image than these points say: "
            f"keypoint_agreement {_values(agreement[apart])}{_swapped(request, encoded, apart)}"
        )


def _swapped(request: HandRequest, encoded: HandImageEncoderOutput, rows: list[int]) -> str:
    own = camera.crop_to_pixels(encoded.keypoints.float().cpu(), request.crops)
    points = request.keypoints.clone()
    left = request.is_left
    points[left, :, 0] = request.widths[left, None] - points[left, :, 0]  # as the caller gave them
    points = points.flip(-1)
    points[left, :, 0] = request.widths[left, None] - points[left, :, 0]
    share = _share_that_agrees(points, own, _reach(encoded, own, request.crops))[rows]
    return "; with x and y exchanged they would lie there" if (share >= LOW_AGREEMENT).all() else ""


def _hands(rows: list[int], count: int) -> str:
    if count == 1:
        return "the hand is"
    return f"hand {rows[0]} is" if len(rows) == 1 else f"hands {', '.join(map(str, rows))} are"


def _values(scores: torch.Tensor) -> str:
    return ", ".join(f"{score:.2f}" for score in scores.tolist())
