"""The trunk that both denoisers share: a residual MLP whose layer norms are driven by the diffusion time.

On a laptop's CPU a few large matrix products beat many small ones: this trunk over the flattened 21 joints is
a handful of them a step, a transformer over 21 tokens is hundreds. The two were not compared in accuracy here.
"""

import math

import torch
from torch import nn


def timestep_embedding(timesteps: torch.Tensor, dim: int) -> torch.Tensor:
    """Sinusoidal embedding of diffusion times (Ho et al. 2020, after Vaswani et al. 2017).

    Args:
        timesteps: (B,) integer or float steps in [0, 1000).
        dim: even embedding size.

    Returns:
        (B, dim) float32.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(1000.0) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * frequencies  # (B, dim / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeModulatedBlock(nn.Module):
    """h + MLP(norm(h) · (1 + scale) + shift), with scale and shift from the time embedding (adaptive norm)."""

    def __init__(self, width: int, time_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(time_dim, 2 * width)
        self.expand = nn.Linear(width, width)
        self.contract = nn.Linear(width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """hidden (B, width), time (B, time_dim) -> (B, width)."""
        scale, shift = self.modulation(time).chunk(2, dim=-1)
        update = self.norm(hidden) * (1 + scale) + shift
        return hidden + self.contract(nn.functional.gelu(self.expand(update)))


class ResidualMLP(nn.Module):
    """in_features + diffusion time -> out_features through `num_blocks` time-modulated residual blocks."""

    def __init__(self, in_features: int, out_features: int, width: int, num_blocks: int, time_dim: int = 128):
        super().__init__()
        self.time_dim = time_dim
        self.time = nn.Sequential(nn.Linear(time_dim, time_dim), nn.SiLU())
        self.project_in = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(TimeModulatedBlock(width, time_dim) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Linear(width, out_features)

    def forward(self, features: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """features (B, in_features), timesteps (B,) -> (B, out_features)."""
        time = self.time(timestep_embedding(timesteps, self.time_dim).to(features.dtype))
        hidden = self.project_in(features)
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.project_out(self.norm(hidden))
