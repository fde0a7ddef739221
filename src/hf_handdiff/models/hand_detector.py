"""The hand detector's network: a square picture in, palms out, each a box with seven points and a score.

It is the palm detection network of MediaPipe 0.10.21 (Apache-2.0), written out as plain PyTorch stages so that its
weights can be converted (`scripts/convert_palm_detection.py`). Anchors, decoding and suppression are code here; which
parts of a photo are looked at and what a palm says about the whole hand is `detection.py`.

All positions are shares of the square picture: (x, y) from 0 to 1, x right, y down, origin at the outer corner of the
top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PretrainedConfig
from transformers import initialization as init
from transformers.utils import ModelOutput

from .base import HandModel
from .image_encoder import SameConv2d

NUM_POINTS = 7
POINT_WRIST, POINT_MIDDLE = 0, 2
"""Of the seven points: the wrist and the knuckle of the middle finger, which tell how a hand is turned. In order the
points are wrist, knuckles of index, middle, ring and little finger, and two joints of the thumb."""
ANCHORS_FINE, ANCHORS_COARSE = 2, 6
"""Anchors in each cell of the maps at an eighth and at a sixteenth of the picture."""


class HandDetectorConfig(PretrainedConfig):
    """Configuration of [`HandDetector`].

    Fields you may want to change:
        min_score: palms below it are dropped.
        same_palm_overlap: boxes that share more (intersection over union) are one palm, and are averaged.

    Fields that follow from the converted weights:
        image_size: side in pixels of the square input, a multiple of 32.
        widths: channels of the maps at a half, a quarter, an eighth, a sixteenth, a thirty-second.
        blocks_per_stage: residual blocks of each of these stages; the two stages on the way up have half as many.
    """

    model_type = "hand_detector"

    def __init__(
        self,
        image_size: int = 192,
        widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        blocks_per_stage: int = 4,
        min_score: float = 0.5,
        same_palm_overlap: float = 0.3,
        **kwargs,
    ):
        if image_size <= 0 or image_size % 32:
            raise ValueError(f"image_size must be a positive multiple of 32, got {image_size}")
        if len(widths) != 5 or any(a > b for a, b in zip(widths, widths[1:], strict=False)):
            raise ValueError(f"widths must be five numbers that never fall, got {widths}")
        self.image_size = image_size
        self.widths = tuple(widths)
        self.blocks_per_stage = blocks_per_stage
        self.min_score = min_score
        self.same_palm_overlap = same_palm_overlap
        super().__init__(**kwargs)


@dataclass
class HandDetectorOutput(ModelOutput):
    """Output of [`HandDetector`]; A = 2,016 anchors for a picture of 192 pixels.

    boxes: (B, A, 4) x0, y0, x1, y1 of a palm, shares of the picture.
    points: (B, A, 7, 2) its points, shares of the picture.
    score_logits: (B, A) `sigmoid` of it is the probability that there is a palm.
    """

    boxes: torch.FloatTensor | None = None
    points: torch.FloatTensor | None = None
    score_logits: torch.FloatTensor | None = None


@dataclass
class Palms:
    """K palms of one picture, surest first.

    Attributes:
        boxes: (K, 4) x0, y0, x1, y1, shares of the picture.
        points: (K, 7, 2) shares of the picture.
        scores: (K,) 0..1.
    """

    boxes: torch.Tensor
    points: torch.Tensor
    scores: torch.Tensor


class ResidualBlock(nn.Module):
    """Filter (5x5 depthwise), mix (1x1), add, PReLU. With stride 2 the skip is pooled and padded with zero channels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.depthwise = SameConv2d(in_channels, in_channels, 5, stride, groups=in_channels)
        self.mix = nn.Conv2d(in_channels, out_channels, 1)
        self.activation = nn.PReLU(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        skip = x if self.stride == 1 else F.max_pool2d(x, 2)
        if self.new_channels:
            skip = F.pad(skip, (0, 0, 0, 0, 0, self.new_channels))
        return self.activation(skip + self.mix(self.depthwise(x)))


class UpwardStage(nn.Module):
    """Brings a map to twice its size and to other channels, adds the map of that size from the way down, mixes."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int):
        super().__init__()
        self.lateral = nn.Conv2d(in_channels, out_channels, 1)
        self.activation = nn.PReLU(out_channels)
        self.blocks = nn.Sequential(*(ResidualBlock(out_channels, out_channels) for _ in range(num_blocks)))

    def forward(self, x: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W), finer (B, C', 2H, 2W) -> (B, C', 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.blocks(finer + self.activation(self.lateral(x)))


class PalmHead(nn.Module):
    """Scores and 18 numbers for each anchor of a map."""

    def __init__(self, channels: int, anchors_per_cell: int):
        super().__init__()
        self.score = nn.Conv2d(channels, anchors_per_cell, 1)
        self.place = nn.Conv2d(channels, anchors_per_cell * (4 + 2 * NUM_POINTS), 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) -> logits (B, H W anchors), numbers (B, H W anchors, 18): cell by cell, row by row."""
        scores = self.score(x).permute(0, 2, 3, 1).flatten(1)
        places = self.place(x).permute(0, 2, 3, 1).flatten(1)
        return scores, places.unflatten(1, (-1, 4 + 2 * NUM_POINTS))


class HandDetector(HandModel):
    """Square picture -> palms, of left and of right hands alike."""

    config_class = HandDetectorConfig
    main_input_name = "pixel_values"
    base_model_prefix = "hand_detector"

    def __init__(self, config: HandDetectorConfig):
        super().__init__(config)
        widths, num_blocks = config.widths, config.blocks_per_stage
        self.stem = SameConv2d(3, widths[0], 5, stride=2)
        self.stem_activation = nn.PReLU(widths[0])
        self.stages = nn.ModuleList()
        for index, width in enumerate(widths):
            blocks = [ResidualBlock(width, width) for _ in range(num_blocks)]
            if index:
                blocks.insert(0, ResidualBlock(widths[index - 1], width, stride=2))
            self.stages.append(nn.Sequential(*blocks))
        self.up_coarse = UpwardStage(widths[4], widths[3], num_blocks // 2)
        self.head_coarse = PalmHead(widths[3], ANCHORS_COARSE)
        self.up_fine = UpwardStage(widths[3], widths[2], num_blocks // 2)
        self.head_fine = PalmHead(widths[2], ANCHORS_FINE)
        self.register_buffer("anchors", anchor_centres(config.image_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """He initialisation; scores start low, since hardly any anchor has a palm."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, nn.PReLU):
            init.constant_(module.weight, 0.25)
        elif isinstance(module, PalmHead):
            init.constant_(module.score.bias, -4.0)
        elif module is self:
            init.copy_(self.anchors, anchor_centres(self.config.image_size))

    def forward(
        self, pixel_values: torch.Tensor, return_dict: bool | None = None
    ) -> HandDetectorOutput | tuple[torch.Tensor, ...]:
        """Look at pictures once.

        Args:
            pixel_values: (B, 3, S, S) RGB in 0..1; what is not square is padded with black.
            return_dict: False returns a tuple.
        """
        size = self.config.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise ValueError(f"pixel_values must be (B, 3, {size}, {size}), got {tuple(pixel_values.shape)}")
        x = self.stem_activation(self.stem(pixel_values))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        coarse = self.up_coarse(maps[4], maps[3])
        fine = self.up_fine(coarse, maps[2])
        (fine_scores, fine_places), (coarse_scores, coarse_places) = self.head_fine(fine), self.head_coarse(coarse)
        score_logits = torch.cat([fine_scores, coarse_scores], dim=1).float()
        places = torch.cat([fine_places, coarse_places], dim=1).float() / size
        anchors = self.anchors.float()
        centre, half = anchors + places[..., :2], places[..., 2:4] / 2
        output = HandDetectorOutput(
            boxes=torch.cat([centre - half, centre + half], dim=-1),
            points=anchors[:, None] + places[..., 4:].unflatten(-1, (NUM_POINTS, 2)),
            score_logits=score_logits,
        )
        return output.to_tuple() if return_dict is False else output

    @torch.no_grad()
    def palms(self, pixel_values: torch.Tensor, min_score: float | None = None) -> list[Palms]:
        """The palms of pictures (B, 3, S, S), one answer a picture; `min_score` None: the config's."""
        output = self(pixel_values.to(self.stem.weight.device, self.stem.weight.dtype))
        least = self.config.min_score if min_score is None else min_score
        scores, boxes, points = output.score_logits.sigmoid().cpu(), output.boxes.cpu(), output.points.cpu()
        found = []
        for k in range(len(scores)):
            sure = scores[k] >= least
            found.append(merge_palms(boxes[k, sure], points[k, sure], scores[k, sure], self.config.same_palm_overlap))
        return found


def anchor_centres(image_size: int) -> torch.Tensor:
    """Centres (A, 2) of the anchors, shares of the picture: the cells' middles, fine map first, row by row."""
    rows = []
    for stride, anchors_per_cell in ((8, ANCHORS_FINE), (16, ANCHORS_COARSE)):
        cells = image_size // stride
        middles = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        rows.append(torch.stack([x, y], dim=-1).reshape(-1, 2).repeat_interleave(anchors_per_cell, dim=0))
    return torch.cat(rows)


def merge_palms(boxes: torch.Tensor, points: torch.Tensor, scores: torch.Tensor, same_overlap: float) -> Palms:
    """Weighted non-maximum suppression, as MediaPipe does it: the surest palm takes in all that overlap it, its box and
    points become their mean weighted by score, its score stays.

    boxes (K, 4), points (K, 7, 2), scores (K,) -> palms, surest first.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, points, scores = boxes[order], points[order], scores[order]
    kept_boxes, kept_points, kept_scores = [], [], []
    while len(scores):
        same = box_overlap(boxes[:1], boxes)[0] > same_overlap
        same[0] = True
        weight = scores[same] / scores[same].sum()
        kept_boxes.append((weight[:, None] * boxes[same]).sum(0))
        kept_points.append((weight[:, None, None] * points[same]).sum(0))
        kept_scores.append(scores[0])
        boxes, points, scores = boxes[~same], points[~same], scores[~same]
    if not kept_scores:
        return Palms(boxes, points, scores)
    return Palms(torch.stack(kept_boxes), torch.stack(kept_points), torch.stack(kept_scores))


def box_overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes (N, 4) and (M, 4), x0 y0 x1 y1: (N, M)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = [(box[:, 2:] - box[:, :2]).clamp_min(0).prod(-1) for box in (a, b)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp_min(1e-12)
