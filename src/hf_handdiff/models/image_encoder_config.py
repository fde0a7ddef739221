"""The configuration of the image encoder, and what it refuses."""

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from hf_handdiff.errors import InputError
from hf_handdiff.models.base import HandModelConfig
from hf_handdiff.models.image_backbone import patch_size_of, to_backbone_config

FEATURE_STRIDE, COARSEST_STRIDE = 8, 32
"""Pixels a cell of the fused feature map, and of the coarsest map of the built-in backbone."""


@strict
class HandImageEncoderConfig(HandModelConfig):
    """Configuration of [`HandImageEncoder`].

    Fields you may want to change:
        point_feature_size: channels C of the fused feature map (B, C, S/8, S/8), which later stages sample at points.
        global_feature_size: size G of the global feature vector (B, G).
        prior_std: standard deviation, in crop units, of the Gaussian prior round each initial landmark.  The
            refinement can comfortably move a keypoint two to three times this far.
        refinement_steps: how often the square is cut anew round the keypoints that were found in the last one.

    A backbone of one's own:
        backbone_config: None is the built-in hand landmark network. The configuration of any model that
            transformers' `AutoBackbone` knows, or its fields with `model_type`; its `out_features` name the maps
            that are fused, from fine to coarse, and the mean of the last one feeds the heads.
        image_mean, image_std: of the RGB values 0..1 that the backbone expects to be subtracted and divided by.
            None: 0 and 1 for the built-in network, those of ImageNet for any other.

    Fields that follow from the converted weights:
        image_size: side S in pixels of the square input, a multiple of 32.  The built-in backbone was trained at
            224; another size runs, but its landmarks are worth less.

    Sizes of the heads:
        fusion_norm_groups: groups of the normalisation of the fused map; they divide `point_feature_size`.
        score_hidden_size: width of the head of keypoint scores.
        framing_channels: channels to which the framing pass reduces its map.
        framing_hidden_size: width of its hidden layer.
        keypoint_factors: how many ways of erring together the distribution of the keypoints has, see
            [`KeypointDistribution`]; None: the encoder says nothing of their distribution.
        distribution_hidden_size: width of the head of that distribution.
        distribution_scale: what its standard deviations are multiplied by: calibrated on validation data.
        side_hidden_size: width of the head that tells whether the hand is of the side that was told; None: there is
            none.

    Raises:
        InputError: a field is outside of its range, or `AutoBackbone` knows no such backbone.
    """

    model_type = "handdiff_image_encoder"
    former_model_type = "hand_image_encoder"
    sub_configs = {"backbone_config": AutoConfig}
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
    keypoint_factors: int | None = None
    distribution_hidden_size: int = 256
    distribution_scale: float | int = 1.0
    side_hidden_size: int | None = None
    backbone_config: dict | PreTrainedConfig | None = None
    image_mean: list[float | int] | tuple[float | int, ...] | None = None
    image_std: list[float | int] | tuple[float | int, ...] | None = None

    def __post_init__(self, **kwargs):
        self.backbone_config = to_backbone_config(self.backbone_config)
        super().__post_init__(**kwargs)
        built_in = self.backbone_config is None
        if self.image_mean is None:
            self.image_mean = [0.0] * 3 if built_in else list(IMAGENET_DEFAULT_MEAN)
        if self.image_std is None:
            self.image_std = [1.0] * 3 if built_in else list(IMAGENET_DEFAULT_STD)
        self._check()

    def _check(self) -> None:
        """Raise an InputError that names the field that is out of its range."""
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
        for name in ("keypoint_factors", "side_hidden_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, or None, got {getattr(self, name)}")
        for name, values in (("image_mean", self.image_mean), ("image_std", self.image_std)):
            if len(values) != 3 or (name == "image_std" and min(values) <= 0):
                raise InputError(f"{name} must be three numbers, positive ones for image_std, got {values}")
        patch = 1 if self.backbone_config is None else patch_size_of(self.backbone_config)
        if self.image_size % patch:
            raise InputError(
                f"image_size must be a multiple of the patches of backbone_config ({patch}), got {self.image_size}"
            )

    @property
    def feature_size(self) -> int:
        """Side of the feature map and of the heatmaps: 28 for an image of 224."""
        return self.image_size // FEATURE_STRIDE
