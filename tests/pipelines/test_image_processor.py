"""The image processor: one cropper, saved with the checkpoint, with a way back to pixels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hf_handdiff import CascadedHandPipeline, HandImageProcessor
from hf_handdiff.camera import crop_image
from hf_handdiff.data.augmentation import crop_batch
from hf_handdiff.errors import InputError


def test_it_is_saved_with_the_checkpoint_and_loaded_again(tiny_pipeline, tmp_path, photo):
    tiny_pipeline.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "image_processor" / "preprocessor_config.json").read_text())
    assert saved["image_size"] == 224
    assert json.loads((tmp_path / "model_index.json").read_text())["image_processor"][0] == "hf_handdiff"
    (tmp_path / "image_processor" / "preprocessor_config.json").write_text(json.dumps({**saved, "image_size": 192}))
    assert CascadedHandPipeline.from_pretrained(tmp_path).image_processor.image_size == 192
    assert HandImageProcessor.from_pretrained(tmp_path, subfolder="image_processor").image_size == 192


def test_points_come_back_to_the_pixels_of_the_photo(photo):
    processor = HandImageProcessor(64)
    batch = processor([photo, photo], boxes=[[20, 30, 80, 90], [20, 30, 80, 90]], handedness=["right", "left"])
    assert batch["pixel_values"].shape == (2, 3, 64, 64)
    corner = processor.to_pixels(torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]]), batch)
    np.testing.assert_allclose(corner[:, 0], [[50 - 42, 60 - 42], [50 + 42, 60 - 42]])
    np.testing.assert_allclose(batch["pixel_values"][0], batch["pixel_values"][1].flip(-1), atol=1e-5)


def test_training_cuts_the_same_pixels_as_inference(photo):
    """`crop_batch` is what trainings see."""
    square = np.zeros((200, 200, 3), np.uint8)
    square[:150] = photo
    for centre, side, limit in (((100, 75), 110, 1e-5), ((100, 75), 160, 1e-5), ((100, 75), 400, 0.01)):
        ours = HandImageProcessor(112).crop([square], torch.tensor([[*centre, side]]).float())
        rows = {
            "image": torch.from_numpy(square).permute(2, 0, 1)[None],
            "has_hand": torch.ones(1, dtype=torch.bool),
            "keypoints_2d_px": torch.zeros(1, 21, 2),
            "keypoints_visible": torch.ones(1, 21, dtype=torch.bool),
            "joints_m": torch.zeros(1, 21, 3),
            "intrinsics_px": torch.eye(3)[None],
        }
        cut = crop_batch(rows, torch.tensor([centre]).float(), torch.tensor([float(side)]), torch.zeros(1), 112)
        inside = -torch.nn.functional.max_pool2d(
            -cut["inside"].float(), 5, 1, 2
        )  # beyond, one goes on, the other is black
        assert ((cut["pixel_values"] - ours).abs() * inside).mean() < limit


def test_a_square_far_larger_than_its_crop_is_averaged_as_pillow_does():
    image = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    ours = crop_image(image, np.array([600, 450, 900]), 60)
    theirs = Image.fromarray(image).crop((150, 0, 1050, 900)).resize((60, 60), Image.Resampling.BOX)
    expected = torch.from_numpy(np.asarray(theirs, np.float32).transpose(2, 0, 1) / 255)
    assert (ours - expected).abs().mean() < 0.02  # noise: one pixel in 225 would be off by 0.25


@pytest.mark.parametrize("size", [0, -1, 2.5, "224", True])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="image_size: expected"):
        HandImageProcessor(size)
