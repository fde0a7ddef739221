"""`boxes="detect"`: which hand of which image, and what does not go with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline, JointDiffusionPipeline
from hf_handdiff.errors import InputError
from hf_handdiff.models import HandDetector, HandDetectorConfig
from hf_handdiff.models.hand_search import BuiltinHandDetector, DetectedHand, load_hand_detector

EXAMPLE = sorted((Path(__file__).parents[2] / "examples").glob("*.jpg"))[0]


@pytest.fixture
def detecting(tiny_pipeline):
    """The tiny cascade with an untrained detector of the real class."""
    torch.manual_seed(0)
    config = HandDetectorConfig(image_size=64, hand_size=64, widths=(4, 4, 8, 8, 8), blocks_per_stage=2)
    parts = {**tiny_pipeline.components, "hand_detector": HandDetector(config).eval()}
    pipeline = CascadedHandPipeline(**{**parts, "num_inference_steps": 2, "num_mesh_inference_steps": 2})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_every_hand_gets_an_answer(detecting, photo, monkeypatch):
    first = DetectedHand(np.array([20.0, 30, 90, 100]), "left", 0.9, np.zeros((21, 2)))
    second = DetectedHand(np.array([100.0, 30, 150, 100]), "right", 0.8, np.zeros((21, 2)))

    def detect(self, image):
        return [] if image.max() == 0 else [first, second]

    monkeypatch.setattr(BuiltinHandDetector, "detect", detect)
    images = [photo, np.zeros_like(photo), photo]
    out = detecting(images, boxes="detect", num_hypotheses=2, generator=[1, 2, 3])
    assert out.image_indices.tolist() == [0, 0, 2, 2] and out.handedness == ["left", "right"] * 2
    np.testing.assert_allclose(out.boxes[1], second.box)
    told = detecting(photo, handedness="left", boxes=first.box, num_hypotheses=2, generator=3)
    np.testing.assert_allclose(out.joints[2], told.joints[0], atol=1e-4)
    assert told.image_indices is None and told.boxes is None
    with pytest.raises(InputError, match="found no hand in the image"):
        detecting(images[1], boxes="detect")


def test_what_does_not_go_with_it(detecting, tiny_pipeline, photo):
    for options, word in (
        ({"boxes": "find"}, "boxes"),
        ({"handedness": "left"}, "handedness"),
        ({"keypoints_2d": np.zeros((1, 21, 2))}, "keypoints_2d"),
    ):
        with pytest.raises(InputError, match=f"^{word}: "):
            detecting(photo, **{"boxes": "detect", **options})
    with pytest.raises(InputError, match="hand_detector"):
        tiny_pipeline(photo, boxes="detect")


def test_checkpoints_with_and_without_a_detector_load(detecting, tiny_pipeline, tmp_path):
    detecting.save_pretrained(tmp_path / "with")
    tiny_pipeline.save_pretrained(tmp_path / "without")
    assert JointDiffusionPipeline.from_pretrained(tmp_path / "with").hand_detector is not None
    assert CascadedHandPipeline.from_pretrained(tmp_path / "without").hand_detector is None
    with pytest.raises(InputError, match="hand_detector"):
        load_hand_detector(tmp_path / "without")


def test_an_untrained_detector_runs_on_any_photo(detecting):
    config = detecting.hand_detector.config
    config.min_hand_score, config.min_joint_score, config.max_mirror_gap = 0.0, 0.0, 100.0
    detector = BuiltinHandDetector(detecting.hand_detector, min_score=0.0)
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (5, 300), (120, 90)):
        for hand in detector.detect(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)):
            assert np.isfinite(hand.box).all() and hand.handedness in ("left", "right")


@pytest.fixture(scope="module")
def bundled():
    return BuiltinHandDetector(load_hand_detector(DEFAULT_CHECKPOINT))


@pytest.mark.parametrize("change", ["quarter turn", "grey", "12 megapixels", "as it is"])
def test_the_bundled_detector_finds_the_example_in_other_guises(bundled, change):
    picture = Image.open(EXAMPLE).convert("RGB")
    canvas = Image.new("RGB", (2 * picture.width, picture.height * 3 // 2), (120, 125, 130))
    canvas.paste(picture, (picture.width // 2, picture.height // 4))
    if change == "quarter turn":
        canvas = canvas.transpose(Image.Transpose.ROTATE_90)
    elif change == "grey":
        canvas = canvas.convert("L").convert("RGB")
    elif change == "12 megapixels":
        canvas = canvas.resize((4000, 3000))
    (hand,) = bundled.detect(np.asarray(canvas))
    middle = (hand.box[:2] + hand.box[2:]) / 2 / canvas.size
    assert (abs(middle - 0.5) < 0.25).all()


def test_the_bundled_detector_finds_an_example_and_its_mirror_image(bundled):
    detector = bundled
    picture = Image.open(EXAMPLE).convert("RGB")
    canvas = Image.new("RGB", (3 * picture.width, 2 * picture.height), (120, 125, 130))
    canvas.paste(picture, (picture.width, picture.height // 2))
    pixels = np.asarray(canvas)
    (hand,), (mirrored,) = detector.detect(pixels), detector.detect(np.ascontiguousarray(pixels[:, ::-1]))
    assert {hand.handedness, mirrored.handedness} == {"left", "right"}
    assert picture.width < hand.box[[0, 2]].mean() < 2 * picture.width
    np.testing.assert_allclose(canvas.width - hand.box[[2, 0]], mirrored.box[[0, 2]], atol=0.08 * picture.width)
    assert detector.detect(np.full((300, 400, 3), 127, np.uint8)) == []
