"""One hand through the frames: hypotheses linked, then smoothed, a few frames behind the camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_handdiff.video.defaults import LOOKAHEAD
from hf_handdiff.video.linking import HypothesisLinker, mode_weights
from hf_handdiff.video.smoothing import Measurement, State, first_state, next_state, smooth_first
from hf_handdiff.viz.colors import vertex_uncertainty

NOISE_SHARE = 0.15
"""Share of the expected error that is drawn anew with every frame. The rest of it stays over many frames (a finger that
is hidden, a hand that is larger than average), and no filter can take it away."""
KEYPOINT_NOISE_M = 0.0015
"""The like for a 2D keypoint that is seen well, at the hand's distance."""
_SMALLEST_SCORE = 0.1
_SMALLEST_STD_M = 1e-4


@dataclass(frozen=True)
class FrameHand:
    """What the pipeline says of a hand in one frame, on its own.

    Attributes:
        frame: number of the frame.
        time_s: when it was taken.
        hypotheses: (N, 21, 3) m, wrist-relative joints, camera axes.
        vertices: (N, V, 3) m of the same hypotheses.
        mean_joints: (21, 3) m, the frame's own answer.
        joint_std: (21,) m.
        keypoints: (21, 2) px.
        scores: (21,) 0..1.
        translation: (N, 3) m, or None without intrinsics.
        box: (4,) x0, y0, x1, y1 px that was looked into.
        hand_score: 0..1.
        handedness: "left" or "right".
        mean_vertices: (V, 3) m, the mesh of the frame's own answer, or None where nobody asked for it.
        number: of the hand.
        output: what the pipeline said of the frame's hands, whose parameters are taken from it; None: no parameters.
        index: which of them this one is.
    """

    frame: int
    time_s: float
    hypotheses: np.ndarray
    vertices: np.ndarray
    mean_joints: np.ndarray
    joint_std: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    translation: np.ndarray | None
    box: np.ndarray
    hand_score: float
    handedness: str
    mean_vertices: np.ndarray | None = None
    number: int = 0
    output: Mapping[str, Any] | None = None
    index: int = 0

    @property
    def global_orient(self) -> np.ndarray | None:
        """(3,) rad, axis-angle in camera axes, of the frame's own answer; None where it is no posed hand."""
        return self._parameter("global_orient")

    @property
    def hand_pose(self) -> np.ndarray | None:
        """(15, 3) rad, axis-angle in MANO's order, likewise."""
        return self._parameter("hand_pose")

    @property
    def betas(self) -> np.ndarray | None:
        """(10,) likewise."""
        return self._parameter("betas")

    @property
    def hand_scale(self) -> float | None:
        """Size of the hand about its wrist, likewise."""
        size = self._parameter("hand_scale")
        return None if size is None else float(size)

    def _parameter(self, name: str) -> np.ndarray | None:
        values = None if self.output is None else self.output.get(name)
        return None if values is None else values[self.index]


@dataclass(frozen=True)
class SmoothHand:
    """The answer for a hand in a frame: in the light of the frames around it, or the frame's own (`own_answer`).

    Attributes:
        own: what the frame says on its own.
        linked: number of the hypothesis that the path goes through; None where hypotheses were not linked.
        joints: (21, 3) m, wrist-relative, camera axes.
        vertices: (V, 3) m.
        keypoints: (21, 2) px.
        translation: (3,) m, or None without intrinsics.
    """

    own: FrameHand
    linked: int | None
    joints: np.ndarray
    vertices: np.ndarray
    keypoints: np.ndarray
    translation: np.ndarray | None

    @property
    def number(self) -> int:
        """The hand's name, the same in all frames."""
        return self.own.number

    @property
    def handedness(self) -> str:
        """Its side, "left" or "right"."""
        return self.own.handedness

    @property
    def joint_std(self) -> np.ndarray:
        """(21,) m: how far each of the frame's own joints is expected to be from the true one."""
        return self.own.joint_std

    @property
    def keypoint_scores(self) -> np.ndarray:
        """(21,) 0..1."""
        return self.own.scores

    @property
    def hand_score(self) -> float:
        """0..1: is there a hand."""
        return self.own.hand_score

    @property
    def box(self) -> np.ndarray:
        """(4,) x0, y0, x1, y1 px that was looked into."""
        return self.own.box

    @property
    def global_orient(self) -> np.ndarray | None:
        """(3,) rad, axis-angle in camera axes, of the frame's own answer; None where that is no posed hand."""
        return self.own.global_orient

    @property
    def hand_pose(self) -> np.ndarray | None:
        """(15, 3) rad, axis-angle in MANO's order, likewise."""
        return self.own.hand_pose

    @property
    def betas(self) -> np.ndarray | None:
        """(10,) likewise."""
        return self.own.betas

    @property
    def hand_scale(self) -> float | None:
        """Size of the hand about its wrist, likewise."""
        return self.own.hand_scale


