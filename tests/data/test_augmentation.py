import math

import pytest
import torch

from hf_handdiff.camera import project
from hf_handdiff.data.augmentation import AugmentationConfig, augment_batch, centre_crop_batch, whole_image_batch
from hf_handdiff.data.pasted_hands import paste_hands

PLAIN = {
    "brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "white_balance": 0.0,
    "hue_deg": 0.0, "tone": 0.0, "grayscale_probability": 0.0, "blur_probability": 0.0,
    "noise_probability": 0.0, "shake_probability": 0.0, "defocus_probability": 0.0,
    "low_resolution_probability": 0.0, "jpeg_probability": 0.0,
}  # fmt: skip
NO_COLOUR = AugmentationConfig(**PLAIN, patch_probability=0.0, pasted_hand_probability=0.0)
PATCHES = AugmentationConfig(**PLAIN, patch_probability=1.0, pasted_hand_probability=0.0)


def make_batch(count=8, seed=0):
    """Made-up hands off the camera's axis; a white dot of 2 px on black at each keypoint."""
    generator = torch.Generator().manual_seed(seed)
    intrinsics = torch.tensor([[400.0, 0.0, 90.0], [0.0, 400.0, 130.0], [0.0, 0.0, 1.0]]).repeat(count, 1, 1)
    joints = 0.16 * (torch.rand(count, 21, 3, generator=generator) - 0.5) + torch.tensor([0.02, -0.02, 0.6])
    points = project(joints, intrinsics)
    axis = torch.arange(224) + 0.5
    squares = (axis - points[..., :1]).square()[:, :, None] + (axis - points[..., 1:]).square()[..., None]
    image = torch.exp(-0.5 * squares / 2.0**2).amax(dim=1)
    has_hand = torch.ones(count, dtype=torch.bool)
    has_hand[-1] = False
    return {
        "image": (255 * image).round().to(torch.uint8)[:, None].repeat(1, 3, 1, 1),
        "has_hand": has_hand,
        "keypoints_2d_px": points * has_hand[:, None, None],
        "keypoints_visible": torch.ones(count, 21, dtype=torch.bool) & has_hand[:, None],
        "joints_m": joints * has_hand[:, None, None],
        "vertices_m": joints * has_hand[:, None, None],
        "intrinsics_px": intrinsics,
    }


def brightness_at(pixel_values, keypoints):
    grid = 2 * keypoints[:, :, None] - 1
    return torch.nn.functional.grid_sample(pixel_values, grid, align_corners=False)[:, 0, :, 0]


def test_shapes_and_ranges():
    out = augment_batch(make_batch(), torch.Generator().manual_seed(0))
    assert out["pixel_values"].shape == (8, 3, 224, 224)
    assert out["pixel_values"].min() >= 0 and out["pixel_values"].max() <= 1
    assert out["keypoints"].shape == (8, 21, 2)
    assert out["keypoints_visible"].dtype == torch.bool
    assert out["joints_m"].shape == out["vertices_m"].shape == (8, 21, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_stay_on_their_dots(seed):
    out = augment_batch(make_batch(seed=seed), torch.Generator().manual_seed(seed), NO_COLOUR)
    brightness = brightness_at(out["pixel_values"], out["keypoints"])
    seen = out["keypoints_visible"]
    assert seen.sum() > 100
    assert brightness[seen].min() > 0.85


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_joints_project_onto_the_keypoints_after_any_turn(seed):
    out = augment_batch(make_batch(seed=seed), torch.Generator().manual_seed(seed))
    hand = out["has_hand"]
    projected = project(out["joints_m"], out["intrinsics_px"]) / 224
    torch.testing.assert_close(projected[hand], out["keypoints"][hand], atol=1e-5, rtol=0)
    torch.testing.assert_close(out["vertices_m"], out["joints_m"])


def test_rotation_is_a_turn_about_the_optical_axis():
    batch = make_batch()
    out = augment_batch(batch, torch.Generator().manual_seed(3))
    rotation = out["rotation"]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).repeat(8, 1, 1))
    assert (rotation[:, 2] == torch.tensor([0.0, 0.0, 1.0])).all()
    torch.testing.assert_close(batch["joints_m"] @ rotation.transpose(1, 2), out["joints_m"])
    angles = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    assert angles.std() > math.radians(10)


def test_the_same_generator_gives_the_same_batch_and_another_does_not():
    batch = make_batch()
    first = augment_batch(batch, torch.Generator().manual_seed(5))
    torch.rand(100)  # the global generator plays no part
    second = augment_batch(batch, torch.Generator().manual_seed(5))
    other = augment_batch(batch, torch.Generator().manual_seed(6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])


def test_input_is_left_as_it_was():
    batch = make_batch()
    before = {name: value.clone() for name, value in batch.items()}
    augment_batch(batch, torch.Generator().manual_seed(0))
    assert all(torch.equal(before[name], batch[name]) for name in batch)


def test_patches_hide_the_joints_that_they_cover():
    batch = make_batch()
    batch["image"] = torch.full_like(batch["image"], 128)
    crops = {"seen": 0, "hidden": 0}
    for seed in range(4):
        out = augment_batch(batch, torch.Generator().manual_seed(seed), PATCHES)
        inside = ((out["keypoints"] > 0.02) & (out["keypoints"] < 0.98)).all(-1) & out["has_hand"][:, None]
        painted = (brightness_at(out["pixel_values"], out["keypoints"]) - 128 / 255).abs() > 0.02
        assert not (painted & inside & out["keypoints_visible"])[:, :].float().mean() > 0.02  # edges of patches
        crops["hidden"] += int((inside & ~out["keypoints_visible"]).sum())
        crops["seen"] += int((inside & out["keypoints_visible"]).sum())
    assert crops["hidden"] > 20 and crops["seen"] > 100


