"""The frame of the wrist, in which retargeting wants the joints of a hand, and the axes of robots' operators.

The wrist frame is the hand layer's own root frame: its rotation is that of ``global_orient``, its origin the wrist
joint.  So it is the frame in which the layer's hand lies flat at zero pose:

=====  ==========================  ==========================
axis   right hand                  left hand
=====  ==========================  ==========================
x      from the fingers to wrist   from wrist to the fingers
y      out of the back             out of the back
z      towards the thumb's side    towards the thumb's side
=====  ==========================  ==========================

Joints of a left hand in its frame are those of the mirrored right hand with the sign of x changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch

from hf_handdiff.errors import InputError


@dataclass
class WristFrame:
    """Where wrists are, how they are turned, and the joints as seen from there.

    Attributes:
        rotation: ``(B, 3, 3)``; its columns are the frame's axes in the frame of ``global_orient`` (camera axes).
        position: ``(B, 3)`` metres, the wrist in the camera frame; None where that is not known.
        joints: ``(B, 21, 3)`` metres in the wrist frame: ``rotation^T (joint - wrist)``.
    """

    rotation: torch.Tensor
    position: torch.Tensor | None
    joints: torch.Tensor


def wrist_frame(global_orient, joints, position=None) -> WristFrame:
    """The wrist frames of hands.

    Args:
        global_orient: ``(B, 3)`` axis-angle, radians, tensor or array, of right hands or of left ones.
        joints: ``(B, 21, 3)`` metres, in the same axes, from any origin.
        position: ``(B, 3)`` metres, the wrist in the camera frame, handed through; None: not known.

    Raises:
        InputError: an argument has another shape.
    """
    turn, points = torch.as_tensor(global_orient), torch.as_tensor(joints)
    if turn.ndim != 2 or turn.shape[1] != 3:
        raise InputError(f"global_orient: expected an array of shape (B, 3), got shape {tuple(turn.shape)}")
    if points.ndim != 3 or points.shape[0] != len(turn) or points.shape[2] != 3:
        raise InputError(f"joints: expected an array of shape {(len(turn), 21, 3)}, got shape {tuple(points.shape)}")
    rotation = roma.rotvec_to_rotmat(turn.to(points.dtype))
    position = None if position is None else torch.as_tensor(position)
    return WristFrame(rotation, position, (points - points[:, :1]) @ rotation)  # rows times R = R^T on columns


def operator_axes(points, handedness: str) -> np.ndarray:
    """Points of the wrist frame in the axes that dex-retargeting and AnyTeleop use for an operator's hand.

    These are alike for both sides: z along the fingers, x out of the palm, y = z cross x, which leads to the thumb of a
    right hand and away from that of a left one.

    Args:
        points: ``(..., 3)`` metres, of :class:`WristFrame`.
        handedness: "left" or "right".

    Returns:
        ``(..., 3)`` metres.

    Raises:
        InputError: there is no such side.
    """
    if handedness not in ("left", "right"):
        raise InputError(f"handedness: expected 'left' or 'right', got {handedness!r}")
    x, y, z = np.moveaxis(np.asarray(points), -1, 0)
    side = 1 if handedness == "right" else -1
    return np.stack([-y, side * z, -side * x], axis=-1)
