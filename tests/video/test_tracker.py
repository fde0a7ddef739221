"""`HandTracker`: frame by frame it is what `handdiff predict` is on a video, with a small untrained pipeline."""

import json

import numpy as np
import pytest
from PIL import Image

import hf_handdiff
from hf_handdiff.cli.main import main
from hf_handdiff.errors import InputError
from hf_handdiff.export.records import frame_record, record_as_json
from hf_handdiff.models.hand_search import DetectedHand
from hf_handdiff.video import tracking
from hf_handdiff.video.following import HandTracker, follow_hands
from hf_handdiff.video.reading import VideoReader

pytest.importorskip("av")

BOX = (30, 20, 110, 110)
SAMPLING = {"num_hypotheses": 3, "generator": 0}


@pytest.fixture(autouse=True)
def every_crop_is_a_hand(monkeypatch):
    """Untrained networks see no hands."""
    monkeypatch.setattr(tracking, "LOST_BELOW", 0.0)


@pytest.fixture
def frames(clip):
    with VideoReader(clip[0]) as reader:
        return list(reader)


class TwoHands:
    """A detector that finds two hands in every frame, one of each side."""

    def detect(self, image):
        boxes = np.array([BOX, (90.0, 10, 150, 80)])
        return [
            DetectedHand(box, side, 0.9, np.zeros((21, 2))) for box, side in zip(boxes, ("right", "left"), strict=True)
        ]


@pytest.mark.parametrize("lookahead", [0, 2])
def test_frame_by_frame_it_says_what_predict_writes(clip, frames, checkpoint, pipeline, tmp_path, lookahead):
    """Without lookahead at once; with it, the same class does the video."""
    arguments = ["predict", clip[0], "--out", tmp_path, "--checkpoint", checkpoint, "--num-hypotheses", 3]
    arguments += ["--box", ",".join(map(str, BOX)), "--intrinsics", "300,300,80,60", "--lookahead", lookahead]
    assert main([str(argument) for argument in arguments]) == 0
    written = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    camera = np.array([[300.0, 0, 80], [0, 300, 60], [0, 0, 1]])
    tracker = HandTracker(pipeline, box=BOX, intrinsics=camera, lookahead=lookahead, **SAMPLING)
    if lookahead:
        done = list(follow_hands(frames, tracker))
        answers = [[entry.hands[number] for number in sorted(entry.hands)] for entry in done]
    else:
        answers = [tracker(frame.pixels, frame.time_s) for frame in frames]
    for line, frame, hands in zip(written, frames, answers, strict=True):
        record = json.loads(record_as_json(frame_record(frame, {hand.number: hand for hand in hands})))
        (own,), (other,) = record["hands"], line["hands"]
        assert own.keys() == other.keys()
        for key, value in own.items():
            np.testing.assert_allclose(value, other[key], atol=1e-5) if isinstance(value, list) else None
        assert (own["id"], own["linked_hypothesis"]) == (other["id"], other["linked_hypothesis"])


def test_without_smoothing_it_is_the_answer_of_the_frame(frames, pipeline):
    tracker = hf_handdiff.HandTracker(pipeline, box=BOX, handedness="left", smooth=False, **SAMPLING)
    last = None
    for frame in frames[:3]:
        (hand,) = tracker(Image.fromarray(frame.pixels), frame.time_s)
        box = np.array(hand.box, np.float32)
        out = pipeline(frame.pixels, handedness="left", boxes=box, last_keypoints_2d=last, **SAMPLING)
        last = hand.keypoints  # from the second frame on, the encoder looks there at once
        same = {"joints": "mean_joints", "vertices": "mean_vertices", "joint_std": "joint_std"}
        same |= {"keypoints": "keypoints_2d", "keypoint_scores": "keypoint_scores", "hand_score": "hand_score"}
        same |= {name: name for name in ("global_orient", "hand_pose", "betas", "hand_scale")}
        for name, of_output in same.items():
            np.testing.assert_allclose(getattr(hand, name), getattr(out, of_output)[0], atol=1e-5, err_msg=name)
        assert (hand.number, hand.handedness, hand.linked, hand.translation) == (0, "left", None, None)


def test_answers_that_are_no_posed_hand_have_no_parameters(frames, pipeline):
    tracker = HandTracker(pipeline, None, aggregation="mean", **SAMPLING)
    (hand,) = tracker(frames[0].pixels, 0.0)
    assert hand.joints.shape == (21, 3)
    assert [hand.global_orient, hand.hand_pose, hand.betas, hand.hand_scale] == [None] * 4


def test_numbers_and_sides_stay_and_hands_are_no_more_than_asked_for(frames, pipeline):
    tracker = HandTracker(pipeline, TwoHands(), detect_every=2, **SAMPLING)
    for frame in frames[:4]:
        hands = tracker(frame.pixels, frame.time_s)
        assert [(hand.number, hand.handedness) for hand in hands] == [(0, "right"), (1, "left")]
    one = HandTracker(pipeline, TwoHands(), detect_every=1, max_hands=1, **SAMPLING)
    assert [[hand.number for hand in one(frame.pixels, frame.time_s)] for frame in frames[:3]] == [[0]] * 3


def test_wrong_arguments_are_said(frames, pipeline):
    pixels = frames[0].pixels
    for name, value in (("handedness", "both"), ("max_hands", 0), ("detector", "magic")):
        with pytest.raises(InputError, match=name):
            HandTracker(pipeline, **{"detector": None, name: value})
    with pytest.raises(InputError, match="lookahead: expected 0"):
        HandTracker(pipeline, None, lookahead=2)(pixels, 0.0)
    tracker = HandTracker(pipeline, None, **SAMPLING)
    with pytest.raises(InputError, match=r"frame: .* got dtype float64"):
        tracker(pixels / 255.0, 0.0)
    tracker(pixels, 1.0)
    for time_s in (1.0, 0.5, float("nan")):
        with pytest.raises(InputError, match="time_s: expected seconds that grow"):
            tracker(pixels, time_s)