def test_what_leaves_the_crop_is_not_visible():
    config = AugmentationConfig(scale=(0.4, 0.5))
    out = augment_batch(make_batch(), torch.Generator().manual_seed(0), config)
    outside = ((out["keypoints"] < 0) | (out["keypoints"] > 1)).any(-1)
    assert outside.any()
    assert not out["keypoints_visible"][outside].any()


def test_images_without_a_hand_keep_no_labels():
    out = augment_batch(make_batch(), torch.Generator().manual_seed(0))
    assert not out["has_hand"][-1]
    assert not out["keypoints_visible"][-1].any()


def test_centre_crop_is_the_box_and_its_margin():
    out = centre_crop_batch(make_batch())
    points = out["keypoints"][out["has_hand"]]
    low, high = points.amin(1), points.amax(1)
    torch.testing.assert_close((low + high) / 2, torch.full_like(low, 0.5), atol=1e-4, rtol=0)
    torch.testing.assert_close((high - low).amax(-1), torch.full((7,), 1 / 1.4), atol=1e-4, rtol=0)
    assert brightness_at(out["pixel_values"], out["keypoints"])[out["has_hand"]].min() > 0.85


def test_plain_pictures_show_no_hand():
    config = AugmentationConfig(**PLAIN, patch_probability=0.0, pasted_hand_probability=0.0, plain_probability=0.5)
    batch = make_batch(count=40)
    out = augment_batch(batch, torch.Generator().manual_seed(0), config)
    plain = out["pixel_values"].flatten(2).std(-1).amax(-1) == 0
    assert 10 < plain.sum() < 30
    assert torch.equal(out["has_hand"], batch["has_hand"] & ~plain)
    assert not out["keypoints_visible"][plain].any()


def one_colour_hands(colours):
    """Two hands of given gray values, open and upright, in the middle of the crop."""
    fan = torch.linspace(-0.2, 0.2, 5)
    points = torch.zeros(21, 2)
    points[0] = torch.tensor([0.5, 0.8])
    for finger in range(5):
        for bone in range(4):
            reach = 0.15 + 0.12 * (bone + 1)
            points[1 + 4 * finger + bone] = torch.tensor([0.5 + fan[finger] * (bone + 2) / 4, 0.8 - reach])
    images = torch.stack([torch.full((3, 224, 224), colour) for colour in colours])
    return images, points.repeat(len(colours), 1, 1)


def test_pasted_hands_cover_the_joints_that_they_hide():
    images, points = one_colour_hands([0.25, 0.75])
    radius, has_hand = torch.full((2,), 0.03), torch.tensor([True, True])
    hidden = 0
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        pasted, covered = paste_hands(images, points, radius, has_hand, 1.0, generator)
        for i, other in ((0, 0.75), (1, 0.25)):
            colour = brightness_at(pasted[i : i + 1], points[i : i + 1])[0]
            assert ((colour - other).abs() < 0.26)[covered[i]].all()  # what is seen there is the other hand
            assert ((colour - images[i, 0, 0, 0]).abs() < 0.26)[~covered[i]].all()
            hidden += covered[i].sum().item()
    assert hidden > 10


def test_hands_are_pasted_only_over_hands():
    images, points = one_colour_hands([0.25, 0.75])
    radius, has_hand = torch.full((2,), 0.03), torch.tensor([True, False])
    pasted, covered = paste_hands(images, points, radius, has_hand, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(pasted, images) and not covered.any()


def test_whole_images_stay_as_they_are():
    batch = make_batch()
    out = whole_image_batch(batch)
    torch.testing.assert_close(out["pixel_values"], batch["image"] / 255.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(out["intrinsics_px"], batch["intrinsics_px"])
    torch.testing.assert_close(224 * out["keypoints"][:-1], batch["keypoints_2d_px"][:-1])
    torch.testing.assert_close(out["joints_m"], batch["joints_m"])


def test_crops_of_the_whole_image_show_all_of_it():
    still = dict(any_rotation_probability=0.0, small_rotation_deg=0.0, whole_probability=1.0)
    batch = make_batch()
    exact = AugmentationConfig(**PLAIN, **still, patch_probability=0.0, pasted_hand_probability=0.0,
                               whole_scale=(1.0, 1.0), whole_shift=0.0)  # fmt: skip
    out = augment_batch(batch, torch.Generator().manual_seed(0), exact)
    torch.testing.assert_close(out["pixel_values"], batch["image"] / 255.0, atol=1e-3, rtol=0)
    torch.testing.assert_close(224 * out["keypoints"][:-1], batch["keypoints_2d_px"][:-1])
    moved = AugmentationConfig(**PLAIN, **still, patch_probability=0.0, pasted_hand_probability=0.0)
    points = augment_batch(batch, torch.Generator().manual_seed(0), moved)["keypoints"][:-1]
    side = batch["keypoints_2d_px"][:-1].diff(dim=1).norm(dim=-1) / points.diff(dim=1).norm(dim=-1) / 224
    assert side.min() >= 0.8 - 1e-4 and side.max() <= 1.15 + 1e-4 and side[:, 0].std() > 0.01
