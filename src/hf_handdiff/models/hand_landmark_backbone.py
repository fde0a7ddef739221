"""The hand landmark network of MediaPipe 0.10.21 (Apache-2.0) as plain PyTorch stages: the built-in backbone.

Its weights are converted by `scripts/convert_hand_landmark.py`. The hand detector is built of the same blocks.
"""

import torch
import torch.nn.functional as F
from torch import nn

# The converted backbone: (kernel size, stride of the first block, output channels, hidden channels of every
# block). It is EfficientNet-Lite0 without the squeeze-and-excite layers; the first hidden width of 64 is the
# original's.
BACKBONE_STAGES = {
    "stage1": (3, 2, 24, (64, 144)),
    "stage2": (5, 2, 40, (144, 240)),
    "stage3": (3, 2, 80, (240, 480, 480)),
    "stage4": (5, 1, 112, (480, 672, 672)),
    "stage5": (5, 2, 192, (672, 1152, 1152, 1152)),
}
STEM_CHANNELS = (24, 16)
POOLED_CHANNELS = 1152
TRUNK_CHANNELS, TRUNK_STRIDE = BACKBONE_STAGES["stage4"][2], 16


class SameConv2d(nn.Conv2d):
    """Padded as TensorFlow's "SAME" pads an even-sized input: with stride 2, one row more at the far side."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1):
        symmetric = (kernel_size - 1) // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=symmetric, groups=groups)
        total = kernel_size - stride
        self.far_side_padding = None if stride == 1 else (total // 2, total - total // 2) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        if self.far_side_padding is not None:
            x = F.pad(x, self.far_side_padding)
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (depthwise), project (1x1), a skip where the shape allows; norms are folded in."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int, kernel_size: int, stride: int):
        super().__init__()
        self.expand = nn.Conv2d(in_channels, hidden_channels, 1)
        self.depthwise = SameConv2d(hidden_channels, hidden_channels, kernel_size, stride, groups=hidden_channels)
        self.project = nn.Conv2d(hidden_channels, out_channels, 1)
        self.has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        y = F.relu6(self.expand(x), inplace=True)
        y = F.relu6(self.depthwise(y), inplace=True)
        y = self.project(y)
        return x + y if self.has_skip else y


class HandLandmarkTrunk(nn.Module):
    """The first part of MediaPipe's hand landmark network: images to maps at a quarter, an eighth, a sixteenth."""

    last_stage = 4

    def __init__(self):
        super().__init__()
        width, channels = STEM_CHANNELS
        self.stem = SameConv2d(3, width, 3, stride=2)
        self.stem_depthwise = SameConv2d(width, width, 3, groups=width)
        self.stem_project = nn.Conv2d(width, channels, 1)
        for name, (kernel_size, stride, out_channels, hidden_widths) in list(BACKBONE_STAGES.items())[
            : self.last_stage
        ]:
            blocks = []
            for index, hidden in enumerate(hidden_widths):
                blocks.append(
                    InvertedResidual(channels, hidden, out_channels, kernel_size, stride if index == 0 else 1)
                )
                channels = out_channels
            self.add_module(name, nn.Sequential(*blocks))

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, S, S) -> maps of 24, 40, 112 channels at S/4, S/8, S/16."""
        x = F.relu6(self.stem(x), inplace=True)
        x = F.relu6(self.stem_depthwise(x), inplace=True)
        quarter = self.stage1(self.stem_project(x))
        eighth = self.stage2(quarter)
        return [quarter, eighth, self.stage4(self.stage3(eighth))]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, 112, S/16, S/16)."""
        return self.maps(x)[-1]


class HandLandmarkBackbone(HandLandmarkTrunk):
    """The whole trunk of MediaPipe's hand landmark network: images to maps at four scales and a pooled vector.

    Attributes:
        out_features: names of the maps, by their share of the image's side.
        channels: of each map.
        pooled_channels: of the pooled vector.
    """

    last_stage = 5
    out_features = ("quarter", "eighth", "sixteenth", "thirty_second")
    channels = tuple(BACKBONE_STAGES[stage][2] for stage in ("stage1", "stage2", "stage4", "stage5"))
    pooled_channels = POOLED_CHANNELS

    def __init__(self):
        super().__init__()
        channels = BACKBONE_STAGES["stage5"][2]
        self.final_expand = nn.Conv2d(channels, POOLED_CHANNELS, 1)
        self.final_depthwise = SameConv2d(POOLED_CHANNELS, POOLED_CHANNELS, 3, groups=POOLED_CHANNELS)

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(B, 3, S, S) -> maps of 24, 40, 112, 192 channels at S/4, S/8, S/16, S/32; pooled (B, 1152)."""
        maps = self.maps(x)
        maps.append(self.stage5(maps[-1]))
        x = F.relu6(self.final_expand(maps[-1]), inplace=True)
        x = F.relu6(self.final_depthwise(x), inplace=True)
        return maps, x.mean(dim=(2, 3))
