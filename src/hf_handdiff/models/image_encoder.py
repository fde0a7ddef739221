"""The image encoder: a hand crop in, 2D keypoints with scores, a hand score and image features out.

The backbone is the hand landmark network of MediaPipe 0.10.21 (Apache-2.0), written out as plain PyTorch
stages so that its weights can be converted (`scripts/convert_hand_landmark.py`) and fine-tuned.  What is new
is built so that it starts as "no change": right after the conversion the keypoints are exactly the landmarks
of the original network.

All 2D positions are in *crop units*: (x, y) from 0 to 1 over the crop, x right, y down, origin at the outer
corner of the top-left pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_handdiff.errors import InputError
from hf_handdiff.models.base import HandModel, HandModelConfig, he_initialization
from hf_handdiff.models.hand_framing import NUM_KEYPOINTS, HandFrame, HandFramingNet, frame_around_keypoints
from hf_handdiff.models.hand_landmark_backbone import (
    BACKBONE_STAGES,
    POOLED_CHANNELS,
    HandLandmarkBackbone,
    HandLandmarkTrunk,
)

FEATURE_STRIDE, COARSEST_STRIDE = 8, 32
"""Pixels a cell of the fused feature map, and of the coarsest map of the built-in backbone."""
INITIAL_SCORE_LOGIT = 2.0
"""Of the keypoint scores before training."""


@strict
class HandImageEncoderConfig(HandModelConfig):
    """Configuration of [`HandImageEncoder`].

    Fields you may want to change:
        point_feature_size: channels C of the fused feature map (B, C, S/8, S/8), which later stages sample at points.
        global_feature_size: size G of the global feature vector (B, G).
        prior_std: standard deviation, in crop units, of the Gaussian prior round each initial landmark.  The
            refinement can comfortably move a keypoint two to three times this far.
        refinement_steps: how often the square is cut anew round the keypoints that were found in the last one.

    Fields that follow from the converted weights:
        image_size: side S in pixels of the square input, a multiple of 32.  The built-in backbone was trained at
            224; another size runs, but its landmarks are worth less.

    Sizes of the heads:
        fusion_norm_groups: groups of the normalisation of the fused map; they divide `point_feature_size`.
        score_hidden_size: width of the head of keypoint scores.
        framing_channels: channels to which the framing pass reduces its map.
        framing_hidden_size: width of its hidden layer.

    Raises:
        InputError: a field is outside of its range.
    """

    model_type = "handdiff_image_encoder"
    former_model_type = "hand_image_encoder"
    attribute_map = {
        "feature_channels": "point_feature_size",
        "global_dim": "global_feature_size",
        "more_looks": "refinement_steps",
    }

    image_size: int = 224
    point_feature_size: int = 64
    global_feature_size: int = 256
    prior_std: float | int = 0.06
    refinement_steps: int = 1
    fusion_norm_groups: int = 8
    score_hidden_size: int = 64
    framing_channels: int = 32
    framing_hidden_size: int = 128

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.image_size <= 0 or self.image_size % COARSEST_STRIDE:
            raise InputError(f"image_size must be a positive multiple of {COARSEST_STRIDE}, got {self.image_size}")
        groups, channels = self.fusion_norm_groups, self.point_feature_size
        if groups <= 0 or channels <= 0 or channels % groups:
            raise InputError(
                f"point_feature_size must be a positive multiple of fusion_norm_groups ({groups}), got {channels}"
            )
        if self.prior_std <= 0:
            raise InputError(f"prior_std must be positive, got {self.prior_std}")
        if self.refinement_steps < 0:
            raise InputError(f"refinement_steps must be 0 or more, got {self.refinement_steps}")

    @property
    def feature_size(self) -> int:
        """Side of the feature map and of the heatmaps: 28 for an image of 224."""
        return self.image_size // FEATURE_STRIDE


@dataclass
class HandImageEncoderOutput(ModelOutput):
    """Output of [`HandImageEncoder`]; H = W = `config.feature_size` (28).

    keypoints: (B, 21, 2) refined keypoints, crop units.
    keypoint_scores: (B, 21) probability that the joint is directly visible.
    hand_logit: (B,) `sigmoid` of it is the probability that there is a hand in the crop.
    feature_map: (B, C, H, W) fused features; see [`HandImageEncoder.sample_features`].
    global_features: (B, G) features of the whole crop.
    heatmap_logits: (B, 21, H, W) log of the (unnormalised) posterior over the cells of the map.
    joints: (B, 21, 3) auxiliary 3D estimate, metres, wrist at 0, x right, y down, z away.
    initial_keypoints: (B, 21, 2) landmark head alone, before the refinement, crop units.
    keypoint_score_logits: (B, 21) `keypoint_scores` before the sigmoid, for the loss.
    frame: the turned square of the crop that the landmark pass was at; feature_map and heatmap_logits lie in it.
    """

    keypoints: torch.FloatTensor | None = None
    keypoint_scores: torch.FloatTensor | None = None
    hand_logit: torch.FloatTensor | None = None
    feature_map: torch.FloatTensor | None = None
    global_features: torch.FloatTensor | None = None
    heatmap_logits: torch.FloatTensor | None = None
    joints: torch.FloatTensor | None = None
    initial_keypoints: torch.FloatTensor | None = None
    keypoint_score_logits: torch.FloatTensor | None = None
    frame: HandFrame | None = None


class FeatureFusion(nn.Module):
    """Brings the four maps to one at S/8 by lateral 1x1 convolutions and a sum, then mixes it."""

    def __init__(self, channels: int, norm_groups: int):
        super().__init__()
        self.lateral_quarter = nn.Conv2d(24, channels, 1)
        self.lateral_eighth = nn.Conv2d(40, channels, 1)
        self.lateral_sixteenth = nn.Conv2d(112, channels, 1)
        self.lateral_thirty_second = nn.Conv2d(192, channels, 1)
        self.norm = nn.GroupNorm(norm_groups, channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """The backbone's four maps -> (B, C, S/8, S/8)."""
        quarter, eighth, sixteenth, thirty_second = maps
        size = eighth.shape[-2:]
        coarse = self.lateral_sixteenth(sixteenth) + _resize(
            self.lateral_thirty_second(thirty_second), sixteenth.shape[-2:]
        )
        fused = self.lateral_eighth(eighth) + _resize(coarse, size)
        fused = fused + self.lateral_quarter(F.avg_pool2d(quarter, 2))
        fused = F.silu(self.norm(fused))
        return fused + F.silu(self.mix(fused))


