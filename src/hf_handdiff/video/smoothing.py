"""Points over time: a Kalman filter whose measurement noise is the pipeline's own expected error, and its smoother.

Each coordinate moves at a constant velocity, disturbed by random accelerations. How strong these are is read off every
frame: all points of a hand together say how far they lie from where they were expected. So a resting hand is smoothed
much and a moving one little. A frame's answer looks a few frames ahead (Rauch, Tung and Striebel, "Maximum likelihood
estimates of linear dynamic systems", 1965), which takes away the lag that any filter has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACCELERATION_M_S2 = (0.5, 60.0)
"""The least and the most that a hand's points are taken to accelerate, root mean square per axis."""
_FIRST_SPEED_M_S = 1.0


@dataclass(frozen=True)
class Measurement:
    """Points as they were seen in one frame.

    Attributes:
        time_s: when; later than that of the measurement before.
        points: (P, D).
        std: (P,) noise of each coordinate, that which is drawn anew with every frame.
        metre: how many units of `points` a metre is: 1 for metres, pixels per metre for pixels.
    """

    time_s: float
    points: np.ndarray
    std: np.ndarray
    metre: float = 1.0


@dataclass(frozen=True)
class State:
    """What the filter knows after a frame.

    Attributes:
        time_s: when.
        mean: (P, 2, D) positions and velocities.
        covariance: (P, 2, 2), the same for all D coordinates of a point.
        predicted_mean: (P, 2, D) what was expected before the frame was seen.
        predicted_covariance: (P, 2, 2) likewise.
        transition: (2, 2) from the state before to the expected one.
    """

    time_s: float
    mean: np.ndarray
    covariance: np.ndarray
    predicted_mean: np.ndarray
    predicted_covariance: np.ndarray
    transition: np.ndarray


def first_state(seen: Measurement) -> State:
    """The state after the first measurement: its points, and speeds that could be any."""
    count, dimensions = seen.points.shape
    mean = np.stack([seen.points, np.zeros_like(seen.points)], axis=1).reshape(count, 2, dimensions)
    covariance = np.zeros((count, 2, 2))
    covariance[:, 0, 0] = seen.std**2
    covariance[:, 1, 1] = (_FIRST_SPEED_M_S * seen.metre) ** 2
    return State(seen.time_s, mean, covariance, mean, covariance, np.eye(2))


def next_state(before: State, seen: Measurement) -> State:
    """One step of the filter."""
    step = seen.time_s - before.time_s
    transition = np.array([[1.0, step], [0.0, 1.0]])
    mean = transition @ before.mean
    covariance = transition @ before.covariance @ transition.T
    noise = seen.std**2
    surprise = seen.points - mean[:, 0]  # (P, D)
    variance = _acceleration_variance(surprise, covariance[:, 0, 0] + noise, step, seen.metre)
    covariance = covariance + variance * np.array([[step**4 / 4, step**3 / 2], [step**3 / 2, step**2]])
    gain = covariance[:, :, 0] / (covariance[:, 0, 0] + noise)[:, None]  # (P, 2)
    updated = covariance - gain[:, :, None] * covariance[:, None, 0, :]
    return State(seen.time_s, mean + gain[:, :, None] * surprise[:, None, :], updated, mean, covariance, transition)


def smooth_first(states: list[State]) -> np.ndarray:
    """Points (P, D) at the first of several states in a row, in the light of all of them."""
    mean = states[-1].mean
    for state, following in zip(states[-2::-1], states[:0:-1], strict=True):
        back = state.covariance @ following.transition.T @ np.linalg.inv(following.predicted_covariance)
        mean = state.mean + back @ (mean - following.predicted_mean)
    return mean[:, 0]


def _acceleration_variance(surprise: np.ndarray, expected: np.ndarray, step: float, metre: float) -> float:
    """The variance of accelerations that makes this surprise a likely one, within `ACCELERATION_M_S2`.

    Args:
        surprise: (P, D) distance of the points from where they were expected.
        expected: (P,) variance of it without any acceleration.
        step: s.
        metre: units of a metre.
    """
    least, most = ((bound * metre) ** 2 for bound in ACCELERATION_M_S2)
    excess = float(((surprise**2).mean(axis=1) - expected).mean())
    return float(np.clip(excess / (step**4 / 4), least, most))
