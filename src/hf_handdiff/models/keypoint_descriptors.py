"""What the image encoder knows of a hand that it has looked at, as one vector, and the heads that read it.

They are trained after the rest of the encoder, which they leave as it is: they tell how far its answer can be trusted.
"""

import torch
import torch.nn.functional as F
from torch import nn

from hf_handdiff.models.hand_framing import NUM_KEYPOINTS

_LARGEST_INPUT = 6.0


class DescriptorHead(nn.Module):
    """A small network on normalised descriptors.

    Args:
        num_inputs: see `describe_keypoints`.
        hidden_size: width.
        num_outputs: numbers that it answers.
    """

    def __init__(self, num_inputs: int, hidden_size: int, num_outputs: int):
        super().__init__()
        self.register_buffer("input_mean", torch.zeros(num_inputs))
        self.register_buffer("input_std", torch.ones(num_inputs))
        self.layers = nn.Sequential(
            nn.Linear(num_inputs, hidden_size),
            nn.SiLU(),
            nn.Dropout(0.3),
            nn.Linear(hidden_size, hidden_size),
            nn.SiLU(),
        )
        self.out = nn.Linear(hidden_size, num_outputs)

    @torch.no_grad()
    def set_input_statistics(self, inputs: torch.Tensor) -> None:
        """Measure what inputs (N, num_inputs) are normalised by."""
        self.input_mean.copy_(inputs.mean(0))
        self.input_std.copy_(inputs.std(0) + 1e-3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, num_inputs) -> (B, num_outputs) float32."""
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = (inputs.float() - self.input_mean.float()) / self.input_std.float()
            hidden = inputs.clamp(-_LARGEST_INPUT, _LARGEST_INPUT).to(self.out.weight.dtype)
            return self.out(self.layers(hidden)).float()


class HandSideHead(DescriptorHead):
    """Is the hand of the side that it was taken for: the encoder expects right hands, left ones mirrored."""

    def __init__(self, num_inputs: int, hidden_size: int):
        super().__init__(num_inputs, hidden_size, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, num_inputs) -> logits (B,)."""
        return super().forward(inputs).squeeze(-1)


def num_descriptors(point_feature_size: int, global_feature_size: int) -> int:
    """How many numbers `describe_keypoints` makes of a hand."""
    return NUM_KEYPOINTS * (point_feature_size + 2 + 2 + 1 + 3 + 2) + global_feature_size + 1


def describe_keypoints(
    local: torch.Tensor,
    global_features: torch.Tensor,
    keypoints: torch.Tensor,
    initial_keypoints: torch.Tensor,
    score_logits: torch.Tensor,
    joints: torch.Tensor,
    heatmap_logits: torch.Tensor,
    hand_logit: torch.Tensor,
) -> torch.Tensor:
    """What the distribution is read from, brought to about the same size.

    Args:
        local: (B, 21, C) features under the keypoints.
        global_features: (B, G).
        keypoints, initial_keypoints: (B, 21, 2) after and before the refinement, units of the square.
        score_logits: (B, 21).
        joints: (B, 21, 3) m, the encoder's 3D estimate in the square's frame.
        heatmap_logits: (B, 21, H, W) of the refinement: their width tells of doubt.
        hand_logit: (B,).

    Returns:
        (B, num_descriptors) float32.
    """
    parts = [
        global_features,
        local.flatten(1),
        keypoints.flatten(1) - 0.5,
        10.0 * (keypoints - initial_keypoints).flatten(1),
        score_logits / 4.0,
        joints.flatten(1) / 0.07,
        _heatmap_widths(heatmap_logits).log().flatten(1) + 3.0,
        hand_logit[:, None] / 5.0,
    ]
    return torch.cat([part.float() for part in parts], dim=-1)


def _heatmap_widths(logits: torch.Tensor) -> torch.Tensor:
    """Standard deviations along x and y of softmax(logits): (B, K, H, W) -> (B, K, 2), units of the map."""
    probability = F.softmax(logits.float().flatten(2), dim=-1).unflatten(2, logits.shape[-2:])
    return torch.stack([_width(probability.sum(2)), _width(probability.sum(3))], dim=-1).clamp_min(1e-3)


def _width(probability: torch.Tensor) -> torch.Tensor:
    """Standard deviation of (B, K, n) over the places 0..1."""
    count = probability.shape[-1]
    place = (torch.arange(count, device=probability.device, dtype=probability.dtype) + 0.5) / count
    mean = (probability * place).sum(-1, keepdim=True)
    return (probability * (place - mean).square()).sum(-1).sqrt()
