"""A first, coarse look at a crop: where in it the hand is, how large and how it is turned.

The landmark network inside the image encoder was trained on hands that are upright and fill their crop, as
MediaPipe's tracker provides them, and is lost on others. This small network looks at the crop at half resolution
and says which turned square to cut out of it, so that the landmark pass is at what the landmark network knows.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from hf_handdiff.camera import BOX_MARGIN, crop_squares, rotation_2d, upright_angle

NUM_KEYPOINTS = 21
MAX_SHIFT, SMALLEST_SIDE, LARGEST_SIDE = 0.6, 0.25, 1.6


@dataclass
class HandFrame:
    """Turned squares inside crops, in crop units (0..1 across the crop).

    Attributes:
        centre: (B, 2) x, y.
        side: (B,) side of the square.
        angle: (B,) rad; turning the crop's picture by it (x towards y) makes the hand upright.
    """

    centre: torch.Tensor
    side: torch.Tensor
    angle: torch.Tensor

    @property
    def turn(self) -> torch.Tensor:
        """(B, 2, 2) rotations that turn the picture upright."""
        return rotation_2d(self.angle)

    def to_square(self, points: torch.Tensor) -> torch.Tensor:
        """Points (B, K, 2) in crop units -> units of the square (0..1 across it)."""
        return turned(points - self.centre[:, None], self.turn.transpose(1, 2)) / self.side[:, None, None] + 0.5

    def from_square(self, points: torch.Tensor) -> torch.Tensor:
        """Points (B, K, 2) in units of the square -> crop units."""
        return turned(self.side[:, None, None] * (points - 0.5), self.turn) + self.centre[:, None]

    def within(self, outer: "HandFrame") -> "HandFrame":
        """These squares, which are told in units of the squares `outer`, in the units of what `outer` lies in."""
        return HandFrame(
            centre=outer.from_square(self.centre[:, None])[:, 0],
            side=outer.side * self.side,
            angle=outer.angle + self.angle,
        )

    def crop(self, images: torch.Tensor, size: int | None = None) -> torch.Tensor:
        """Resample images (B, 3, S, S) so that the squares fill them; what lies outside is black. `size` px a side,
        None: S.
        """
        extent = images.shape[-1]
        return crop_squares(images, extent * self.centre, extent * self.side, self.angle, size or extent)


def turned(points: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Points (B, K, 2) @ (B, 2, 2), whatever an autocast says: eight bits are half a pixel of a crop."""
    with torch.autocast(device_type=points.device.type, enabled=False):
        return points @ turn


def frame_around_keypoints(points: torch.Tensor) -> HandFrame:
    """The upright squares round hands: keypoints (B, 21, 2) in crop units -> frames `BOX_MARGIN` times their boxes."""
    angle = upright_angle(points)
    upright = HandFrame(torch.zeros_like(points[:, 0]), torch.ones_like(angle), angle)
    turned = upright.to_square(points)  # (B, 21, 2)
    low, high = turned.amin(1, keepdim=True), turned.amax(1, keepdim=True)
    side = BOX_MARGIN * (high - low).amax(-1)[:, 0]
    return HandFrame(upright.from_square((low + high) / 2)[:, 0], side.clamp(SMALLEST_SIDE, LARGEST_SIDE), angle)


class HandFramingNet(nn.Module):
    """Images (B, 3, S, S) -> 47 numbers: shift of the centre (2), log of the side, cosine and sine of the angle, and
    coarse keypoints (21 x, y from the middle of the crop), which teach the network what it looks at.
    """

    def __init__(self, trunk: nn.Module, trunk_channels: int, trunk_size: int, channels: int, hidden_size: int):
        super().__init__()
        self.trunk = trunk
        self.reduce = nn.Conv2d(trunk_channels, channels, 1)
        self.hidden = nn.Linear(channels * trunk_size**2, hidden_size)
        self.out = nn.Linear(hidden_size, 5 + 2 * NUM_KEYPOINTS)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) RGB in 0..1 -> (B, 47) raw numbers for `decode` and `coarse_keypoints`."""
        features = self.reduce(self.trunk(F.avg_pool2d(pixel_values, 2)))
        with torch.autocast(device_type=features.device.type, enabled=False):
            hidden = F.silu(F.linear(features.float().flatten(1), self.hidden.weight.float(), self.hidden.bias.float()))
            return F.linear(hidden, self.out.weight.float(), self.out.bias.float())

    @staticmethod
    def decode(raw: torch.Tensor) -> HandFrame:
        """Raw numbers (B, 47) -> frames within sane limits."""
        centre = 0.5 + raw[:, :2].clamp(-MAX_SHIFT, MAX_SHIFT)
        side = raw[:, 2].exp().clamp(SMALLEST_SIDE, LARGEST_SIDE)
        cosine, sine = raw[:, 3], raw[:, 4]
        # an untrained network says (0, 0): no turn, as torch.atan2 has it, but of which an ONNX file would make NaN
        cosine = torch.where((cosine == 0) & (sine == 0), 1.0, cosine)
        return HandFrame(centre=centre, side=side, angle=torch.atan2(sine, cosine))

    @staticmethod
    def coarse_keypoints(raw: torch.Tensor) -> torch.Tensor:
        """Raw numbers (B, 47) -> keypoints (B, 21, 2) in crop units."""
        return 0.5 + raw[:, 5:].unflatten(1, (NUM_KEYPOINTS, 2))
