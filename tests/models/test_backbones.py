"""The image encoder on backbones of transformers: tiny ones of each kind, made from their configurations."""

import json

import pytest
import torch
from transformers import (
    AutoBackbone,
    AutoModel,
    ConvNextConfig,
    Dinov2Config,
    PreTrainedConfig,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
    VitPoseBackboneConfig,
)
from untrained import randomize_zero_layers

from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder, HandImageEncoderConfig

SIZE = 64
SCALES = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 12, 16, 24],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
TOKENS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIZE}
BACKBONES = {  # configuration, width of the pooled features
    "resnet": (ResNetConfig(embedding_size=8, layer_type="basic", **SCALES), 24),
    "convnext": (ConvNextConfig(**SCALES), 24),
    "swin": (
        SwinConfig(embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, out_features=["stage1", "stage2"]),
        16,
    ),
    "dinov2": (Dinov2Config(patch_size=16, out_indices=[1, 2], **TOKENS), 16),
    "vitpose": (VitPoseBackboneConfig(patch_size=[16, 16], **{**TOKENS, "image_size": [SIZE, SIZE]}), 16),
    "a coarse map": (ResNetConfig(embedding_size=8, layer_type="basic", **{**SCALES, "out_features": ["stage4"]}), 24),
    "a fine map": (ResNetConfig(embedding_size=8, layer_type="basic", **{**SCALES, "out_features": ["stem"]}), 8),
}


def make(config, **fields):
    return HandImageEncoder(
        HandImageEncoderConfig(
            backbone_config=config, image_size=SIZE, point_feature_size=16, global_feature_size=24, **fields
        )
    )


@pytest.fixture(scope="module", params=BACKBONES)
def case(request):
    config, pooled = BACKBONES[request.param]
    torch.manual_seed(0)
    return randomize_zero_layers(make(config), 0.01), pooled


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def tensors(output):
    return [value for value in output.values() if isinstance(value, torch.Tensor)]


def test_shapes(case, images):
    model, pooled = case
    with torch.no_grad():
        output = model(images)
    assert output.keypoints.shape == (2, 21, 2) and output.joints.shape == (2, 21, 3)
    assert output.feature_map.shape == (2, 16, SIZE // 8, SIZE // 8)
    assert output.heatmap_logits.shape == (2, 21, SIZE // 8, SIZE // 8)
    assert output.global_features.shape == (2, 24) and output.hand_logit.shape == (2,)
    assert model.landmark_head.in_features == model.world_head.in_features == pooled
    assert all(torch.isfinite(value).all() for value in tensors(output))


def test_saved_and_reloaded_it_is_the_same_to_the_bit(case, images, tmp_path):
    model, _ = case
    model.save_pretrained(tmp_path)
    loaded = [HandImageEncoder.from_pretrained(tmp_path).eval(), AutoModel.from_pretrained(tmp_path).eval()]
    with torch.no_grad():
        expected = tensors(model(images))
        for again in loaded:
            assert type(again) is HandImageEncoder
            assert type(again.config.backbone_config) is type(model.config.backbone_config)
            assert again.state_dict().keys() == model.state_dict().keys()
            assert all(map(torch.equal, tensors(again(images)), expected))


def test_every_parameter_is_the_backbones_or_new(case):
    model, _ = case
    pretrained, new = model.pretrained_parameters(), model.new_parameters()
    assert len({*map(id, pretrained), *map(id, new)}) == len(pretrained) + len(new) == len(list(model.parameters()))
    pretrained_ids, new_ids = {*map(id, pretrained)}, {*map(id, new)}
    assert {id(p) for p in model.backbone.parameters()} <= pretrained_ids
    for head in (model.landmark_head, model.world_head, model.presence_head, model.fusion):
        assert {id(p) for p in head.parameters()} <= new_ids


def test_landmarks_begin_near_the_middle_of_the_crop(images):
    torch.manual_seed(0)
    model = make(BACKBONES["resnet"][0]).eval()
    with torch.no_grad():
        output = model(images, framed=True)
    assert (output.keypoints - 0.5).abs().mean() < 0.3 and output.joints.norm(dim=-1).mean() < 1.0


def test_a_pretrained_backbone_is_taken_over(images):
    torch.manual_seed(0)
    backbone = randomize_zero_layers(AutoBackbone.from_config(BACKBONES["dinov2"][0]), 0.1)
    model = HandImageEncoder.from_backbone(backbone, image_size=SIZE, image_mean=[0.5] * 3, image_std=[0.25] * 3).eval()
    seen = []
    hook = model.fusion.register_forward_pre_hook(lambda module, inputs: seen.extend(inputs[0]))
    with torch.no_grad():
        model(images, framed=True)
        expected = backbone((images - 0.5) / 0.25).feature_maps
    hook.remove()
    assert len(seen) == len(expected) == 2
    for found, wanted in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_images_are_normalised_as_imagenet_only_for_a_foreign_backbone():
    assert HandImageEncoderConfig().image_mean == [0, 0, 0] and HandImageEncoderConfig().image_std == [1, 1, 1]
    assert HandImageEncoderConfig(backbone_config=BACKBONES["resnet"][0]).image_mean == [0.485, 0.456, 0.406]


def test_the_configuration_may_be_plain_fields(tmp_path):
    fields = {"model_type": "dinov2", "patch_size": 16, "out_indices": [1, 2], **TOKENS}
    model = make(fields)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())["backbone_config"]
    assert written["model_type"] == "dinov2" and written["out_indices"] == [1, 2] and written["hidden_size"] == 16


@pytest.mark.parametrize(
    ("backbone", "fields", "message"),
    [
        ({"hidden_size": 16}, {}, "backbone_config: expected a model_type that transformers knows, got None"),
        (
            {"model_type": "no such"},
            {},
            "backbone_config: expected a model_type that transformers knows, got 'no such'",
        ),
        (ViTConfig(), {}, "backbone_config: expected that of an AutoBackbone, got ViTConfig"),
        (PreTrainedConfig(), {}, "backbone_config: expected that of an AutoBackbone"),
        (Dinov2Config(patch_size=14), {"image_size": 256}, r"image_size must be a multiple of the patches .*\(14\)"),
        (None, {"image_std": [1.0, 0.0, 1.0]}, "image_std"),
        (None, {"image_mean": [0.5]}, "image_mean"),
    ],
)
def test_impossible_backbones_are_refused_by_name(backbone, fields, message):
    with pytest.raises(InputError, match=message):
        HandImageEncoderConfig(backbone_config=backbone, **fields)


@pytest.mark.parametrize("name", ["dinov2", "vitpose"])
def test_the_attention_can_be_chosen(name, images, tmp_path):
    model = make(BACKBONES[name][0]).eval()
    model.save_pretrained(tmp_path)
    eager = HandImageEncoder.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert eager.backbone.model.config._attn_implementation == "eager"
    with torch.no_grad():
        torch.testing.assert_close(eager(images).keypoints, model(images).keypoints, atol=1e-4, rtol=0)


def test_a_checkpoint_in_half_precision_can_also_be_built_anew(images, tmp_path):
    """The backbone's own dtype in the configuration must not differ from that of the heads."""
    make(BACKBONES["dinov2"][0]).half().save_pretrained(tmp_path)
    model = HandImageEncoder(HandImageEncoderConfig.from_pretrained(tmp_path)).eval()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with torch.no_grad():
        model(images)
