"""What lies below the heads of the image encoder: a backbone's maps at some scales, fused to one map.

The backbone is the built-in hand landmark network or any that transformers' `AutoBackbone` knows. Either has
`out_features` (names of its maps), `channels` (of each map) and `pooled_channels`, and gives maps and pooled features.
"""

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_BACKBONE_MAPPING, AutoBackbone, PreTrainedConfig

from hf_handdiff.errors import InputError


class TransformersBackbone(nn.Module):
    """A backbone of transformers, of random weights, in the form of `HandLandmarkBackbone`.

    Attributes:
        model: the backbone itself.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.model = AutoBackbone.from_config(config, dtype=torch.get_default_dtype())
        self.out_features = tuple(self.model.out_features)
        self.channels = tuple(self.model.channels)
        self.pooled_channels = self.channels[-1]

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(B, 3, S, S) -> maps (B, C, side, side) as `channels` says, fine to coarse; mean of the last one (B, C)."""
        # channels first: with channels last, the backward pass of a ResNet crashes on a CPU (torch 2.13)
        maps = [_as_map(features) for features in self.model(x.contiguous()).feature_maps]
        return maps, maps[-1].mean(dim=(2, 3))


def _as_map(features: torch.Tensor) -> torch.Tensor:
    """A map (B, C, H, W) as it is; tokens (B, N, C) of a square, with or without a class token before them, as one."""
    if features.ndim == 4:
        return features
    side = isqrt(features.shape[1])
    tokens = features[:, features.shape[1] - side**2 :]
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def to_backbone_config(value: dict | PreTrainedConfig | None) -> PreTrainedConfig | None:
    """The configuration of a backbone from its fields; None, the built-in one, stays None.

    Raises:
        InputError: `AutoBackbone` knows no such model.
    """
    if isinstance(value, dict):
        model_type = value.get("model_type")
        if model_type not in CONFIG_MAPPING:
            raise InputError(f"backbone_config: expected a model_type that transformers knows, got {model_type!r}")
        value = CONFIG_MAPPING[model_type].from_dict(dict(value))
    if value is not None and type(value) not in MODEL_FOR_BACKBONE_MAPPING:
        raise InputError(f"backbone_config: expected that of an AutoBackbone, got {type(value).__name__}")
    return value


def patch_size_of(config: PreTrainedConfig) -> int:
    """Side in pixels of the patches into which a backbone cuts its image; 1 if it does not."""
    size = getattr(config, "patch_size", None) or 1
    return size if isinstance(size, int) else max(size)


class FeatureFusion(nn.Module):
    """Brings maps of any scales to one by lateral 1x1 convolutions and sums, then mixes it.

    Args:
        names: of the maps.
        map_channels: of each of them.
        channels: of the result, a multiple of `norm_groups`.
        norm_groups: groups of its normalisation.
    """

    def __init__(self, names: Sequence[str], map_channels: Sequence[int], channels: int, norm_groups: int):
        super().__init__()
        self._laterals = [f"lateral_{name.replace('.', '_')}" for name in names]
        for lateral, width in zip(self._laterals, map_channels, strict=True):
            self.add_module(lateral, nn.Conv2d(width, channels, 1))
        self.norm = nn.GroupNorm(norm_groups, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Sequence[torch.Tensor], size: int) -> torch.Tensor:
        """Maps (B, C', side, side), sides that never grow -> (B, C, size, size).

        Coarse maps are handed on from scale to scale, enlarged at each; maps finer than the result are averaged.
        """
        coarse, fine = None, []
        for lateral, x in zip(reversed(self._laterals), reversed(maps), strict=True):
            project, side = getattr(self, lateral), int(x.shape[-1])
            if side > size:
                fine.append(project(_average(x, size)))
            else:
                coarse = project(x) if coarse is None else project(x) + _enlarge(coarse, side)
        parts = fine if coarse is None else [_enlarge(coarse, size), *fine]
        fused = parts[0]
        for part in parts[1:]:
            fused = fused + part
        fused = F.silu(self.norm(fused))
        return fused + F.silu(self.mix(fused))


def _enlarge(x: torch.Tensor, side: int) -> torch.Tensor:
    if int(x.shape[-1]) == side:
        return x
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def _average(x: torch.Tensor, side: int) -> torch.Tensor:
    ratio, rest = divmod(int(x.shape[-1]), side)
    return F.adaptive_avg_pool2d(x, side) if rest else F.avg_pool2d(x, ratio)
