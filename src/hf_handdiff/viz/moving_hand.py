"""A rigged hand of a video, and when its poses are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_handdiff.errors import InputError
from hf_handdiff.viz.rig import HandRig


@dataclass(frozen=True)
class MovingHand:
    """A hand of a video.

    Attributes:
        name: of its mesh, such as "hand_0_right".
        times_s: (T,) of the frames in which it was seen, rising.
        rig: its rig, with the poses of those frames.
    """

    name: str
    times_s: np.ndarray
    rig: HandRig


def checked_times(hands: Sequence[MovingHand], times_s: Sequence[float]) -> tuple[list[np.ndarray], np.ndarray]:
    """The times of hands and those of all frames of their video, as the float32 numbers that glTF stores.

    Raises:
        InputError: times are not rising from 0 s on, or a hand's are not one for each pose, each among those of all.
    """
    times = _rising(times_s, "times_s")
    own = [_rising(hand.times_s, f"{hand.name}: times_s") for hand in hands]
    for hand, some in zip(hands, own, strict=True):
        if len(some) != len(hand.rig.rotations) or not np.isin(some, times).all():
            raise InputError(f"{hand.name}: times_s: expected one for each pose of the rig, all of them among times_s")
    return own, times


def _rising(values: Sequence[float], name: str) -> np.ndarray:
    times = np.asarray(values, dtype=np.float32)
    if times.ndim != 1 or not np.isfinite(times).all() or (times < 0).any() or not (np.diff(times) > 0).all():
        raise InputError(f"{name}: expected rising numbers from 0 s on")
    return times
