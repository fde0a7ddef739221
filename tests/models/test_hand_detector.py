"""The hand detector's network: anchors, suppression, the squares of hands, reload, and equality with the originals."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch

from hf_handdiff.models import HandDetector, HandDetectorConfig
from hf_handdiff.models.hand_detector import anchor_centres, hand_squares, merge_palms

SCRIPT = Path(__file__).parents[2] / "scripts" / "convert_palm_detection.py"


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = HandDetectorConfig(image_size=64, hand_size=64, widths=(4, 4, 8, 8, 8), blocks_per_stage=2)
    return HandDetector(config).eval()


def test_anchors_are_those_of_the_original():
    anchors = anchor_centres(192)
    assert anchors.shape == (2016, 2)
    torch.testing.assert_close(anchors[:2], torch.full((2, 2), 0.5 / 24))
    torch.testing.assert_close(anchors[2], torch.tensor([1.5 / 24, 0.5 / 24]))
    torch.testing.assert_close(anchors[1152:1158], torch.full((6, 2), 0.5 / 12))


def test_shapes_and_reload(tiny, tmp_path):
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        out = tiny(pictures)
    assert out.boxes.shape == (2, 224, 4) and out.points.shape == (2, 224, 7, 2) and out.score_logits.shape == (2, 224)
    found = tiny.hands(pictures)
    assert found.keypoints.shape == (2, 21, 2) and found.hand_score.shape == found.right_score.shape == (2,)
    tiny.save_pretrained(tmp_path)
    again = HandDetector.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(pictures).to_tuple(), out.to_tuple(), rtol=0, atol=0)


def test_overlapping_palms_become_their_weighted_mean():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.1, 0, 1.1, 1], [3.0, 3, 4, 4]])
    points = boxes[:, None, :2].expand(3, 7, 2)
    merged = merge_palms(boxes, points, torch.tensor([0.6, 0.9, 0.7]), 0.3)
    torch.testing.assert_close(merged.scores, torch.tensor([0.9, 0.7]))
    torch.testing.assert_close(merged.boxes[0, 0], torch.tensor(0.06))
    torch.testing.assert_close(merged.points[1, 0], torch.tensor([3.0, 3.0]))
    assert len(merge_palms(boxes[:0], points[:0], torch.zeros(0), 0.3).scores) == 0


def test_the_square_of_a_hand_lies_towards_its_fingers():
    points = torch.zeros(1, 7, 2)
    points[0, 0], points[0, 2] = torch.tensor([12.0, 5.0]), torch.tensor([8.0, 5.0])  # fingers to the left
    frame = hand_squares(torch.tensor([[8.0, 3.0, 12.0, 7.0]]), points)
    torch.testing.assert_close(frame.centre, torch.tensor([[8.0, 5.0]]))
    torch.testing.assert_close(frame.side, torch.tensor([2.6 * 4]))
    inside = frame.enter(torch.tensor([[[12.0, 5.0], [8.0, 5.0]]]))[0]
    assert inside[0, 1] > inside[1, 1] and torch.allclose(inside[:, 0], torch.tensor(0.5), atol=1e-6)  # upright


def test_equal_to_the_original(monkeypatch):
    """With HANDDIFF_MEDIAPIPE_WHEEL=mediapipe-0.10.21-....whl and ai-edge-litert."""
    wheel = os.environ.get("HANDDIFF_MEDIAPIPE_WHEEL")
    if not wheel:
        pytest.skip("HANDDIFF_MEDIAPIPE_WHEEL does not name the wheel of mediapipe 0.10.21")
    pytest.importorskip("ai_edge_litert")
    monkeypatch.syspath_prepend(SCRIPT.parent)  # for what the converters share
    spec = importlib.util.spec_from_file_location("convert_palm_detection", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    names = (script.PALM_MODEL, script.HAND_MODEL)
    palm, hand = (script.TfliteModel(script.read_from_wheel(Path(wheel), name)) for name in names)
    model = script.convert(palm, hand, HandDetectorConfig())
    assert max(script.parity(palm, hand, model).values()) < script.TOLERANCE
