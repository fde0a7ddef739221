"""The hands of frames that come one after the other: followed by their keypoints, linked and smoothed over time."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.images import ImageInput, load_image
from hf_handdiff.models.hand_search import BuiltinHandDetector
from hf_handdiff.pipelines.defaults import HANDEDNESS
from hf_handdiff.video.defaults import DETECT_EVERY
from hf_handdiff.video.reading import Frame
from hf_handdiff.video.sequence import FrameHand, HandSequence, SmoothHand, own_answer
from hf_handdiff.video.tracking import Detector, FixedPlace, Track, TrackList

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline


@dataclass
class HandsOfFrame:
    """A frame and its hands, by number of the hand; None where its answer still waits for later frames."""

    frame: Frame
    hands: dict[int, SmoothHand | None]


class HandTracker:
    """Follows hands from frame to frame: `tracker(frame, time)` answers at once, from what was seen so far.

    Each hand keeps its number and its side while it is followed; one that was not seen in a few frames in a row is
    forgotten. With `lookahead` an answer waits for later frames, which takes the lag away from smoothing: videos are
    done so, by `push` and `flush`. Without it the image encoder looks at once where a hand was in the frame before,
    which is quicker; with it, it searches the box in each frame.

    Example:
        >>> tracker = HandTracker(pipe, num_hypotheses=8, generator=0)
        >>> for time_s, frame in camera:
        ...     for hand in tracker(frame, time_s):
        ...         print(hand.number, hand.handedness, hand.joints, hand.joint_std)

    Args:
        pipeline: what answers for a frame.
        detector: finds the hands, see `tracking.Detector`; "builtin": the pipeline's own, or the one that comes with
            the package; None: there is one hand, at `box`.
        box: (4,) x0, y0, x1, y1 px where that hand is first seen; no detector is asked then. None: without a detector
            it fills the frame.
        handedness: "left" or "right" of all hands; None: what the detector says, without one right.
        max_hands: the most hands that are followed at a time; None: as many as the detector finds.
        detect_every: frames between two looks of the detector while no hand is missing.
        intrinsics: (3, 3) px of the camera; None: the answers have no translation.
        smooth: link hypotheses and smooth joints, meshes, 2D points and translation over time; False: each frame's own
            answer, of which the parameters are.
        lookahead: frames that a smooth answer waits for.
        **sampling: of the pipeline's call, such as `num_hypotheses` and `generator`, a seed: it is the same in every
            frame, so that hypothesis k goes on with hypothesis k.

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        pipeline: CascadedHandPipeline,
        detector: Detector | str | None = "builtin",
        *,
        box: Sequence[float] | None = None,
        handedness: str | None = None,
        max_hands: int | None = None,
        detect_every: int = DETECT_EVERY,
        intrinsics: np.ndarray | None = None,
        smooth: bool = True,
        lookahead: int = 0,
        **sampling,
    ):
        if handedness not in (None, *HANDEDNESS):
            raise InputError(f"handedness: expected 'left', 'right' or None, got {handedness!r}")
        if max_hands is not None and max_hands < 1:
            raise InputError(f"max_hands: expected a number of at least 1, or None, got {max_hands!r}")
        if box is not None:
            detector = None
        if detector is None:
            detector = FixedPlace(None if box is None else np.array(box), handedness or "right")
        elif detector == "builtin":
            detector = BuiltinHandDetector(pipeline.hand_detector)
        elif isinstance(detector, str):
            raise InputError(f"detector: expected 'builtin', None or an object with detect(image), got {detector!r}")
        self._pipeline = copy.copy(pipeline)
        self._pipeline.hand_detector = None  # the side is the detector's word already: it need not be asked again
        self._intrinsics = intrinsics
        self._smooth = smooth
        self._lookahead = lookahead if smooth else 0
        self._sampling = {"generator": 0, **sampling}
        self._list = TrackList(detector, handedness, detect_every, max_hands=max_hands)
        self._sequences: dict[int, HandSequence] = {}
        self._waiting: deque[HandsOfFrame] = deque()
        self._count = 0
        self._last_time_s: float | None = None

    def __call__(self, frame: ImageInput, time_s: float) -> list[SmoothHand]:
        """The hands of the next frame, by number.

        Args:
            frame: (H, W, 3) uint8 RGB array or PIL.Image, not mirrored.
            time_s: when it was taken, in seconds from any moment; later than the frame before.

        Raises:
            InputError: the frame is no image, the time is not later, or the tracker has a `lookahead`.
        """
        if self._lookahead:
            raise InputError("lookahead: expected 0 for answers at once; with it, use push and flush")
        (done,) = self.push(Frame(self._count, time_s, load_image(frame, "frame")))
        return [hand for _, hand in sorted(done.hands.items())]

    def push(self, frame: Frame) -> list[HandsOfFrame]:
        """Take the next frame; return those whose answers are done, in order: without `lookahead` this one.

        Raises:
            InputError: it is not later than the frame before.
        """
        if not (np.isfinite(frame.time_s) and (self._last_time_s is None or frame.time_s > self._last_time_s)):
            raise InputError(
                f"time_s: expected seconds that grow from frame to frame, got {frame.time_s} after {self._last_time_s}"
            )
        self._last_time_s = frame.time_s
        self._count = frame.number + 1
        entry = HandsOfFrame(frame, {})
        self._waiting.append(entry)
        tracks = self._list.look(frame.pixels)
        for track, hand in zip(tracks, self._ask(frame, tracks), strict=True):
            if self._list.update(track, hand.keypoints, hand.hand_score, frame.pixels.shape[:2]):
                entry.hands[track.number] = None
                self._lay_in(track.number, self._answers(hand))
        for track in self._list.drop_lost():
            if track.number in self._sequences:
                self._lay_in(track.number, self._sequences.pop(track.number).flush())
        done = []
        while self._waiting and None not in self._waiting[0].hands.values():
            done.append(self._waiting.popleft())
        return done

    def flush(self) -> list[HandsOfFrame]:
        """The frames that still wait, answered without those after them. What is pushed next is smoothed anew."""
        for number, sequence in self._sequences.items():
            self._lay_in(number, sequence.flush())
        done = list(self._waiting)
        self._waiting.clear()
        self._sequences.clear()
        return done

    def _answers(self, hand: FrameHand) -> list[SmoothHand]:
        """What a hand in the newest frame makes ready: its own answer, or that of an earlier frame, or nothing yet."""
        if not self._smooth:
            return [own_answer(hand)]
        answer = self._sequences.setdefault(hand.number, HandSequence(self._lookahead)).push(hand)
        return [] if answer is None else [answer]

    def _lay_in(self, number: int, hands: list[SmoothHand]) -> None:
        """Lay answers for a hand into the frames that wait for them."""
        by_frame = {hand.own.frame: hand for hand in hands}
        for entry in self._waiting:
            if entry.frame.number in by_frame:
                entry.hands[number] = by_frame[entry.frame.number]

    def _ask(self, frame: Frame, tracks: list[Track]) -> list[FrameHand]:
        """What the pipeline says of each hand in a frame, all in one call."""
        if not tracks:
            return []
        camera = self._intrinsics
        known = not self._lookahead and all(track.keypoints is not None for track in tracks)
        output = self._pipeline(
            [frame.pixels] * len(tracks),
            handedness=[track.handedness for track in tracks],
            boxes=np.stack([track.box for track in tracks]).astype(np.float32),
            intrinsics=None if camera is None else np.stack([camera] * len(tracks)),
            last_keypoints_2d=np.stack([track.keypoints for track in tracks]) if known else None,
            output_type="np",
            **self._sampling,
        )
        return [_frame_hand(frame, track, output, row) for row, track in enumerate(tracks)]


def _frame_hand(frame: Frame, track: Track, output, row: int) -> FrameHand:
    """A row of the pipeline's output."""
    return FrameHand(
        frame=frame.number,
        time_s=frame.time_s,
        hypotheses=output.joints[row].astype(np.float64),
        vertices=output.vertices[row],
        mean_joints=output.mean_joints[row],
        joint_std=output.joint_std[row].astype(np.float64),
        keypoints=output.keypoints_2d[row].astype(np.float64),
        scores=output.keypoint_scores[row].astype(np.float64),
        translation=None if output.translation is None else output.translation[row].astype(np.float64),
        box=track.box,
        hand_score=float(output.hand_score[row]),
        handedness=track.handedness,
        mean_vertices=output.mean_vertices[row],
        number=track.number,
        output=output,
        index=row,
    )


def follow_hands(frames: Iterable[Frame], tracker: HandTracker) -> Iterator[HandsOfFrame]:
    """Answer for every frame of a video, in order, each as many frames after it was read as the tracker looks ahead."""
    for frame in frames:
        yield from tracker.push(frame)
    yield from tracker.flush()
