"""What a heatmap adds to landmarks: the step from the landmark head to the keypoints."""

import torch


def refine_keypoints(
    landmarks: torch.Tensor, evidence: torch.Tensor, prior_std: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves landmarks by what a heatmap adds to a Gaussian prior round them.

    posterior = softmax(log prior + evidence) over the cells; the offset is the posterior's mean minus the
    prior's mean, so evidence that is constant over the map gives an offset of exactly zero, also at the
    border.

    landmarks (B, K, 2) crop units, evidence (B, K, H, W) -> keypoints (B, K, 2), logits of the posterior (B,
    K, H, W).
    """
    height, width = evidence.shape[-2:]
    x = (torch.arange(width, device=evidence.device, dtype=evidence.dtype) + 0.5) / width
    y = (torch.arange(height, device=evidence.device, dtype=evidence.dtype) + 0.5) / height
    centre = landmarks.detach()
    distance_x = x - centre[..., :1]  # (B, K, W)
    distance_y = y - centre[..., 1:]  # (B, K, H)
    log_prior = -0.5 * (distance_x[:, :, None].square() + distance_y[..., None].square()) / prior_std**2
    logits = log_prior + evidence
    offset = _expected_position(logits, x, y) - _expected_position(log_prior, x, y)
    return landmarks + offset, logits


def _expected_position(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean cell centre under softmax(logits): (B, K, H, W), (W,), (H,) -> (B, K, 2)."""
    probability = logits.flatten(2).softmax(dim=-1).unflatten(2, logits.shape[-2:])
    expected_x = (probability.sum(dim=2) * x).sum(dim=-1)
    expected_y = (probability.sum(dim=3) * y).sum(dim=-1)
    return torch.stack([expected_x, expected_y], dim=-1)