class KeypointScoreHead(nn.Module):
    """Logit per keypoint from the features under it, the global features and which joint it is."""

    def __init__(self, point_feature_size: int, global_feature_size: int, hidden_size: int):
        super().__init__()
        self.local = nn.Linear(point_feature_size, hidden_size)
        self.context = nn.Linear(global_feature_size, hidden_size)
        self.joint = nn.Embedding(NUM_KEYPOINTS, hidden_size)
        self.out = nn.Linear(hidden_size, 1)

    def forward(self, local: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """local (B, 21, C), context (B, G) -> logits (B, 21)."""
        hidden = self.local(local) + self.context(context)[:, None] + self.joint.weight  # (B, 21, hidden)
        return (F.silu(hidden) * self.out.weight[0]).sum(dim=-1) + self.out.bias


class HandImageEncoder(HandModel):
    """Right-hand crop -> keypoints, scores and features.  Left hands are mirrored by the caller."""

    config_class = HandImageEncoderConfig
    filter_memory_format = torch.channels_last
    main_input_name = "pixel_values"
    base_model_prefix = "hand_image_encoder"

    def __init__(self, config: HandImageEncoderConfig):
        super().__init__(config)
        channels = config.point_feature_size
        self.backbone = HandLandmarkBackbone()
        self.framing = HandFramingNet(
            HandLandmarkTrunk(),
            trunk_channels=BACKBONE_STAGES["stage4"][2],
            trunk_size=config.image_size // COARSEST_STRIDE,
            channels=config.framing_channels,
            hidden_size=config.framing_hidden_size,
        )
        # Heads of the original network. Landmarks are kept in crop units, 3D points in metres.
        self.landmark_head = nn.Linear(POOLED_CHANNELS, NUM_KEYPOINTS * 2)
        self.world_head = nn.Linear(POOLED_CHANNELS, NUM_KEYPOINTS * 3)
        self.presence_head = nn.Linear(POOLED_CHANNELS, 1)
        # New parts.
        self.fusion = FeatureFusion(channels, config.fusion_norm_groups)
        self.heatmap_hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.heatmap_out = nn.Conv2d(channels, NUM_KEYPOINTS, 1)
        self.global_projection = nn.Linear(POOLED_CHANNELS, config.global_feature_size)
        self.global_norm = nn.LayerNorm(config.global_feature_size)
        self.world_correction = nn.Linear(config.global_feature_size, NUM_KEYPOINTS * 3)
        self.score_head = KeypointScoreHead(channels, config.global_feature_size, config.score_hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """He initialisation; zero where the model must start as the converted network."""
        if module in (self.heatmap_out, self.world_correction, self.framing.out):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif module is self.score_head.out:
            init.zeros_(module.weight)
            init.constant_(module.bias, INITIAL_SCORE_LOGIT)
        else:
            he_initialization(module)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters that come from the converted network: fine-tune them with a small learning rate."""
        modules = (self.backbone, self.framing.trunk, self.landmark_head, self.world_head, self.presence_head)
        return [parameter for module in modules for parameter in module.parameters()]

    def new_parameters(self) -> list[nn.Parameter]:
        """All other parameters, which start untrained."""
        pretrained = {id(parameter) for parameter in self.pretrained_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in pretrained]

    @staticmethod
    def sample_features(encoded: HandImageEncoderOutput, keypoints: torch.Tensor) -> torch.Tensor:
        """Bilinear samples of the feature map at keypoints (B, K, 2) in crop units -> (B, K, C).

        Positions outside the map's square read the nearest border cell.
        """
        return _sample(encoded.feature_map, encoded.frame.to_square(keypoints))

    def forward(
        self, pixel_values: torch.Tensor, framed: bool = False, return_dict: bool | None = None
    ) -> HandImageEncoderOutput | tuple:
        """Look at crops of right hands: coarsely at all of each, then at the turned square with the hand, which
        is cut anew round what was found there (`config.refinement_steps`) and looked at for good.

        Args:
            pixel_values: (B, 3, S, S) RGB in 0..1.
            framed: the crops are such squares already, as in training: skip the framing pass.
            return_dict: False returns a tuple.

        Raises:
            ValueError: pixel_values has another shape.
        """
        size = self.config.image_size
        if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, size, size):
            raise InputError(f"pixel_values must be (B, 3, {size}, {size}), got {tuple(pixel_values.shape)}")
        batch = len(pixel_values)
        if framed:
            whole = torch.zeros(batch, 5, device=pixel_values.device)
            whole[:, 3] = 1.0  # the cosine of no turn
            output = self._encode_square(pixel_values, self.framing.decode(whole))
        else:
            frame = self.framing.decode(self.framing(pixel_values))
            for _ in range(self.config.refinement_steps):
                frame = frame_around_keypoints(frame.from_square(self._landmarks(frame.crop(pixel_values))))
            output = self._encode_square(frame.crop(pixel_values), frame)
        return output.to_tuple() if return_dict is False else output

    def _landmarks(self, squares: torch.Tensor) -> torch.Tensor:
        """The landmark head alone: squares (B, 3, S, S) -> (B, 21, 2) in units of the square."""
        _, pooled = self.backbone(squares)
        return _linears_float32([self.landmark_head], pooled)[0].unflatten(1, (NUM_KEYPOINTS, 2))

    def _encode_square(self, squares: torch.Tensor, frame: HandFrame) -> HandImageEncoderOutput:
        """All that there is to say of squares (B, 3, S, S), which `frame` cut from the crops."""
        maps, pooled = self.backbone(squares)
        feature_map = self.fusion(maps)

        # 1. All that reads the pooled features, in float32: half precision would cost the landmarks a pixel.
        heads = (self.landmark_head, self.world_head, self.presence_head, self.global_projection)
        landmarks, world, presence, projected = _linears_float32(heads, pooled)
        initial_keypoints = landmarks.unflatten(1, (NUM_KEYPOINTS, 2))
        hand_logit = presence.squeeze(-1)

        # 2. Global features, and what they add to the 3D estimate.
        global_features = self.global_norm(projected.to(self.global_norm.weight.dtype))
        world = world + _linears_float32([self.world_correction], F.silu(global_features))[0]
        world = world.unflatten(1, (NUM_KEYPOINTS, 3))

        # 3. Refinement of the keypoints.
        evidence = self.heatmap_out(F.silu(self.heatmap_hidden(feature_map))).float()
        keypoints, heatmap_logits = refine_keypoints(initial_keypoints, evidence, self.config.prior_std)

        # 4. Scores, from the features under the refined keypoints.
        local = _sample(feature_map, keypoints.detach())
        score_logits = self.score_head(local, global_features).float()

        # 5. Back from the square to the crop.
        return HandImageEncoderOutput(
            keypoints=frame.from_square(keypoints),
            keypoint_scores=score_logits.sigmoid(),
            hand_logit=hand_logit,
            feature_map=feature_map,
            global_features=global_features,
            heatmap_logits=heatmap_logits,
            joints=_turn_back(world - world[:, :1], frame),
            initial_keypoints=frame.from_square(initial_keypoints),
            keypoint_score_logits=score_logits,
            frame=frame,
        )


def _turn_back(joints: torch.Tensor, frame: HandFrame) -> torch.Tensor:
    """Joints (B, K, 3) of the upright square, turned about z as they are in the crop."""
    return torch.cat([joints[..., :2] @ frame.turn, joints[..., 2:]], dim=-1)


def _sample(feature_map: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """Bilinear samples of (B, C, H, W) at (B, K, 2) in units of the map, 0..1 -> (B, K, C)."""
    grid = (2.0 * keypoints - 1.0).float()[:, :, None]  # (B, K, 1, 2)
    samples = F.grid_sample(feature_map.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return samples.squeeze(-1).transpose(1, 2).to(feature_map.dtype)


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


def _linears_float32(layers: Sequence[nn.Linear], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Several layers on one input as one product, in float32 whatever the precision of the model or of an
    autocast.

    One product on freshly joined weights, because a product with a single row of weights gives other last
    bits when the weights lie elsewhere in memory, as they do after a reload.
    """
    with torch.autocast(device_type=x.device.type, enabled=False):
        weight = torch.cat([layer.weight.float() for layer in layers])
        bias = torch.cat([layer.bias.float() for layer in layers])
        return F.linear(x.float(), weight, bias).split([layer.out_features for layer in layers], dim=-1)


def _resize(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
