"""The hands of a video's frames, followed by their keypoints, linked and smoothed over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_handdiff.video.defaults import DETECT_EVERY, LOOKAHEAD
from hf_handdiff.video.reading import Frame
from hf_handdiff.video.sequence import FrameHand, HandSequence, SmoothHand
from hf_handdiff.video.tracking import Detector, FixedPlace, HandTracker, Track

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline


@dataclass
class HandsOfFrame:
    """A frame and its hands, by number of the hand; None where its answer still waits for later frames."""

    frame: Frame
    hands: dict[int, SmoothHand | None]


def make_tracker(
    detector: Detector | None = None,
    box: Sequence[float] | None = None,
    handedness: str | None = None,
    detect_every: int = DETECT_EVERY,
) -> HandTracker:
    """The tracker of a video.

    Args:
        detector: finds the hands; None: there is one hand, at `box`.
        box: (4,) x0, y0, x1, y1 px where that hand is first seen; None: it fills the frame.
        handedness: "left" or "right" of all hands; None: what the detector says, without one right.
        detect_every: frames between two looks of the detector while no hand is missing.
    """
    if detector is None:
        detector = FixedPlace(None if box is None else np.array(box), handedness or "right")
    return HandTracker(detector, handedness, detect_every)


def follow_hands(
    frames: Iterator[Frame],
    pipeline: CascadedHandPipeline,
    tracker: HandTracker,
    intrinsics: np.ndarray | None = None,
    lookahead: int = LOOKAHEAD,
    **sampling,
) -> Iterator[HandsOfFrame]:
    """Answer for every frame, in order, each a few frames after it was read.

    Args:
        frames: of the video.
        pipeline: what answers for a frame.
        tracker: which hands to ask for.
        intrinsics: (3, 3) px of the video's camera; None: the answers have no translation.
        lookahead: frames that an answer waits for.
        **sampling: of the pipeline's call, such as `num_hypotheses` and `generator`, a seed: it is the same in every
            frame, so that hypothesis k goes on with hypothesis k.
    """
    waiting: deque[HandsOfFrame] = deque()
    sequences: dict[int, HandSequence] = {}
    for frame in frames:
        waiting.append(HandsOfFrame(frame, {}))
        tracks = tracker.look(frame.pixels)
        for track, hand in zip(tracks, _ask(pipeline, frame, tracks, intrinsics, sampling), strict=True):
            if not tracker.update(track, hand.keypoints, hand.hand_score, frame.pixels.shape[:2]):
                continue
            waiting[-1].hands[track.number] = None
            sequence = sequences.setdefault(track.number, HandSequence(lookahead))
            _put(waiting, track.number, [sequence.push(hand)])
        for track in tracker.drop_lost():
            if track.number in sequences:
                _put(waiting, track.number, sequences.pop(track.number).flush())
        while waiting and None not in waiting[0].hands.values():
            yield waiting.popleft()
    for number, sequence in sequences.items():
        _put(waiting, number, sequence.flush())
    yield from waiting


def _ask(
    pipeline: CascadedHandPipeline, frame: Frame, tracks: list[Track], intrinsics: np.ndarray | None, sampling: dict
) -> list[FrameHand]:
    """What the pipeline says of each hand in a frame, all in one call."""
    if not tracks:
        return []
    output = pipeline(
        [frame.pixels] * len(tracks),
        handedness=[track.handedness for track in tracks],
        boxes=np.stack([track.box for track in tracks]).astype(np.float32),
        intrinsics=None if intrinsics is None else np.stack([intrinsics] * len(tracks)),
        output_type="np",
        **sampling,
    )
    return [
        FrameHand(
            frame=frame.number,
            time_s=frame.time_s,
            hypotheses=output.joints[k].astype(np.float64),
            vertices=output.vertices[k],
            mean_joints=output.mean_joints[k],
            joint_std=output.joint_std[k].astype(np.float64),
            keypoints=output.keypoints_2d[k].astype(np.float64),
            scores=output.keypoint_scores[k].astype(np.float64),
            translation=None if output.translation is None else output.translation[k].astype(np.float64),
            box=track.box,
            hand_score=float(output.hand_score[k]),
            handedness=track.handedness,
            output=output,
            index=k,
        )
        for k, track in enumerate(tracks)
    ]


def _put(waiting: deque[HandsOfFrame], number: int, hands: list[SmoothHand | None]) -> None:
    """Lay answers for a hand into the frames that wait for them."""
    by_frame = {hand.own.frame: hand for hand in hands if hand is not None}
    for entry in waiting:
        if entry.frame.number in by_frame:
            entry.hands[number] = by_frame[entry.frame.number]
