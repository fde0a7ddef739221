"""What the image encoder is trained on: pure functions of its output and an augmented batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps

import torch
import torch.nn.functional as F

from hf_handdiff.camera import rays_of_pixels, rotation_to_axis
from hf_handdiff.data.augmentation import crop_intrinsics
from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.models.image_encoder import HandImageEncoderOutput


def without_autocast(function):
    """A function of an encoder's output that computes in float32: eight bits tell neither pixels nor millimetres."""

    @wraps(function)
    def in_full(output, *others):
        with torch.autocast(output.keypoints.device.type, enabled=False):
            return function(output, *others)

    return in_full


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, which then are all of about the same size at the start.

    keypoints, initial_keypoints: L1 in crop units of the refined points and of the landmark head alone.
    heatmap: Kullback-Leibler divergence of the posterior from a Gaussian of `heatmap_std` (crop units) at the
        truth.
    visibility, presence: cross-entropies of the keypoint scores and of the hand score.
    joints: L1 of the auxiliary 3D points, metres.
    side: cross-entropy of the side, of an encoder that tells it.
    photo_visibility: weight of a visibility on photos, where one on renders has 1.
    hidden, outside: weight of a 2D point that is hidden, or outside of the crop, where a visible one has 1.
    """

    keypoints: float = 10.0
    initial_keypoints: float = 5.0
    heatmap: float = 0.1
    visibility: float = 0.2
    presence: float = 0.2
    joints: float = 10.0
    side: float = 0.2
    photo_visibility: float = 0.5
    hidden: float = 0.4
    outside: float = 0.1
    heatmap_std: float = 0.03


@without_autocast
def encoder_loss(
    output: HandImageEncoderOutput, batch: dict[str, torch.Tensor], weights: LossWeights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Weighted sum and the single terms (unweighted means) for a batch of `augment_batch`.

    Photos that networks labelled are in the same batch: `keypoint_weight` (B, 21) says how much each joint's label
    counts, `is_metric` (B,) whether its 3D points have a size, or a shape alone.  Without the two all count in full.
    Of crops that were mirrored (`is_mirrored` (B,)), hands of the wrong side, nothing is learned but that.
    """
    mirrored = batch.get("is_mirrored", torch.zeros_like(batch["has_hand"], dtype=torch.bool))
    trust = batch.get("keypoint_weight", torch.ones_like(batch["keypoints"][..., 0]))
    metric = batch.get("is_metric", torch.ones_like(batch["has_hand"]))
    has_hand = (batch["has_hand"].bool() & ~mirrored).float()  # (B,)
    truth, visible = batch["keypoints"], batch["keypoints_visible"].float()
    in_crop = ((truth >= 0) & (truth <= 1)).all(dim=-1).float()  # (B, 21)
    weight = visible + (1 - visible) * (in_crop * weights.hidden + (1 - in_crop) * weights.outside)
    weight = weight * has_hand[:, None] * trust

    scores = F.binary_cross_entropy_with_logits(output.keypoint_score_logits, visible, reduction="none")
    divergence = heatmap_divergence(output.heatmap_logits, truth, weights.heatmap_std)
    error_3d = joint_errors(output.joints, view_joints(batch), metric)
    # That a joint of a photo is hidden is not labelled: only what an augmentation covers is known.
    score_weight = has_hand[:, None] * torch.where(metric[:, None], 1.0, weights.photo_visibility * trust)
    terms = {
        "keypoints": _mean((output.keypoints - truth).abs().sum(dim=-1), weight),
        "initial_keypoints": _mean((output.initial_keypoints - truth).abs().sum(dim=-1), weight),
        "heatmap": _mean(divergence, weight * in_crop),
        "visibility": _mean(scores, score_weight),
        "presence": F.binary_cross_entropy_with_logits(output.hand_logit, batch["has_hand"].float()),
        "joints": _mean(error_3d, has_hand[:, None] * trust),
    }
    if output.side_logit is not None:
        sides = F.binary_cross_entropy_with_logits(output.side_logit, (~mirrored).float(), reduction="none")
        terms["side"] = _mean(sides, batch["has_hand"].float())
    total = sum(getattr(weights, name) * value for name, value in terms.items())
    return total, {name: value.detach() for name, value in terms.items()}


