"""Every bad input gets one clear sentence that names the argument."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.errors import InputError

GOOD_CAMERA = np.array([[300.0, 0, 100], [0, 300, 75], [0, 0, 1]])


def bad_camera(row, column, value):
    camera = GOOD_CAMERA.copy()
    camera[row, column] = value
    return camera


@pytest.mark.parametrize(
    "arguments, names, expects",
    [
        ({"images": []}, "images", "empty list"),
        ({"images": None}, "images", "expected one image"),
        ({"images": 7}, "images", "expected an image"),
        ({"images": np.zeros((4, 4, 3))}, "images", "uint8"),
        ({"images": np.zeros((4, 4), np.uint8)}, "images", "shape"),
        ({"images": np.zeros((0, 4, 3), np.uint8)}, "images", "no pixels"),
        ({"handedness": "both"}, "handedness", "'left' or 'right'"),
        ({"handedness": ["left", "right"]}, "handedness", "1 images"),
        ({"boxes": [[10, 10, 10, 50]]}, "boxes", "without pixels"),
        ({"boxes": [[10, 10, np.nan, 50]]}, "boxes", "finite"),
        ({"boxes": [[1000, 1000, 1100, 1100]]}, "boxes", "200x150"),
        ({"boxes": [1, 2, 3]}, "boxes", "(1, 4)"),
        ({"boxes": "here"}, "boxes", "array of numbers"),
        ({"intrinsics": bad_camera(0, 0, np.nan)}, "intrinsics", "NaN"),
        ({"intrinsics": bad_camera(1, 1, -1)}, "intrinsics", "positive focal"),
        ({"intrinsics": np.eye(4)}, "intrinsics", "(1, 3, 3)"),
        ({"keypoints_2d": np.zeros((1, 20, 2))}, "keypoints_2d", "(1, 21, 2)"),
        ({"keypoints_2d": np.full((1, 21, 2), np.nan)}, "keypoints_2d", "at least two"),
        ({"keypoints_2d": np.full((1, 21, 2), np.inf)}, "keypoints_2d", "infinity"),
        ({"keypoint_scores": np.ones((1, 21))}, "keypoint_scores", "together with keypoints_2d"),
        (
            {"keypoints_2d": np.ones((1, 21, 2)), "keypoint_scores": np.full((1, 21), 2.0)},
            "keypoint_scores",
            "0 to 1",
        ),
        ({"num_hypotheses": 0}, "num_hypotheses", "whole number"),
        ({"num_hypotheses": 2.5}, "num_hypotheses", "whole number"),
        ({"num_inference_steps": 0}, "num_inference_steps", "whole number"),
        ({"num_mesh_inference_steps": -1}, "num_mesh_inference_steps", "whole number"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "number"),
        ({"aggregation": "mode"}, "aggregation", "mean, median, medoid"),
        ({"output_type": "pil"}, "output_type", "'np' or 'pt'"),
        ({"generator": "seed"}, "generator", "torch.Generator"),
        ({"generator": [1, 2]}, "generator", "1 images"),
        ({"generator": -1}, "generator", "at least 0"),
    ],
)
def test_bad_arguments(tiny_pipeline, photo, arguments, names, expects):
    with pytest.raises(ValueError) as error:
        tiny_pipeline(**{"images": photo, "num_hypotheses": 1, **arguments})
    message = str(error.value)
    assert message.startswith(names) and expects in message and "\n" not in message


def test_bad_files(tiny_pipeline, photo, tmp_path):
    whole, text = tmp_path / "whole.png", tmp_path / "text.jpg"
    Image.fromarray(photo).save(whole)
    truncated = tmp_path / "truncated.png"
    truncated.write_bytes(whole.read_bytes()[:200])
    text.write_text("not an image")
    for path, expects in ((truncated, "truncated"), (text, "not an image"), (tmp_path / "none.png", "no file")):
        with pytest.raises(InputError, match=expects) as error:
            tiny_pipeline(str(path))
        assert str(error.value).startswith("images") and "\n" not in str(error.value)


def test_keypoints_in_one_place(tiny_pipeline):
    with pytest.raises(InputError, match="keypoints_2d: expected points that differ"):
        tiny_pipeline(keypoints_2d=np.ones((1, 21, 2)))


def test_a_scheduler_of_another_parametrisation_is_refused(tiny_pipeline):
    parts = {name: getattr(tiny_pipeline, name) for name in tiny_pipeline.components}
    for wrong in (DDIMScheduler(), DDIMScheduler(prediction_type="sample")):  # epsilon; clipping
        with pytest.raises(ValueError, match="joint_scheduler: expected a scheduler for networks that"):
            CascadedHandPipeline(**{**parts, "joint_scheduler": wrong})


def test_checkpoints_with_missing_or_foreign_files(tiny_pipeline, tmp_path):
    good = tmp_path / "good"
    tiny_pipeline.save_pretrained(good)

    missing = tmp_path / "missing"
    shutil.copytree(good, missing)
    (missing / "joint_denoiser" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="checkpoint: .*joint_denoiser") as error:
        CascadedHandPipeline.from_pretrained(missing)
    assert "\n" not in str(error.value)

    foreign = tmp_path / "foreign"
    shutil.copytree(good, foreign)
    index = json.loads((foreign / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionPipeline"
    for part in ("joint_denoiser", "mesh_autoencoder", "mesh_latent_denoiser"):
        del index[part]
    (foreign / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="checkpoint: .*StableDiffusionPipeline"):
        CascadedHandPipeline.from_pretrained(foreign)

    with pytest.raises(InputError, match="checkpoint: .*no model_index.json"):
        CascadedHandPipeline.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="checkpoint: "):
        CascadedHandPipeline.from_pretrained(tmp_path / "nowhere" / "at" / "all")

    damaged = tmp_path / "damaged"
    shutil.copytree(good, damaged)
    weights = damaged / "joint_denoiser" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="checkpoint: .*joint_denoiser"):
        CascadedHandPipeline.from_pretrained(damaged)

    swapped = tmp_path / "swapped"  # weights of another size in place of the right ones
    shutil.copytree(good, swapped)
    config = json.loads((swapped / "joint_denoiser" / "config.json").read_text())
    config["hidden_size"] = 96
    (swapped / "joint_denoiser" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="checkpoint: .*joint_denoiser"):
        CascadedHandPipeline.from_pretrained(swapped)


def test_dtype_names_stay_in_reach(tiny_pipeline, tmp_path):
    """A good checkpoint still takes diffusers' own arguments."""
    tiny_pipeline.save_pretrained(tmp_path)
    assert CascadedHandPipeline.from_pretrained(tmp_path, torch_dtype=torch.float16).dtype == torch.float16
