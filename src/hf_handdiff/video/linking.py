"""Which of a frame's hypotheses go on with those of the frames before: Viterbi over the N hypotheses of each frame.

Hypotheses are samples of a distribution that may have several modes (a finger bent or pointing away). Their mean jumps
when the share of samples in a mode changes from one frame to the next. Here a path of one hypothesis a frame is kept,
and a frame's answer is the mean of those hypotheses that lie in the mode of its linked one.

Distances are in units of the frame's own expected error: D2 = mean over joints of |a - b|^2 / joint_std^2.
"""

from __future__ import annotations

from collections import deque

import numpy as np

TRANSITION_WEIGHT = 4.0
"""A hand deviates from its common motion, from one frame to the next, by half of the expected error."""
SAME_MODE = 3.0
"""Squared distance, mean of all pairs being 2, at which a hypothesis is no longer counted to the linked one's mode."""
_SMALLEST_STD_M = 1e-3


class HypothesisLinker:
    """The best path through the hypotheses of the last frames, found anew with every frame.

    Args:
        num_frames: how many frames of the path are kept; older choices are settled.
    """

    def __init__(self, num_frames: int):
        self._hypotheses: np.ndarray | None = None
        self._costs: np.ndarray | None = None
        self._origins: deque[np.ndarray] = deque(maxlen=num_frames)

    def push(self, hypotheses: np.ndarray, joint_std: np.ndarray) -> None:
        """Take the next frame.

        Args:
            hypotheses: (N, 21, 3) m, wrist-relative; hypothesis k of every frame comes from the same noise.
            joint_std: (21,) m.
        """
        own = atypicality(hypotheses, joint_std)
        if self._hypotheses is None or len(self._hypotheses) != len(hypotheses):
            origin, costs = np.zeros(len(hypotheses), dtype=int), own
        else:
            moved = self._hypotheses + common_motion(self._hypotheses, hypotheses)
            steps = 0.5 * TRANSITION_WEIGHT * squared_distances(moved, hypotheses, joint_std)  # (from, to)
            totals = self._costs[:, None] + steps
            origin = totals.argmin(axis=0)
            costs = totals.min(axis=0) + own
        self._origins.append(origin)
        self._costs = costs - costs.min()  # or they would grow with the video
        self._hypotheses = hypotheses

    def path(self) -> list[int]:
        """The linked hypothesis of each of the kept frames, oldest first."""
        linked = [int(self._costs.argmin())]
        for origin in list(self._origins)[:0:-1]:
            linked.append(int(origin[linked[-1]]))
        return linked[::-1]


def squared_distances(a: np.ndarray, b: np.ndarray, joint_std: np.ndarray) -> np.ndarray:
    """D2 between hands a (N, 21, 3) and b (M, 21, 3) m with joint_std (21,) m: (N, M)."""
    scale = 1.0 / np.maximum(joint_std, _SMALLEST_STD_M)[:, None]
    a, b = (a * scale).reshape(len(a), -1), (b * scale).reshape(len(b), -1)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * a @ b.T
    return np.maximum(squares, 0.0) / len(joint_std)


def atypicality(hypotheses: np.ndarray, joint_std: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the hypotheses' own density at each of them: (N, 21, 3), (21,) -> (N,)."""
    return -np.log(np.exp(-0.5 * squared_distances(hypotheses, hypotheses, joint_std)).mean(axis=1))


def common_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How the hand moved between two frames: (N, 21, 3), (N, 21, 3) m -> (21, 3) m.

    Hypothesis k of both comes from the same noise. The median is that of the many that stay in their mode; what it
    takes away would otherwise speak for hypotheses that lag behind.
    """
    return np.median(after - before, axis=0)


def mode_weights(hypotheses: np.ndarray, linked: int, joint_std: np.ndarray) -> np.ndarray:
    """Share of each hypothesis in the answer: about equal within the mode of the linked one, 0 beyond.

    Args:
        hypotheses: (N, 21, 3) m.
        linked: number of the linked one.
        joint_std: (21,) m.

    Returns:
        (N,) that sum to 1.
    """
    distances = squared_distances(hypotheses, hypotheses, joint_std)
    count = len(hypotheses)
    typical = distances.sum() / max(count * (count - 1), 1)
    relative = 2.0 * distances[linked] / max(typical, 1e-12)
    weights = np.exp(-((relative / SAME_MODE) ** 4))
    return weights / weights.sum()
