import copy

import image_encoder
import pytest
import torch
from handdiff_training.cpu_depthwise import use_quick_backward
from handdiff_training.encoder_loss import LossWeights, encoder_loss, heatmap_divergence, view_joints
from handdiff_training.encoding import with_new_head
from transformers import ConvNextConfig, Dinov2Config, ResNetConfig

from hf_handdiff import DEFAULT_CHECKPOINT
from hf_handdiff.camera import project
from hf_handdiff.data.augmentation import augment_batch
from hf_handdiff.errors import InputError
from hf_handdiff.models.hand_landmark_backbone import SameConv2d
from hf_handdiff.models.image_encoder import HandImageEncoder
from hf_handdiff.models.image_encoder_config import HandImageEncoderConfig


def make_batch(count=4):
    generator = torch.Generator().manual_seed(0)
    intrinsics = torch.tensor([[400.0, 0.0, 90.0], [0.0, 400.0, 130.0], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)
    joints = 0.16 * (torch.rand(count, 21, 3, generator=generator) - 0.5) + torch.tensor([0.02, -0.02, 0.6])
    has_hand = torch.arange(count) < count - 1
    batch = {
        "image": torch.randint(256, (count, 3, 224, 224), generator=generator).to(torch.uint8),
        "has_hand": has_hand,
        "keypoints_2d_px": project(joints, intrinsics) * has_hand[:, None, None],
        "keypoints_visible": (torch.rand(count, 21, generator=generator) < 0.7) & has_hand[:, None],
        "joints_m": joints * has_hand[:, None, None],
        "intrinsics_px": intrinsics,
    }
    return augment_batch(batch, generator)


def test_quick_backward_gives_the_gradients_of_the_plain_one():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(
        SameConv2d(8, 8, 3, groups=8), SameConv2d(8, 8, 5, groups=8), SameConv2d(8, 8, 3, stride=2, groups=8),
        SameConv2d(8, 8, 5, stride=2, groups=8), SameConv2d(8, 4, 3),
    ).double()  # fmt: skip
    quick = copy.deepcopy(plain)
    assert use_quick_backward(quick) == 4
    image = torch.rand(2, 8, 16, 16, dtype=torch.double)
    first, second = image.clone().requires_grad_(), image.clone().requires_grad_()
    expected, found = plain(first), quick(second)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(second.grad, first.grad)
    for one, other in zip(plain.parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_the_backward_of_other_depthwise_convolutions_stays_their_own():
    """Those of transformers' backbones are padded alike on both sides, also with stride 2."""
    plain = torch.nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
    image = torch.rand(2, 8, 16, 16)
    expected = plain(image)
    assert use_quick_backward(plain) == 0
    assert torch.equal(plain(image), expected)


def test_loss_is_finite_and_falls_on_one_batch():
    torch.manual_seed(0)
    model, batch = HandImageEncoder(HandImageEncoderConfig()), make_batch()
    optimizer = torch.optim.AdamW(model.new_parameters() + list(model.landmark_head.parameters()), lr=1e-3)
    losses = []
    for _ in range(5):
        loss, terms = encoder_loss(model(batch["pixel_values"], framed=True), batch, LossWeights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.isfinite(value) for value in terms.values())
    assert losses[-1] < losses[0]


SCALES = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 12, 16, 24],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
BACKBONES = {
    "resnet": ResNetConfig(embedding_size=8, layer_type="basic", **SCALES),
    "convnext": ConvNextConfig(**SCALES),
    "dinov2": Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=14, image_size=224, out_indices=[1, 2]
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_an_encoder_on_a_backbone_of_transformers_learns(name, tmp_path):
    torch.manual_seed(0)
    config = HandImageEncoderConfig(backbone_config=BACKBONES[name], point_feature_size=16, global_feature_size=24)
    model, batch = HandImageEncoder(config), make_batch()
    before = {key: value.clone() for key, value in model.backbone.named_parameters()}
    optimizer = torch.optim.AdamW(
        [{"params": model.new_parameters()}, {"params": model.pretrained_parameters(), "lr": 1e-4}], lr=3e-3
    )
    losses = []
    for _ in range(8):
        loss, _ = encoder_loss(model(batch["pixel_values"], framed=True), batch, LossWeights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert any(not torch.equal(value, before[key]) for key, value in model.backbone.named_parameters())
    model.eval().save_pretrained(tmp_path)
    again = HandImageEncoder.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(batch["pixel_values"]).keypoints, model(batch["pixel_values"]).keypoints)


def test_images_without_a_hand_only_train_the_hand_score():
    torch.manual_seed(0)
    model, batch = HandImageEncoder(HandImageEncoderConfig()), make_batch()
    batch["has_hand"] = torch.zeros(4, dtype=torch.bool)
    with torch.no_grad():
        _, terms = encoder_loss(model(batch["pixel_values"]), batch, LossWeights())
    assert terms["presence"] > 0
    assert all(value == 0 for name, value in terms.items() if name != "presence")


def test_divergence_is_zero_for_the_target_itself():
    truth = torch.tensor([[[0.3, 0.7]]])
    cells = (torch.arange(28) + 0.5) / 28
    squares = (cells - 0.3).square()[None, :] + (cells - 0.7).square()[:, None]
    logits = (-0.5 * squares / 0.03**2)[None, None] + 5.0
    assert heatmap_divergence(logits, truth, 0.03).abs().max() < 1e-5
    assert heatmap_divergence(torch.zeros(1, 1, 28, 28), truth, 0.03) > 1


def test_view_joints_are_the_camera_joints_turned_about_the_wrist():
    batch = make_batch()
    joints = view_joints(batch)
    lengths = (batch["joints_m"] - batch["joints_m"][:, :1]).norm(dim=-1)
    assert (joints[:, 0] == 0).all()
    torch.testing.assert_close(joints.norm(dim=-1), lengths)


def test_mirrored_crops_teach_the_side_alone(tiny_pipeline):
    encoder, batch = with_new_head(tiny_pipeline.image_encoder, side_hidden_size=4), make_batch()
    batch["is_mirrored"] = torch.ones(4, dtype=torch.bool)
    _, terms = encoder_loss(encoder(batch["pixel_values"], framed=True), batch, LossWeights())
    assert {name for name, value in terms.items() if value != 0} == {"side", "presence"}
    batch["is_mirrored"][:2] = False
    _, terms = encoder_loss(encoder(batch["pixel_values"], framed=True), batch, LossWeights())
    assert all(value != 0 for value in terms.values())


def test_some_crops_are_mirrored_with_their_labels_as_they_were():
    batch = make_batch(40)
    mirrored = image_encoder._some_mirrored(batch, 0.3, torch.Generator().manual_seed(0))
    which = mirrored["is_mirrored"]
    assert 4 < which.sum() < 20
    assert torch.equal(mirrored["pixel_values"][which].flip(-1), batch["pixel_values"][which])
    assert torch.equal(mirrored["pixel_values"][~which], batch["pixel_values"][~which])
    assert torch.equal(mirrored["keypoints"], batch["keypoints"])


def test_figures_of_the_side_count_what_is_noticed():
    figures = image_encoder.side_figures(torch.tensor([3.0, 2.0, 1.0, -1.0]), torch.tensor([-3.0, -2.0, 1.5, -1.5]))
    assert figures == {"side_noticed_%": 75, "side_false_%": 25, "side_noticed_at_3_%": 75}


def test_frozen_stages_stay_as_they_were(tiny_parts, tmp_path):
    args = "--initial bundled --frozen stem stage1 --max_train_steps 1 --lr_warmup_steps 0 --train_batch_size 2 "
    args += "--num_validation_images 2 --dataloader_num_workers 0 --report_to none --cpu"
    image_encoder.main([*args.split(), "--corpus", str(tiny_parts.corpus), "--output_dir", str(tmp_path)])
    saved = HandImageEncoder.from_pretrained(tmp_path / "model").backbone.state_dict()
    before = HandImageEncoder.from_pretrained(DEFAULT_CHECKPOINT, subfolder="image_encoder").backbone.state_dict()
    changed = {name.split(".")[0] for name in saved if not torch.equal(saved[name], before[name])}
    assert changed == {"stem_depthwise", "stem_project", "stage2", "stage3", "stage4", "stage5", "final_expand",
                       "final_depthwise"}  # fmt: skip


def test_stages_of_another_backbone_are_not_frozen(tiny_parts, capsys):
    with pytest.raises(SystemExit):
        image_encoder.main(["--initial", "none", "--backbone", str(tiny_parts.encoder), "--frozen", "stem"])
    assert "--frozen: expected with --initial alone" in capsys.readouterr().err
    with pytest.raises(InputError, match="--frozen: expected an --initial on the built-in backbone"):
        given = {"--initial": tiny_parts.encoder, "--corpus": tiny_parts.corpus, "--frozen": "stem"}
        image_encoder.main([str(word) for flag in given.items() for word in flag])