@without_autocast
def seen_in_squares(
    output: HandImageEncoderOutput, batch: dict[str, torch.Tensor]
) -> tuple[HandImageEncoderOutput, dict[str, torch.Tensor]]:
    """What `encoder_loss` takes, of crops in which the encoder looked at squares of its own choice.

    Args:
        output: of crops (B, 3, S, S), which need not be framed.
        batch: of `augment_batch`, with labels in the crops.

    Returns:
        The output and the batch as they are if the squares of `output.frame` are the crops.
    """
    frame = HandFrame(*(value.detach().float() for value in vars(output.frame).values()))
    size, turn = batch["pixel_values"].shape[-1], frame.turn
    keypoints = frame.to_square(batch["keypoints"])
    in_square = ((keypoints >= 0) & (keypoints <= 1)).all(dim=-1)
    rotation = F.pad(turn, (0, 1, 0, 1))
    rotation[:, 2, 2] = 1.0
    intrinsics = crop_intrinsics(batch["intrinsics_px"], turn, size * frame.centre, size * frame.side, size)
    labels = {
        "keypoints": keypoints,
        "keypoints_visible": batch["keypoints_visible"] & in_square,
        "joints_m": batch["joints_m"] @ rotation.transpose(1, 2),
        "intrinsics_px": intrinsics,
    }
    points = {name: frame.to_square(output[name]) for name in ("keypoints", "initial_keypoints")}
    joints = output.joints.float() @ rotation.transpose(1, 2)
    return HandImageEncoderOutput(**{**output, **points, "joints": joints}), {**batch, **labels}


def joint_errors(found: torch.Tensor, truth: torch.Tensor, is_metric: torch.Tensor) -> torch.Tensor:
    """L1 errors (B, 21) of 3D points (B, 21, 3), wrist at 0, m.

    Where the truth has no size, both are centred and the truth is brought to the size that was found.
    """
    centred, shape = found - found.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    size = centred.detach().square().sum((1, 2)).sqrt() / shape.square().sum((1, 2)).sqrt().clamp_min(1e-6)
    scaled = centred - size[:, None, None] * shape
    return torch.where(is_metric[:, None, None], found - truth, scaled).abs().sum(dim=-1)


def heatmap_divergence(logits: torch.Tensor, truth: torch.Tensor, std: float) -> torch.Tensor:
    """KL(target || posterior) per keypoint, for targets that are Gaussians round the truth.

    logits (B, 21, H, W), truth (B, 21, 2) crop units -> (B, 21), in nats; never negative.
    """
    height, width = logits.shape[-2:]
    x = (torch.arange(width, device=logits.device) + 0.5) / width
    y = (torch.arange(height, device=logits.device) + 0.5) / height
    squares = (x - truth[..., :1]).square()[:, :, None] + (y - truth[..., 1:]).square()[..., None]
    target = (-0.5 * squares / std**2).flatten(2).log_softmax(dim=-1)
    posterior = logits.flatten(2).log_softmax(dim=-1)
    return (target.exp() * (target - posterior)).sum(dim=-1)


def view_joints(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The true joints (B, 21, 3), m, wrist-relative, in the frame that looks at the middle of the crop.

    The network does not know where in the camera's picture its crop lies, so only this frame can be told from
    the crop.
    """
    size = batch["pixel_values"].shape[-1]
    middle = torch.full_like(batch["joints_m"][:, :1, :2], size / 2)
    rotation = rotation_to_axis(rays_of_pixels(middle, batch["intrinsics_px"])[:, 0])
    joints = batch["joints_m"] - batch["joints_m"][:, :1]
    return joints @ rotation.transpose(1, 2)


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted mean; 0 where nothing counts."""
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)
