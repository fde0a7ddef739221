"""The hand detector: a picture in, palms out; then a turned square round each palm in, out whether it is a hand, which
side it is and where its 21 keypoints are.

The two networks are the palm detection network (full) and the hand landmark network (lite) of MediaPipe 0.10.21
(Apache-2.0), written out as plain PyTorch stages so that their weights can be converted
(`scripts/convert_palm_detection.py`). Anchors, decoding, suppression and the way from a palm to its hand's square are
code here; which parts of a photo are looked at is in `hand_search.py`.

All positions are shares of the picture: x of its width and y of its height, from 0 to 1, x right, y down, origin at the
outer corner of the top-left pixel.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_handdiff.errors import InputError
from hf_handdiff.models.base import HandModel, HandModelConfig, he_initialization
from hf_handdiff.models.boxes import intersection_over_union
from hf_handdiff.models.hand_framing import NUM_KEYPOINTS, HandFrame
from hf_handdiff.models.hand_landmark_backbone import InvertedResidual, SameConv2d

NUM_POINTS = 7
POINT_WRIST, POINT_MIDDLE = 0, 2
"""Of the seven points: the wrist and the knuckle of the middle finger, which tell how a hand is turned. In order the
points are wrist, knuckles of index, middle, ring and little finger, and two joints of the thumb."""
STRIDE = 32
"""The sides of a picture are multiples of it, px: the coarsest map has one cell for so many pixels."""
ANCHORS_FINE, ANCHORS_COARSE = 2, 6
"""Anchors in each cell of the maps at an eighth and at a sixteenth of the picture."""

INITIAL_SCORE_LOGIT = -4.0
"""Of the palm scores before training."""

HAND_SHIFT, HAND_SCALE = 0.5, 2.6
"""The square of a hand: its centre is half a palm box further towards the fingers, its side 2.6 palm boxes."""

HAND_STAGES = (
    (3, 2, 16, (64, 96)),
    (5, 2, 24, (96, 144)),
    (3, 2, 48, (144, 288, 288)),
    (5, 1, 64, (288, 384, 384)),
    (5, 2, 112, (384, 672, 672, 672)),
)
"""Of the hand network: kernel size, stride of the first block, output channels, hidden channels of every block."""
HAND_STEM_CHANNELS = (24, 16)
HAND_POOLED_CHANNELS = 672


@strict
class HandDetectorConfig(HandModelConfig):
    """Configuration of [`HandDetector`].

    Fields you may want to change:
        min_score: palms below it are dropped.
        min_hand_score: squares whose hand score is below it are dropped.
        max_mirror_gap: squares are dropped whose keypoints lie further, on average, than this share of the square's
            side from those of its mirror image. Where there is a hand the network says nearly the same of both.
        min_joint_score: squares are dropped whose hand score times the score of their palm is below it.
        search_sizes: longer sides in pixels at which a whole photo is searched for palms, from coarse to fine. Hands
            that fill the photo are found in the coarse picture, small ones in the fine one.
        same_palm_overlap: boxes that share more (intersection over union) are one palm, and are averaged.

    Fields that follow from the converted weights:
        image_size: side in pixels of the square input that the palm network was trained on, a multiple of 32.
        hand_size: side in pixels of the hand network's square input, a multiple of 32.
        widths: channels of the maps at a half, a quarter, an eighth, a sixteenth, a thirty-second.
        blocks_per_stage: residual blocks of each of these stages.
        blocks_per_upward_stage: residual blocks of the two stages on the way up; None: half of `blocks_per_stage`.

    Raises:
        InputError: a size is not a multiple of 32, there is no search size, or widths are not five that never fall.
    """

    model_type = "handdiff_hand_detector"
    former_model_type = "hand_detector"

    image_size: int = 192
    hand_size: int = 224
    widths: list[int] | tuple[int, ...] = (32, 64, 128, 256, 256)
    blocks_per_stage: int = 4
    blocks_per_upward_stage: int | None = None
    min_score: float | int = 0.4
    min_hand_score: float | int = 0.5
    max_mirror_gap: float | int = 0.065
    min_joint_score: float | int = 0.4
    search_sizes: list[int] | tuple[int, ...] = (128, 384)
    same_palm_overlap: float | int = 0.3

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.widths, self.search_sizes = list(self.widths), list(self.search_sizes)
        for name, size in (("image_size", self.image_size), ("hand_size", self.hand_size)):
            if size <= 0 or size % STRIDE:
                raise InputError(f"{name} must be a positive multiple of {STRIDE}, got {size}")
        if not self.search_sizes or min(self.search_sizes) <= 0:
            raise InputError(f"search_sizes must be at least one positive number of pixels, got {self.search_sizes}")
        if len(self.widths) != 5 or sorted(self.widths) != self.widths:
            raise InputError(f"widths must be five numbers that never fall, got {self.widths}")
        if self.blocks_per_upward_stage is None:  # so it was in checkpoints that do not name it
            self.blocks_per_upward_stage = self.blocks_per_stage // 2


@dataclass
class HandDetectorOutput(ModelOutput):
    """Output of [`HandDetector`]; A = 2,016 anchors for a picture of 192 x 192 pixels.

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


