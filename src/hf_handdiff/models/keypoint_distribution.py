"""What the image encoder believes of its 2D keypoints: one distribution over the whole hand.

The errors of keypoints go together: along a finger, or over all of the hand where the wrong one was looked at. So the
covariance of the 42 coordinates is of low rank plus a diagonal, F F^T + diag(s^2): the columns of F move many joints
at once, s is what each joint errs by itself. And some hands are missed altogether, more than a normal distribution has
room for: it is a multivariate t distribution with few degrees of freedom, a normal one whose scale is drawn for each
hand.
"""

from dataclasses import dataclass

import torch

from hf_handdiff.models.hand_framing import NUM_KEYPOINTS
from hf_handdiff.models.keypoint_descriptors import DescriptorHead

UNTRAINED_LOG_NOISE = -3.5
"""Log of `noise`, in units of the square, that a new head begins with: 3 % of it."""
LARGEST_LOG_NOISE, SMALLEST_LOG_NOISE = 1.0, -6.0
DEGREES_OF_FREEDOM = 5
"""Of the t distribution."""
FACTOR_UNIT = 0.03
"""One unit of the network's answer, in units of the square."""


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
        """Of errors (B, 21, 2), up to a constant: (B,); in float32 whatever the precision around it, in less of which
        small noise beside large factors is no covariance any more.
        """
        with torch.autocast(error.device.type, enabled=False):
            return self.to(torch.float32)._log_likelihood(error.float())

    def _log_likelihood(self, error: torch.Tensor) -> torch.Tensor:
        factor, _ = torch.linalg.cholesky_ex(self.full_covariance())  # without a look that waits for a GPU
        white = torch.linalg.solve_triangular(factor, error.flatten(1)[..., None], upper=False)
        distance = white.square().sum((1, 2))
        log_volume = factor.diagonal(dim1=1, dim2=2).log().sum(-1)
        tail = (DEGREES_OF_FREEDOM + error[0].numel()) / 2
        return -log_volume - tail * torch.log1p(distance / DEGREES_OF_FREEDOM)


def _determinant(matrix: torch.Tensor) -> torch.Tensor:
    """Of (..., 2, 2), written out: ONNX has no such operator."""
    return matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] * matrix[..., 1, 0]


class KeypointDistributionHead(DescriptorHead):
    """From what the encoder knows of a square to the distribution of its keypoints.

    Args:
        num_inputs: see `describe_keypoints`.
        num_factors: columns R of F.
        hidden_size: width.
    """

    def __init__(self, num_inputs: int, num_factors: int, hidden_size: int):
        super().__init__(num_inputs, hidden_size, NUM_KEYPOINTS * (2 * num_factors + 1))
        self.num_factors = num_factors

    def forward(self, inputs: torch.Tensor) -> KeypointDistribution:
        """(B, num_inputs) -> distributions in units of the square."""
        answer = super().forward(inputs)
        factors, log_noise = answer.split([NUM_KEYPOINTS * 2 * self.num_factors, NUM_KEYPOINTS], dim=-1)
        return KeypointDistribution(
            factors=FACTOR_UNIT * factors.unflatten(-1, (NUM_KEYPOINTS, 2, self.num_factors)),
            noise=log_noise.clamp(SMALLEST_LOG_NOISE, LARGEST_LOG_NOISE).exp(),
        )
