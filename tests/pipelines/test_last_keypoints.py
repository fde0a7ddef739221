"""In a video the encoder looks where the hand was a moment ago."""

import numpy as np
import pytest
import torch
from PIL import Image

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline
from hf_handdiff.errors import InputError
from hf_handdiff.models.hand_framing import frame_around_keypoints

FAST = {"num_hypotheses": 2, "num_inference_steps": 1, "num_mesh_inference_steps": 1, "generator": 0}


@pytest.fixture(scope="module")
def bundled():
    pipeline = CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_moment_later_the_keypoints_are_found_again(bundled, pytestconfig, side):
    picture = Image.open(pytestconfig.rootpath / "examples" / "hand_1.jpg").convert("RGB")
    if side == "left":
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    found = bundled(picture, handedness=side, **FAST).keypoints_2d
    size = np.ptp(found[0], axis=0).max()
    moved = found + 0.05 * size
    again = bundled(picture, handedness=side, last_keypoints_2d=moved, **FAST).keypoints_2d
    assert np.linalg.norm(again - found, axis=-1).mean() < 0.02 * size
    # where the hand is not, it is not found: the points are used
    elsewhere = bundled(picture, handedness=side, last_keypoints_2d=0.3 * found, **FAST).keypoints_2d
    assert np.linalg.norm(elsewhere - found, axis=-1).mean() > 0.1 * size


def test_the_square_round_them_is_the_only_one(tiny_pipeline):
    encoder, pixels = tiny_pipeline.image_encoder, torch.rand(2, 3, 224, 224)
    frame = frame_around_keypoints(0.2 + 0.6 * torch.rand(2, 21, 2))
    with torch.no_grad():
        output = encoder(pixels, frame=frame)
    assert output.frame is frame and output.keypoints.shape == (2, 21, 2)


@pytest.mark.parametrize(
    "last, sentence",
    [
        (np.zeros((2, 21, 2)), "last_keypoints_2d: expected an array of shape"),
        (np.full((1, 21, 2), np.nan), "last_keypoints_2d: expected finite pixels that differ"),
        (np.random.default_rng(0).random((1, 21, 2)), "last_keypoints_2d: expected pixels of an image"),
        (np.full((1, 21, 2), 50.0), "last_keypoints_2d: expected finite pixels that differ"),
    ],
)
def test_wrong_ones_are_one_sentence(tiny_pipeline, photo, last, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        tiny_pipeline(photo, last_keypoints_2d=last, **FAST)


def test_without_an_image_they_are_refused(tiny_pipeline):
    points = 40 + 60 * np.random.default_rng(0).random((1, 21, 2))
    with pytest.raises(InputError, match="^last_keypoints_2d: expected only together with images"):
        tiny_pipeline(keypoints_2d=points, last_keypoints_2d=points, **FAST)