def own_answer(hand: FrameHand) -> SmoothHand:
    """A frame's own answer, without the frames around it; its wrist stands where the hypotheses' do on average."""
    return SmoothHand(
        own=hand,
        linked=None,
        joints=hand.mean_joints,
        vertices=hand.mean_vertices,
        keypoints=hand.keypoints,
        translation=None if hand.translation is None else hand.translation.mean(axis=0),
    )


class HandSequence:
    """Takes a hand's frames one by one and returns each of them `lookahead` frames later; keeps no more than that.

    Args:
        lookahead: frames that an answer waits for; 0 is a filter, for answers at once.
    """

    def __init__(self, lookahead: int = LOOKAHEAD):
        self._lookahead = lookahead
        self._window: deque[FrameHand] = deque()
        self._linker = HypothesisLinker(lookahead + 1)
        self._settled: dict[str, State] = {}

    def push(self, hand: FrameHand) -> SmoothHand | None:
        """Take the next frame; return the one whose turn it is, if any."""
        self._window.append(hand)
        self._linker.push(hand.hypotheses, hand.joint_std)
        return self._take() if len(self._window) > self._lookahead else None

    def flush(self) -> list[SmoothHand]:
        """The frames that are still kept: the hand has left, or the video is over."""
        return [self._take() for _ in range(len(self._window))]

    def _take(self) -> SmoothHand:
        """Settle the oldest frame and return it."""
        path = self._linker.path()[-len(self._window) :]
        seen = [_measurements(hand, linked) for hand, linked in zip(self._window, path, strict=True)]
        smooth = {name: self._smooth(name, [frame[name] for frame in seen]) for name in seen[0]}
        hand = self._window.popleft()
        joints, vertices = np.split(smooth["hand"], [len(hand.mean_joints)])
        return SmoothHand(
            own=hand,
            linked=path[0],
            joints=joints - joints[:1],
            vertices=vertices - joints[:1],
            keypoints=smooth["keypoints"],
            translation=smooth["translation"][0] if "translation" in smooth else None,
        )

    def _smooth(self, name: str, seen: list[Measurement]) -> np.ndarray:
        """The first of the kept frames' points (P, D), and one step of the filter that goes with it."""
        before = self._settled.get(name)
        states = [first_state(seen[0]) if before is None else next_state(before, seen[0])]
        self._settled[name] = states[0]
        for measurement in seen[1:]:
            states.append(next_state(states[-1], measurement))
        return smooth_first(states)


def _measurements(hand: FrameHand, linked: int) -> dict[str, Measurement]:
    """The points of a frame that are filtered, each kind with a filter of its own."""
    weights = mode_weights(hand.hypotheses, linked, hand.joint_std)
    joints = np.tensordot(weights, hand.hypotheses, 1)
    vertices = np.tensordot(weights, hand.vertices, 1)
    std = np.concatenate([hand.joint_std, vertex_uncertainty(vertices, joints, hand.joint_std)])
    metre = pixels_per_metre(joints, hand.keypoints)
    keypoint_std = KEYPOINT_NOISE_M * metre / np.clip(hand.scores, _SMALLEST_SCORE, 1.0)
    seen = {
        "hand": Measurement(hand.time_s, np.concatenate([joints, vertices]), _noise(std)),
        "keypoints": Measurement(hand.time_s, hand.keypoints, keypoint_std, metre),
    }
    if hand.translation is not None:
        place = weights @ hand.translation
        spread = np.sqrt(((hand.translation - place) ** 2).sum(axis=1).mean())
        seen["translation"] = Measurement(hand.time_s, place[None], _noise(np.array([spread])))
    return seen


def _noise(std: np.ndarray) -> np.ndarray:
    return np.maximum(NOISE_SHARE * std, _SMALLEST_STD_M)


def pixels_per_metre(joints: np.ndarray, keypoints: np.ndarray) -> float:
    """How large a hand is in its picture: joints (21, 3) m and their keypoints (21, 2) px."""
    extent_px = np.sqrt(((keypoints - keypoints.mean(axis=0)) ** 2).sum())
    extent_m = np.sqrt(((joints - joints.mean(axis=0))[:, :2] ** 2).sum())
    return float(max(extent_px, 1.0) / max(extent_m, 1e-3))
