"""The hand detector's network: anchors, suppression, the squares of hands, reload, and equality with the originals."""

import copy
import importlib.util
import os
from pathlib import Path

import pytest
import torch

from hf_handdiff.models import HandDetector, HandDetectorConfig
from hf_handdiff.models.hand_detector import HandsInSquares, anchor_centres, hand_squares, merge_palms

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


def test_who_changes_the_anchors_changes_their_own():
    anchor_centres(64).zero_()
    assert anchor_centres(64).min() > 0


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


def test_a_picture_need_not_be_square(tiny):
    """The network says pixels, whatever the picture's shape; the answer is shares of its width and of its height."""
    model = copy.deepcopy(tiny)
    with torch.no_grad():
        for head, anchors_per_cell in ((model.head_fine, 2), (model.head_coarse, 6)):
            head.place.weight.zero_()
            head.place.bias.copy_(torch.tensor([8.0, -4.0, 16.0, 12.0] + [10.0, 20.0] * 7).repeat(anchors_per_cell))
        out = model(torch.rand(1, 3, 64, 96))
    size = torch.tensor([96.0, 64.0])
    centres = anchor_centres(64, 96) * size
    torch.testing.assert_close(centres[:4], torch.tensor([[4.0, 4], [4, 4], [12, 4], [12, 4]]))
    assert out.score_logits.shape == (1, 336)
    torch.testing.assert_close(
        out.boxes[0] * size.repeat(2), torch.cat([centres, centres], -1) + torch.tensor([0, -10, 16, 2])
    )
    torch.testing.assert_close(out.points[0, :, 6] * size, centres + torch.tensor([10, 20]))
    with pytest.raises(ValueError, match="multiples of 32"):
        tiny(torch.rand(1, 3, 64, 50))


def test_both_ways_is_the_same_of_a_picture_and_its_mirror_image(tiny):
    squares = torch.rand(3, 3, 64, 64)
    found, mirrored = tiny.hands_both_ways(squares), tiny.hands_both_ways(squares.flip(-1))
    torch.testing.assert_close(mirrored.hand_score, found.hand_score)
    torch.testing.assert_close(mirrored.right_score, 1 - found.right_score)
    torch.testing.assert_close(mirrored.mirror_gap, found.mirror_gap)
    torch.testing.assert_close(mirrored.keypoints[..., 0], 1 - found.keypoints[..., 0])
    torch.testing.assert_close(mirrored.keypoints[..., 1], found.keypoints[..., 1])


def test_what_counts_as_a_hand(tiny):
    cases = [  # hand score, mirror gap, palm score, is it a hand
        (0.9, 0.02, 0.9, True),
        (0.45, 0.02, 1.0, False),  # no hand says the hand network
        (0.9, 0.10, 0.9, False),  # its mirror image has its keypoints elsewhere
        (0.6, 0.06, 0.8, True),
        (0.6, 0.06, 0.5, False),  # neither network is sure
    ]
    scores, gaps, palms, expected = (torch.tensor(column) for column in zip(*cases, strict=True))
    found = HandsInSquares(torch.zeros(len(cases), 21, 2), scores, torch.zeros(len(cases)), gaps)
    assert tiny.are_hands(found, palms).tolist() == expected.tolist()


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
    inside = frame.to_square(torch.tensor([[[12.0, 5.0], [8.0, 5.0]]]))[0]
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