@dataclass
class HandsInSquares:
    """What the hand network says of B squares.

    Attributes:
        keypoints: (B, 21, 2) shares of the square.
        hand_score: (B,) 0..1: is there a hand.
        right_score: (B,) 0..1: is it a right one.
        mirror_gap: (B,) how far the keypoints of the mirrored square lie from these, on average, shares of the square;
            None: it was not looked at.
    """

    keypoints: torch.Tensor
    hand_score: torch.Tensor
    right_score: torch.Tensor
    mirror_gap: torch.Tensor | None = None


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


class PooledResidual(InvertedResidual):
    """An inverted residual with stride 2 whose skip is pooled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        return super().forward(x) + F.max_pool2d(x, 2)


class HandNetwork(nn.Module):
    """Squares with a hand, upright, left or right -> keypoints, hand score, side."""

    def __init__(self):
        super().__init__()
        width, channels = HAND_STEM_CHANNELS
        self.stem = SameConv2d(3, width, 3, stride=2)
        self.stem_depthwise = SameConv2d(width, width, 3, groups=width)
        self.stem_project = nn.Conv2d(width, channels, 1)
        blocks = []
        for kernel_size, stride, out_channels, hidden_widths in HAND_STAGES:
            for index, hidden in enumerate(hidden_widths):
                block = PooledResidual if not blocks else InvertedResidual
                blocks.append(block(channels, hidden, out_channels, kernel_size, stride if index == 0 else 1))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.final_expand = nn.Conv2d(channels, HAND_POOLED_CHANNELS, 1)
        self.final_depthwise = SameConv2d(HAND_POOLED_CHANNELS, HAND_POOLED_CHANNELS, 3, groups=HAND_POOLED_CHANNELS)
        self.landmark_head = nn.Linear(HAND_POOLED_CHANNELS, NUM_KEYPOINTS * 2)
        self.presence_head = nn.Linear(HAND_POOLED_CHANNELS, 1)
        self.side_head = nn.Linear(HAND_POOLED_CHANNELS, 1)

    def forward(self, x: torch.Tensor) -> HandsInSquares:
        """x (B, 3, S, S) RGB in 0..1."""
        x = F.relu6(self.stem(x))
        x = F.relu6(self.stem_depthwise(x))
        x = self.blocks(self.stem_project(x))
        x = F.relu6(self.final_expand(x))
        pooled = F.relu6(self.final_depthwise(x)).mean(dim=(2, 3))
        return HandsInSquares(
            keypoints=self.landmark_head(pooled).float().unflatten(1, (NUM_KEYPOINTS, 2)),
            hand_score=self.presence_head(pooled).float().sigmoid()[:, 0],
            right_score=self.side_head(pooled).float().sigmoid()[:, 0],
        )


class HandDetector(HandModel):
    """Picture -> palms, of left and of right hands alike; squares round them -> keypoints and sides."""

    config_class = HandDetectorConfig
    filter_memory_format = torch.channels_last
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
        self.up_coarse = UpwardStage(widths[4], widths[3], config.blocks_per_upward_stage)
        self.head_coarse = PalmHead(widths[3], ANCHORS_COARSE)
        self.up_fine = UpwardStage(widths[3], widths[2], config.blocks_per_upward_stage)
        self.head_fine = PalmHead(widths[2], ANCHORS_FINE)
        self.hand_network = HandNetwork()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """He initialisation; scores start low, since hardly any anchor has a palm."""
        he_initialization(module)
        if isinstance(module, PalmHead):
            init.constant_(module.score.bias, INITIAL_SCORE_LOGIT)

    def forward(
        self, pixel_values: torch.Tensor, return_dict: bool | None = None
    ) -> HandDetectorOutput | tuple[torch.Tensor, ...]:
        """Look for palms, once a picture.

        Args:
            pixel_values: (B, 3, H, W) RGB in 0..1, sides multiples of 32; a photo is padded with black to them.
            return_dict: False returns a tuple.

        Raises:
            ValueError: pixel_values has another shape.
        """
        shape = tuple(pixel_values.shape)
        if len(shape) != 4 or shape[1] != 3 or any(side == 0 or side % STRIDE for side in shape[2:]):
            raise InputError(
                f"pixel_values must be (B, 3, H, W) with H and W positive multiples of {STRIDE}, got {shape}"
            )
        height, width = shape[2:]
        x = self.stem_activation(self.stem(pixel_values))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        coarse = self.up_coarse(maps[4], maps[3])
        fine = self.up_fine(coarse, maps[2])
        (fine_scores, fine_places), (coarse_scores, coarse_places) = self.head_fine(fine), self.head_coarse(coarse)
        score_logits = torch.cat([fine_scores, coarse_scores], dim=1).float()
        # (B, A, 9, 2): offset, extent and seven points, px of the picture -> shares of it
        places = torch.cat([fine_places, coarse_places], dim=1).float().unflatten(-1, (2 + NUM_POINTS, 2))
        places = places / places.new_tensor([width, height])
        anchors = anchor_centres(height, width).to(places.device)
        centre, half = anchors + places[..., 0, :], places[..., 1, :] / 2
        output = HandDetectorOutput(
            boxes=torch.cat([centre - half, centre + half], dim=-1),
            points=anchors[:, None] + places[..., 2:, :],
            score_logits=score_logits,
        )
        return output.to_tuple() if return_dict is False else output

    @torch.inference_mode()
    def palms(self, pixel_values: torch.Tensor, min_score: float | None = None) -> list[Palms]:
        """The palms of pictures (B, 3, H, W), one answer a picture; `min_score` None: the config's."""
        output = self(self._ready(pixel_values, self.stem.weight))
        least = self.config.min_score if min_score is None else min_score
        scores, boxes, points = output.score_logits.sigmoid().cpu(), output.boxes.cpu(), output.points.cpu()
        found = []
        for k in range(len(scores)):
            sure = (scores[k] >= least) & (boxes[k, :, 2:] > boxes[k, :, :2]).all(-1)
            found.append(merge_palms(boxes[k, sure], points[k, sure], scores[k, sure], self.config.same_palm_overlap))
        return found

    @torch.inference_mode()
    def hands(self, squares: torch.Tensor) -> HandsInSquares:
        """What is in squares (B, 3, S, S) RGB in 0..1, S = `config.hand_size`, cut as `hand_squares` says."""
        found = self.hand_network(self._ready(squares, self.hand_network.stem.weight))
        return HandsInSquares(found.keypoints.cpu(), found.hand_score.cpu(), found.right_score.cpu())

    def hands_both_ways(self, squares: torch.Tensor) -> HandsInSquares:
        """What `hands` says of squares and of their mirror images, on average, and how far the two disagree."""
        count = len(squares)
        both = self.hands(torch.cat([squares, squares.flip(-1)]))
        keypoints, mirrored = both.keypoints[:count], both.keypoints[count:] * torch.tensor([-1.0, 1.0])
        mirrored = mirrored + torch.tensor([1.0, 0.0])
        return HandsInSquares(
            keypoints=(keypoints + mirrored) / 2,
            hand_score=(both.hand_score[:count] + both.hand_score[count:]) / 2,
            right_score=(both.right_score[:count] + 1 - both.right_score[count:]) / 2,
            mirror_gap=(keypoints - mirrored).norm(dim=-1).mean(-1),
        )

    def are_hands(self, found: HandsInSquares, palm_scores: torch.Tensor) -> torch.Tensor:
        """Which of K squares hold a hand by the config's thresholds: (K,) bool.

        Args:
            found: what `hands_both_ways` says of them.
            palm_scores: (K,) 0..1, how sure their palms are.
        """
        config = self.config
        return (
            (found.hand_score >= config.min_hand_score)
            & (found.mirror_gap <= config.max_mirror_gap)
            & (found.hand_score * palm_scores >= config.min_joint_score)
        )

    @staticmethod
    def _ready(pictures: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, H, W) as weights want them: channels last is a third faster on a CPU."""
        return pictures.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last)


def hand_squares(boxes: torch.Tensor, points: torch.Tensor) -> HandFrame:
    """The upright squares of whole hands, from boxes (K, 4) and points (K, 7, 2) of palms, in the same units."""
    extent = boxes[:, 2:] - boxes[:, :2]
    upwards = F.normalize(points[:, POINT_MIDDLE] - points[:, POINT_WRIST], dim=-1)  # (K, 2)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + HAND_SHIFT * extent[:, 1:] * upwards
    return HandFrame(centre, HAND_SCALE * extent.amax(-1), torch.atan2(-upwards[:, 0], -upwards[:, 1]))


def anchor_centres(height: int, width: int | None = None) -> torch.Tensor:
    """Centres (A, 2) of the anchors of a picture of `height` x `width` px (None: a square one), shares of the picture:
    the cells' middles, fine map first, row by row. The tensor is the caller's own."""
    return _kept_anchor_centres(height, height if width is None else width).clone()


@lru_cache(maxsize=32)
def _kept_anchor_centres(height: int, width: int) -> torch.Tensor:
    rows = []
    with torch.inference_mode(False):  # it is kept, and may be asked for again where gradients are wanted
        for stride, anchors_per_cell in ((8, ANCHORS_FINE), (16, ANCHORS_COARSE)):
            middles = [(torch.arange(side // stride) + 0.5) * stride / side for side in (height, width)]
            y, x = torch.meshgrid(*middles, indexing="ij")
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
        same = intersection_over_union(boxes[0], boxes) > same_overlap
        same[0] = True
        weight = scores[same] / scores[same].sum()
        kept_boxes.append((weight[:, None] * boxes[same]).sum(0))
        kept_points.append((weight[:, None, None] * points[same]).sum(0))
        kept_scores.append(scores[0])
        boxes, points, scores = boxes[~same], points[~same], scores[~same]
    if not kept_scores:
        return Palms(boxes, points, scores)
    return Palms(torch.stack(kept_boxes), torch.stack(kept_points), torch.stack(kept_scores))
