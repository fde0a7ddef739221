"""The image encoder: a hand crop in, 2D keypoints with scores, a hand score and image features out.

It is a backbone plus heads. The built-in backbone and the first three heads are the hand landmark network of
MediaPipe, converted (`scripts/convert_hand_landmark.py`); the other heads start as "no change", so that right
after the conversion the keypoints are exactly the landmarks of the original network. Any backbone of
transformers can stand in its place, see `HandImageEncoderConfig.backbone_config`.

All 2D positions are in *crop units*: (x, y) from 0 to 1 over the crop, x right, y down, origin at the outer
corner of the top-left pixel.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from hf_handdiff.errors import InputError
from hf_handdiff.models.base import HandModel, he_initialization
from hf_handdiff.models.hand_framing import NUM_KEYPOINTS, HandFrame, HandFramingNet, frame_around_keypoints, turned
from hf_handdiff.models.hand_landmark_backbone import (
    TRUNK_CHANNELS,
    TRUNK_STRIDE,
    HandLandmarkBackbone,
    HandLandmarkTrunk,
)
from hf_handdiff.models.heatmap_refinement import refine_keypoints
from hf_handdiff.models.image_backbone import FeatureFusion, TransformersBackbone
from hf_handdiff.models.image_encoder_config import HandImageEncoderConfig
from hf_handdiff.models.keypoint_descriptors import DescriptorHead, HandSideHead, describe_keypoints, num_descriptors
from hf_handdiff.models.keypoint_distribution import (
    UNTRAINED_LOG_NOISE,
    KeypointDistribution,
    KeypointDistributionHead,
)

FRAMING_STRIDE = 2 * TRUNK_STRIDE
"""Pixels a cell of the framing pass, which looks at half the resolution."""
UNTRAINED_HEAD_SCALE = 0.1
"""Size of the landmarks (crop units) and 3D points (m) that heads on a foreign backbone begin with, roughly."""
INITIAL_SCORE_LOGIT = 2.0
"""Of the keypoint scores before training."""


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
    keypoint_factors: (B, 21, 2, R) of the keypoints' distribution, crop units; None without `config.keypoint_factors`.
    keypoint_noise: (B, 21) of the same, crop units.
    keypoint_descriptors: (B, D) what that distribution and the side are read from.
    side_logit: (B,) `sigmoid` of it is the probability that this is a right hand; None without
        `config.side_hidden_size`.
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
    keypoint_factors: torch.FloatTensor | None = None
    keypoint_noise: torch.FloatTensor | None = None
    keypoint_descriptors: torch.FloatTensor | None = None
    side_logit: torch.FloatTensor | None = None

    @property
    def distribution(self) -> KeypointDistribution | None:
        """Of the keypoints, crop units."""
        if self.keypoint_factors is None:
            return None
        return KeypointDistribution(self.keypoint_factors, self.keypoint_noise)


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
    _supports_sdpa = _supports_flash_attn = True  # if the backbone does

    def __init__(self, config: HandImageEncoderConfig):
        super().__init__(config)
        channels = config.point_feature_size
        if config.backbone_config is None:
            self.backbone = HandLandmarkBackbone()
        else:
            self.backbone = TransformersBackbone(config.backbone_config)
            self.filter_memory_format = torch.contiguous_format
        pooled = self.backbone.pooled_channels
        self.framing = HandFramingNet(
            HandLandmarkTrunk(),
            trunk_channels=TRUNK_CHANNELS,
            trunk_size=config.image_size // FRAMING_STRIDE,
            channels=config.framing_channels,
            hidden_size=config.framing_hidden_size,
        )
        # Heads that the converted network has too. Landmarks are kept in crop units, 3D points in metres.
        self.landmark_head = nn.Linear(pooled, NUM_KEYPOINTS * 2)
        self.world_head = nn.Linear(pooled, NUM_KEYPOINTS * 3)
        self.presence_head = nn.Linear(pooled, 1)
        # New parts.
        self.fusion = FeatureFusion(
            self.backbone.out_features, self.backbone.channels, channels, config.fusion_norm_groups
        )
        self.heatmap_hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.heatmap_out = nn.Conv2d(channels, NUM_KEYPOINTS, 1)
        self.global_projection = nn.Linear(pooled, config.global_feature_size)
        self.global_norm = nn.LayerNorm(config.global_feature_size)
        self.world_correction = nn.Linear(config.global_feature_size, NUM_KEYPOINTS * 3)
        self.score_head = KeypointScoreHead(channels, config.global_feature_size, config.score_hidden_size)
        self.distribution_head = self.side_head = None
        size = num_descriptors(channels, config.global_feature_size)
        if config.keypoint_factors is not None:
            self.distribution_head = KeypointDistributionHead(
                size, config.keypoint_factors, config.distribution_hidden_size
            )
        if config.side_hidden_size is not None:
            self.side_head = HandSideHead(size, config.side_hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """He initialisation; zero where the model must start as the converted network."""
        if module in (self.heatmap_out, self.world_correction, self.framing.out):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif module is self.score_head.out:
            init.zeros_(module.weight)
            init.constant_(module.bias, INITIAL_SCORE_LOGIT)
        elif self.distribution_head is not None and module is self.distribution_head.out:
            init.normal_(module.weight, std=0.1 * module.in_features**-0.5)
            init.zeros_(module.bias)
            noise = module.bias[-NUM_KEYPOINTS:]
            init.constant_(noise, UNTRAINED_LOG_NOISE)
        elif isinstance(module, DescriptorHead):
            init.zeros_(module.input_mean)
            init.ones_(module.input_std)
        else:
            he_initialization(module)
        if self.config.backbone_config is not None and module in (self.landmark_head, self.world_head):
            init.normal_(module.weight, std=UNTRAINED_HEAD_SCALE * module.in_features**-0.5)
            init.constant_(module.bias, 0.5 if module is self.landmark_head else 0.0)  # the middle of the crop

    @classmethod
    def from_backbone(cls, backbone: PreTrainedModel, **fields) -> "HandImageEncoder":
        """A new encoder on a copy of a pretrained backbone; everything else starts untrained.

        Args:
            backbone: of `transformers.AutoBackbone.from_pretrained`.
            **fields: of `HandImageEncoderConfig`.

        Raises:
            InputError: it is no backbone, or a field is out of its range.
        """
        model = cls(HandImageEncoderConfig(backbone_config=copy.deepcopy(backbone.config), **fields))
        model.backbone.model.load_state_dict(backbone.state_dict())
        return model

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the backbone and of what else the converted network has: fine-tune them with a small learning
        rate.  Heads on a foreign backbone are not among them."""
        modules = [self.backbone, self.framing.trunk]
        if self.config.backbone_config is None:
            modules += [self.landmark_head, self.world_head, self.presence_head]
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
        self,
        pixel_values: torch.Tensor,
        framed: bool = False,
        return_dict: bool | None = None,
        frame: HandFrame | None = None,
    ) -> HandImageEncoderOutput | tuple:
        """Look at crops of right hands: coarsely at all of each, then at the turned square with the hand, which
        is cut anew round what was found there (`config.refinement_steps`) and looked at for good.

        Args:
            pixel_values: (B, 3, S, S) RGB in 0..1.
            framed: the crops are such squares already, as in training: skip the framing pass.
            return_dict: False returns a tuple.
            frame: squares of the crops in which the hands are known to be, as in a video: they are looked at at once.

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
        elif frame is not None:
            output = self._encode_square(frame.crop(pixel_values), frame)
        else:
            frame = self.find_frame(pixel_values)
            output = self._encode_square(frame.crop(pixel_values), frame)
        return output.to_tuple() if return_dict is False else output

    def find_frame(self, pixel_values: torch.Tensor) -> HandFrame:
        """The turned squares of crops (B, 3, S, S) in which `forward` looks for good."""
        frame = self.framing.decode(self.framing(pixel_values))
        for _ in range(self.config.refinement_steps):
            frame = frame_around_keypoints(self.landmarks(pixel_values, frame))
        return frame

    def _features(self, squares: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The backbone's maps and pooled features of squares (B, 3, S, S) RGB in 0..1, black where there is nothing."""
        mean, std = self.config.image_mean, self.config.image_std
        if any(mean) or any(value != 1 for value in std):
            squares = (squares - _each_channel(mean, squares)) / _each_channel(std, squares)
        return self.backbone(squares)

    def landmarks(self, pixel_values: torch.Tensor, frame: HandFrame) -> torch.Tensor:
        """The landmark head alone, on squares of crops (B, 3, S, S) -> (B, 21, 2) in crop units."""
        _, pooled = self._features(frame.crop(pixel_values))
        return frame.from_square(_linears_float32([self.landmark_head], pooled)[0].unflatten(1, (NUM_KEYPOINTS, 2)))

    def _encode_square(self, squares: torch.Tensor, frame: HandFrame) -> HandImageEncoderOutput:
        """All that there is to say of squares (B, 3, S, S), which `frame` cut from the crops."""
        maps, pooled = self._features(squares)
        feature_map = self.fusion(maps, self.config.feature_size)

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

        # 5. Their distribution and the side, from all that was said so far.
        joints = world - world[:, :1]
        descriptors = distribution = side_logit = None
        if self.distribution_head is not None or self.side_head is not None:
            descriptors = describe_keypoints(
                local, global_features, keypoints, initial_keypoints, score_logits, joints, heatmap_logits, hand_logit
            )
        if self.side_head is not None:
            side_logit = self.side_head(descriptors)
        if self.distribution_head is not None:
            to_crop = frame.side[:, None, None] * frame.turn.transpose(1, 2)
            distribution = self.distribution_head(descriptors).mapped(self.config.distribution_scale * to_crop)

        # 6. Back from the square to the crop.
        return HandImageEncoderOutput(
            keypoints=frame.from_square(keypoints),
            keypoint_scores=score_logits.sigmoid(),
            hand_logit=hand_logit,
            feature_map=feature_map,
            global_features=global_features,
            heatmap_logits=heatmap_logits,
            joints=_turn_back(joints, frame),
            initial_keypoints=frame.from_square(initial_keypoints),
            keypoint_score_logits=score_logits,
            frame=frame,
            keypoint_factors=None if distribution is None else distribution.factors,
            keypoint_noise=None if distribution is None else distribution.noise,
            keypoint_descriptors=descriptors,
            side_logit=side_logit,
        )


def _each_channel(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """Three numbers as (3, 1, 1), made on the device of `like`."""
    return torch.cat([like.new_full((1, 1, 1), value) for value in values])


def _turn_back(joints: torch.Tensor, frame: HandFrame) -> torch.Tensor:
    """Joints (B, K, 3) of the upright square, turned about z as they are in the crop."""
    return torch.cat([turned(joints[..., :2], frame.turn), joints[..., 2:]], dim=-1)


def _sample(feature_map: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """Bilinear samples of (B, C, H, W) at (B, K, 2) in units of the map, 0..1 -> (B, K, C)."""
    grid = (2.0 * keypoints - 1.0).float()[:, :, None]  # (B, K, 1, 2)
    samples = F.grid_sample(feature_map.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return samples.squeeze(-1).transpose(1, 2).to(feature_map.dtype)


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
