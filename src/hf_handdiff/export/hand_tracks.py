"""The hands of a video gathered frame by frame, and their rigs in the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hf_handdiff.hand.fit_motion import fit_motion
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.viz.moving_hand import MovingHand
from hf_handdiff.viz.rig import make_rig


@dataclass
class _Track:
    times_s: list[float] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)


class HandTracks:
    """What is kept of a video's hands until its end: joints, some hundred bytes a frame.

    A hand whose side changes on the way is two hands.
    """

    def __init__(self):
        self._times: list[float] = []
        self._tracks: dict[str, _Track] = {}

    @property
    def times_s(self) -> np.ndarray:
        """(T,) of all frames."""
        return np.array(self._times)

    def add_frame(self, time_s: float) -> None:
        """Begin the next frame."""
        self._times.append(time_s)

    def add_hand(self, number: int, handedness: str, joints: np.ndarray, place: np.ndarray | None) -> None:
        """Tell a hand of the frame that was begun last.

        Args:
            number: of the hand.
            handedness: "left" or "right".
            joints: (21, 3) m, wrist-relative, camera axes.
            place: (3,) m, its wrist in the camera frame, or None.
        """
        track = self._tracks.setdefault(f"hand_{number}_{handedness}", _Track())
        track.times_s.append(self._times[-1])
        track.joints.append(np.array(joints, dtype=np.float64))
        if place is not None:
            track.places.append(np.array(place, dtype=np.float64))

    def rigs(self, layer: HandLayer) -> list[MovingHand]:
        """The hands, each with one shape and size in all of its frames.

        Args:
            layer: the right hand that is posed.

        Raises:
            InputError: joints or places are not finite numbers of their shapes.
        """
        return [self._rig(name, track, layer) for name, track in self._tracks.items()]

    def _rig(self, name: str, track: _Track, layer: HandLayer) -> MovingHand:
        side, count = name.rsplit("_", 1)[1], len(track.times_s)
        motion = fit_motion(np.stack(track.joints), side, layer)
        rig = make_rig(
            layer,
            motion.global_orient,
            motion.hand_pose,
            motion.betas.expand(count, -1),
            np.full(count, motion.hand_scale),
            side,
            np.stack(track.places) if len(track.places) == count else None,
        )
        return MovingHand(name, np.array(track.times_s), rig)
