"""What the image encoder believes of its 2D keypoints: one distribution over the whole hand.

The errors of keypoints go together: along a finger, or over all of the hand where the wrong one was looked at. So the
covariance of the 42 coordinates is of low rank plus a diagonal, F F^T + diag(s^2): the columns of F move many joints
at once, s is what each joint errs by itself. And some hands are missed altogether, more than a normal distribution has
room for: it is a multivariate t distribution with few degrees of freedom, a normal one whose scale is drawn for each
hand.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hf_handdiff.models.hand_framing import NUM_KEYPOINTS

UNTRAINED_LOG_NOISE = -3.5
"""Log of `noise`, in units of the square, that a new head begins with: 3 % of it."""
LARGEST_LOG_NOISE, SMALLEST_LOG_NOISE = 1.0, -6.0
DEGREES_OF_FREEDOM = 5
"""Of the t distribution."""
FACTOR_UNIT = 0.03
"""One unit of the network's answer, in units of the square."""
_LARGEST_INPUT = 6.0


@dataclass
class KeypointDistribution:
    """Distributions over the 2D keypoints of B hands, round their estimates.

    A draw is keypoints + s (factors @ z + noise e), with z (R,) and e standard normal, and the hand's s drawn so that
    1 / s^2 is chi-squared over its `DEGREES_OF_FREEDOM`.

    Attributes:
        factors: (B, 21, 2, R).
        noise: (B, 21) for each coordinate by itself.
    """

    factors: torch.Tensor
    noise: torch.Tensor

    @classmethod
    def independent(cls, noise: torch.Tensor) -> "KeypointDistribution":
        """Points that err each by itself: noise (B, 21)."""
        return cls(noise.new_zeros(*noise.shape, 2, 0), noise)

    @classmethod
    def of_marginals(cls, covariance: torch.Tensor) -> "KeypointDistribution":
        """The same of covariances (B, 21, 2, 2), of which the size counts and not the direction; NaN is kept."""
        return cls.independent(_determinant(covariance).clamp_min(0).pow(0.25))

    def to(self, *args, **kwargs) -> "KeypointDistribution":
        """`torch.Tensor.to` on both."""
        return KeypointDistribution(self.factors.to(*args, **kwargs), self.noise.to(*args, **kwargs))

    def mapped(self, jacobian: torch.Tensor) -> "KeypointDistribution":
        """The distribution of points that are mapped by (B, 2, 2) or, each by its own, (B, 21, 2, 2) matrices.

        The noise stays the same in all directions: it is scaled by the root of the determinant.
        """
        each = jacobian if jacobian.ndim == 4 else jacobian[:, None]
        scale = _determinant(each).abs().sqrt()
        return KeypointDistribution(each @ self.factors, self.noise * scale)

    def scaled(self, scale: torch.Tensor) -> "KeypointDistribution":
        """The distribution of points in other units: scale (B,)."""
        return KeypointDistribution(self.factors * scale[:, None, None, None], self.noise * scale[:, None])

    def covariance(self) -> torch.Tensor:
        """Marginals of the points: (B, 21, 2, 2)."""
        own = self.noise.square()[..., None, None] * torch.eye(2).to(self.noise)  # (B, 21, 2, 2)
        return self.factors @ self.factors.transpose(-1, -2) + own

    def full_covariance(self) -> torch.Tensor:
        """Of all coordinates, x and y of a point beside each other: (B, 42, 42)."""
        together = self.factors.flatten(1, 2)
        own = self.noise.square().repeat_interleave(2, dim=1)
        return together @ together.transpose(-1, -2) + torch.diag_embed(own)

    def log_likelihood(self, error: torch.Tensor) -> torch.Tensor:
        """Of errors (B, 21, 2), up to a constant: (B,)."""
        factor = torch.linalg.cholesky(self.full_covariance().float())
        white = torch.linalg.solve_triangular(factor, error.flatten(1)[..., None].float(), upper=False)
        distance = white.square().sum((1, 2))
        log_volume = factor.diagonal(dim1=1, dim2=2).log().sum(-1)
        tail = (DEGREES_OF_FREEDOM + error[0].numel()) / 2
        return -log_volume - tail * torch.log1p(distance / DEGREES_OF_FREEDOM)


def _determinant(matrix: torch.Tensor) -> torch.Tensor:
    """Of (..., 2, 2), written out: ONNX has no such operator."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


class KeypointDistributionHead(nn.Module):
    """From what the encoder knows of a square to the distribution of its keypoints.

    Args:
        num_inputs: see `describe_keypoints`.
        num_factors: columns R of F.
        hidden_size: width.
    """

    def __init__(self, num_inputs: int, num_factors: int, hidden_size: int):
        super().__init__()
        self.num_factors = num_factors
        self.register_buffer("input_mean", torch.zeros(num_inputs))
        self.register_buffer("input_std", torch.ones(num_inputs))
        self.layers = nn.Sequential(
            nn.Linear(num_inputs, hidden_size),
            nn.SiLU(),
            nn.Dropout(0.3),
            nn.Linear(hidden_size, hidden_size),
            nn.SiLU(),
        )
        self.out = nn.Linear(hidden_size, NUM_KEYPOINTS * (2 * num_factors + 1))

    @torch.no_grad()
    def set_input_statistics(self, inputs: torch.Tensor) -> None:
        """Measure what inputs (N, num_inputs) are normalised by."""
        self.input_mean.copy_(inputs.mean(0))
        self.input_std.copy_(inputs.std(0) + 1e-3)

    def forward(self, inputs: torch.Tensor) -> KeypointDistribution:
        """(B, num_inputs) -> distributions in units of the square."""
        with torch.autocast(inputs.device.type, enabled=False):
            inputs = (inputs.float() - self.input_mean.float()) / self.input_std.float()
            hidden = inputs.clamp(-_LARGEST_INPUT, _LARGEST_INPUT).to(self.out.weight.dtype)
            answer = self.out(self.layers(hidden)).float()
        factors, log_noise = answer.split([NUM_KEYPOINTS * 2 * self.num_factors, NUM_KEYPOINTS], dim=-1)
        return KeypointDistribution(
            factors=FACTOR_UNIT * factors.unflatten(-1, (NUM_KEYPOINTS, 2, self.num_factors)),
            noise=log_noise.clamp(SMALLEST_LOG_NOISE, LARGEST_LOG_NOISE).exp(),
        )


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
