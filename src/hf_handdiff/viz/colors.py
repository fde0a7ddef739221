"""Colours of the pictures: one for each finger, and a scale from certain to uncertain.

All of them stay apart for colour-prior readers, and on skin.
"""

from __future__ import annotations

import numpy as np

from hf_handdiff.hand.topology import BONES, FINGERS

FINGER_COLORS = {
    "thumb": (255, 159, 28),
    "index": (46, 196, 255),
    "middle": (123, 212, 75),
    "ring": (179, 123, 255),
    "little": (255, 79, 121),
}
WRIST_COLOR = (255, 255, 255)
ANSWER_COLOR = (150, 188, 230)
HYPOTHESIS_COLOR = (176, 184, 196)

JOINT_COLORS = (WRIST_COLOR,) + tuple(FINGER_COLORS[finger] for finger in FINGERS for _ in range(4))
"""Colour of each of the 21 joints, (red, green, blue) 0..255."""
BONE_COLORS = tuple(JOINT_COLORS[child] for _, child in BONES)
"""Colour of each of the 20 bones."""

UNCERTAINTY_FULL_SCALE_M = 0.025
"""Expected error, in metres, at which the uncertainty scale ends. Fixed, so that pictures compare."""
_UNCERTAINTY_STOPS = np.array(
    [(69, 117, 180), (145, 191, 219), (224, 243, 248), (254, 224, 144), (252, 141, 89), (215, 48, 39)],
    dtype=np.float64,
)


def uncertainty_colors(std_m: np.ndarray) -> np.ndarray:
    """Return the colours of expected errors: blue is 0, red is `UNCERTAINTY_FULL_SCALE_M` and more.

    Args:
        std_m: (...) expected errors in metres; NaN counts as the end of the scale.

    Returns:
        (..., 3) uint8 RGB.
    """
    share = np.nan_to_num(np.asarray(std_m, dtype=np.float64) / UNCERTAINTY_FULL_SCALE_M, nan=1.0)
    position = np.clip(share, 0.0, 1.0) * (len(_UNCERTAINTY_STOPS) - 1)
    stops = np.arange(len(_UNCERTAINTY_STOPS))
    channels = [np.interp(position, stops, _UNCERTAINTY_STOPS[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def vertex_uncertainty(vertices: np.ndarray, joints: np.ndarray, joint_std: np.ndarray) -> np.ndarray:
    """Spread the joints' expected errors over the mesh, weighted by inverse squared distance.

    Args:
        vertices: (V, 3) m, and joints: (21, 3) m, in the same frame.
        joint_std: (21,) m.

    Returns:
        (V,) m.
    """
    squared = ((vertices[:, None] - joints[None]) ** 2).sum(axis=-1)
    weights = 1.0 / (squared + 0.004**2) ** 2
    return (weights * joint_std).sum(axis=1) / weights.sum(axis=1)


def srgb_to_linear(color: np.ndarray) -> np.ndarray:
    """Return colours 0..255 as the linear light 0..1 that glTF wants."""
    share = np.asarray(color, dtype=np.float64) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
