"""Which hands there are in a frame: found by a detector now and then, followed by their own keypoints in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from hf_handdiff.camera import box_of_whole_image
from hf_handdiff.models.boxes import intersection_over_union
from hf_handdiff.models.hand_search import DetectedHand
from hf_handdiff.video.defaults import DETECT_EVERY

LOST_BELOW = 0.5
"""A hand score below it says that the hand is not where it was looked for."""
MAX_MISSED = 5
"""A hand that was not seen in so many frames in a row is gone; what comes then is another."""
_SAME_PLACE = 0.3
"""Intersection over union from which a detection is the hand that is followed there."""
_SAME_HAND = 0.6
"""Intersection over union from which two followed hands are one."""


class Detector(Protocol):
    """What finds hands in a frame, see `hand_search.BuiltinHandDetector`."""

    def detect(self, image: np.ndarray) -> list[DetectedHand]:
        """The hands of an (H, W, 3) uint8 RGB frame."""


@dataclass
class Track:
    """A hand that is followed.

    Attributes:
        number: the hand's name, counted from 0 through the video.
        box: (4,) x0, y0, x1, y1 px where it is looked for in the next frame.
        votes: sum of the detector's scores for each side.
        missed: frames in a row in which it was not seen.
        keypoints: (21, 2) px of the last frame, where it is looked at once; None: it is to be searched in the box.
    """

    number: int
    box: np.ndarray
    votes: Counter = field(default_factory=Counter)
    missed: int = 0
    keypoints: np.ndarray | None = None

    @property
    def handedness(self) -> str:
        """The side that most looks of the detector spoke for."""
        return "left" if self.votes["left"] > self.votes["right"] else "right"


class FixedPlace:
    """Stands in for a detector where the user says where the hand is.

    Args:
        box: (4,) x0, y0, x1, y1 px; None: the whole frame is the crop.
        handedness: "left" or "right".
    """

    max_hands = 1

    def __init__(self, box: np.ndarray | None, handedness: str):
        self._box = box
        self._handedness = handedness

    def detect(self, image: np.ndarray) -> list[DetectedHand]:
        """The one hand."""
        box = box_of_whole_image(*image.shape[:2]) if self._box is None else self._box
        return [DetectedHand(np.asarray(box, dtype=np.float64), self._handedness, 1.0, np.full((21, 2), np.nan))]


class TrackList:
    """Keeps the list of hands from frame to frame.

    Args:
        detector: finds new hands.
        handedness: "left" or "right" of all hands; None: what the detector says most often.
        detect_every: frames between two looks of the detector while nothing is missing.
        max_missed: see `MAX_MISSED`.
        max_hands: the most hands that are followed at a time; None: as many as the detector finds.
    """

    def __init__(
        self,
        detector: Detector,
        handedness: str | None = None,
        detect_every: int = DETECT_EVERY,
        max_missed: int = MAX_MISSED,
        max_hands: int | None = None,
    ):
        self._detector = detector
        self._handedness = handedness
        self._detect_every = detect_every
        self._max_missed = max_missed
        most = getattr(detector, "max_hands", np.inf)
        self._max_hands = most if max_hands is None else min(most, max_hands)
        self._tracks: list[Track] = []
        self._since_detection = 0
        self._count = 0

    def look(self, image: np.ndarray) -> list[Track]:
        """The hands to look for in a frame, and where; the detector runs if it is time or a hand is missing."""
        self._since_detection += 1
        missing = not self._tracks or any(track.missed for track in self._tracks)
        if missing or self._since_detection >= self._detect_every:
            self._since_detection = 0
            for track in self._tracks:  # what has gone astray finds back
                track.keypoints = None
            for hand in self._detector.detect(image):
                self._take_in(hand)
        return list(self._tracks)

    def update(self, track: Track, keypoints: np.ndarray, hand_score: float, image_size: tuple[int, int]) -> bool:
        """Say what was found where a hand was looked for.

        Args:
            track: the hand.
            keypoints: (21, 2) px.
            hand_score: 0..1.
            image_size: (height, width) px.

        Returns:
            Whether it is the hand at all.
        """
        box = np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])
        if not hand_score >= LOST_BELOW or not np.isfinite(box).all() or not _in_the_picture(box, image_size):
            track.missed += 1
            track.keypoints = None
            return False
        track.missed = 0
        track.keypoints = keypoints
        track.box = box
        return True

    def drop_lost(self) -> list[Track]:
        """Forget the hands that are gone or are followed twice, and return them."""
        lost = []
        for track in self._tracks:
            older = [other for other in self._tracks if other.number < track.number and other not in lost]
            twice = any(intersection_over_union(track.box, other.box) > _SAME_HAND for other in older)
            if track.missed > self._max_missed or twice:
                lost.append(track)
        self._tracks = [track for track in self._tracks if track not in lost]
        return lost

    def _take_in(self, hand: DetectedHand) -> None:
        """Count a detection for the hand that is followed there, or begin to follow another."""
        overlaps = [float(intersection_over_union(track.box, hand.box)) for track in self._tracks]
        if overlaps and max(overlaps) >= _SAME_PLACE:
            track = self._tracks[int(np.argmax(overlaps))]
        elif len(self._tracks) < self._max_hands:
            track = Track(self._count, hand.box)
            self._count += 1
            self._tracks.append(track)
        else:
            return
        if track.missed:
            track.box = hand.box
        track.votes[self._handedness or hand.handedness] += hand.score


def _in_the_picture(box: np.ndarray, image_size: tuple[int, int]) -> bool:
    """Whether a box (4,) px has pixels, is not much larger than the picture, and its middle lies in it."""
    height, width = image_size
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    sides = box[2:] - box[:2]
    return bool(1.0 <= sides.min() and sides.max() <= 2 * max(height, width) and 0 <= x < width and 0 <= y < height)
