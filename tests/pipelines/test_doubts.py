"""What the image says against a told side and against given keypoints."""

import copy
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.pipelines import doubts
from hf_handdiff.pipelines.hand_side import LOW_SIDE_SCORE

FAST = {"num_hypotheses": 2, "num_inference_steps": 1, "num_mesh_inference_steps": 1, "generator": 0}


@pytest.fixture(autouse=True)
def told(caplog):
    """Warnings, also after a command, which tells them in its own way."""
    with caplog.at_level(logging.WARNING, logger=doubts.__name__):
        yield


@pytest.fixture(scope="module")
def sure_of_the_side(tiny_pipeline):
    """A function (logit) -> a pipeline whose encoder says that of the side of every hand."""
    encoder = tiny_pipeline.image_encoder
    config = copy.deepcopy(encoder.config)
    config.side_hidden_size = 4
    told = HandImageEncoder(config)
    told.load_state_dict(encoder.state_dict(), strict=False)
    pipeline = CascadedHandPipeline(**{**tiny_pipeline.components, "image_encoder": told.eval()})
    pipeline.set_progress_bar_config(disable=True)

    def of(logit):
        with torch.no_grad():
            told.side_head.out.weight.zero_()
            told.side_head.out.bias.fill_(logit)
        return pipeline

    return of


def test_an_encoder_that_says_the_same_of_both_views_knows_nothing(sure_of_the_side, photo, caplog):
    assert sure_of_the_side(3.0)(photo, **FAST).side_score[0] > 0.99  # the mirror image is not looked at
    assert sure_of_the_side(-3.0)(photo, **FAST).side_score[0] == pytest.approx(0.5, abs=1e-3)
    assert not caplog.messages


def test_without_image_or_head_there_is_no_side_score(sure_of_the_side, tiny_pipeline, photo, caplog):
    points = 40 + 60 * np.random.default_rng(0).random((1, 21, 2))
    out = sure_of_the_side(-3.0)(keypoints_2d=points, **FAST)
    assert np.isnan(out.side_score[0]) and np.isnan(out.keypoint_agreement[0])
    out = tiny_pipeline(photo, **FAST)
    assert np.isnan(out.side_score[0]) and np.isnan(out.keypoint_agreement[0])
    assert not caplog.messages


@pytest.fixture(scope="module")
def bundled():
    pipeline = CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def without_side_head(pipeline):
    """As encoders were before they learned to tell the side."""
    encoder = pipeline.image_encoder
    config = type(encoder.config).from_dict({**encoder.config.to_dict(), "side_hidden_size": None})
    older = HandImageEncoder(config)
    older.load_state_dict(encoder.state_dict(), strict=False)
    changed = CascadedHandPipeline(**{**pipeline.components, "image_encoder": older.eval()})
    changed.set_progress_bar_config(disable=True)
    return changed


@pytest.mark.parametrize("change", [lambda pipeline: pipeline, without_side_head], ids=["both", "detector alone"])
def test_a_side_that_the_image_does_not_show_is_told(bundled, pytestconfig, caplog, change):
    pipeline, picture = change(bundled), pytestconfig.rootpath / "examples" / "hand_1.jpg"  # a right hand
    assert pipeline(picture, handedness="right", **FAST).side_score[0] > 0.5
    assert not any(message.startswith("handedness") for message in caplog.messages)
    out = pipeline([picture, picture], handedness="left", **FAST)
    assert (out.side_score < LOW_SIDE_SCORE).all()
    assert caplog.messages[-1].startswith("handedness: hands 0, 1 are told to be left and seen as right: side_score 0.")


@pytest.mark.parametrize("side", ["right", "left"])
def test_keypoints_that_lie_elsewhere_are_told(bundled, pytestconfig, caplog, side):
    picture = Image.open(pytestconfig.rootpath / "examples" / "hand_1.jpg")  # a right hand
    if side == "left":
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    found = bundled(picture, handedness=side, **FAST).keypoints_2d
    given = {"handedness": side, **FAST}
    out = bundled(picture, keypoints_2d=found, **given)
    assert out.keypoint_agreement[0] == 1
    assert not [message for message in caplog.messages if message.startswith("keypoints_2d")]
    some = found.copy()
    some[0, :5] = np.nan
    assert bundled(picture, keypoints_2d=some, **given).keypoint_agreement[0] == 1
    bundled(picture, keypoints_2d=found[..., ::-1], **given)
    assert "with x and y exchanged they would lie there" in caplog.messages[-1]
    out = bundled(picture, keypoints_2d=0.3 * found, **given)
    assert out.keypoint_agreement[0] < 0.5
    assert caplog.messages[-1].startswith("keypoints_2d: the hand is seen elsewhere in the image")
    assert "exchanged" not in caplog.messages[-1]


def test_keypoints_that_are_no_pixels_are_refused(tiny_pipeline, photo):
    points = np.random.default_rng(0).random((1, 21, 2))
    with pytest.raises(InputError, match="keypoints_2d: expected pixels of an image of 200x150 px, got values within"):
        tiny_pipeline(photo, keypoints_2d=points, **FAST)
    with pytest.raises(InputError, match="keypoints_2d: expected pixels of an image of 200x150 px, got most points"):
        tiny_pipeline(photo, keypoints_2d=900 + points, **FAST)
    camera = np.array([[[500.0, 0, 100], [0, 500, 75], [0, 0, 1]]])
    with pytest.raises(InputError, match="keypoints_2d: expected pixels"):
        tiny_pipeline(keypoints_2d=points, intrinsics=camera, **FAST)
    assert np.isfinite(tiny_pipeline(keypoints_2d=points, **FAST).mean_joints).all()  # of any unit, by themselves
