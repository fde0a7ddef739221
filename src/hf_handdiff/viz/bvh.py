"""Writing rigged hands as BVH files: a skeleton and its motion, for programs without glTF."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import FINGER_NAMES, MANO_FINGERS, MANO_PARENTS
from hf_handdiff.viz.moving_hand import MovingHand, checked_times
from hf_handdiff.viz.rig import BONE_NAMES

_CAMERA_TO_BVH = Rotation.from_quat([1.0, 0.0, 0.0, 0.0])
"""From OpenCV axes to those of BVH, y up: half a turn about x."""
_ONE_FRAME_S = 1 / 30


def write_bvh(path: str | os.PathLike, hand: MovingHand, times_s: Sequence[float]) -> Path:
    """Write one hand as a BVH file, y up, metres, degrees.

    Its 16 joints have the names of the bones in the GLB and end sites at the fingertips; the wrist has six channels,
    the others three, all rotations in the order Z, Y, X.  The lengths of the bones are those of the rest hand, the same
    in all frames: BVH has no shape and no mesh.  The frames are as many as the video's from the first to the last in
    which the hand is seen, evenly spaced in time; a frame in between in which it is not gets what lies between its
    neighbours.  The file appears under its name only when it is complete.

    Args:
        path: the file to write; an older one is replaced.
        hand: the hand and its poses.
        times_s: of all frames of the video; of a photo one.

    Returns:
        The path.

    Raises:
        InputError: see `moving_hand.checked_times`.
    """
    checked_times([hand], times_s)
    rotations, places, step = _even_frames(hand, np.asarray(times_s, dtype=np.float64))
    order = _depth_first()
    angles = np.stack([rotations[bone].as_euler("ZYX", degrees=True) for bone in order], axis=1)  # (T, 16, 3)
    rows = np.concatenate([places, angles.reshape(len(places), -1)], axis=1)
    lines = ["HIERARCHY", *_hierarchy(hand, 0), "MOTION", f"Frames: {len(rows)}", f"Frame Time: {step:.8f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in rows]
    path = Path(path)
    with replace_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _even_frames(hand: MovingHand, times: np.ndarray) -> tuple[list[Rotation], np.ndarray, float]:
    """Rotations of each bone and places (T, 3) m of the wrist in frames a number of seconds apart."""
    own = np.asarray(hand.times_s, dtype=np.float64)
    of_bones = [Rotation.from_matrix(hand.rig.rotations[:, bone]) for bone in range(len(BONE_NAMES))]
    of_bones[0] = _CAMERA_TO_BVH * of_bones[0]
    places = _CAMERA_TO_BVH.apply(hand.rig.places[:, 0])
    if len(own) == 1:
        step = float(np.diff(times).mean()) if len(times) > 1 else _ONE_FRAME_S
        return of_bones, places, step
    count = int(((times >= own[0]) & (times <= own[-1])).sum())
    even = np.linspace(own[0], own[-1], count)
    places = np.stack([np.interp(even, own, column) for column in places.T], axis=1)
    return [Slerp(own, bone)(even) for bone in of_bones], places, float(even[1] - even[0])


def _children(bone: int) -> list[int]:
    return [child for child, parent in enumerate(MANO_PARENTS) if parent == bone]


def _depth_first(bone: int = 0) -> list[int]:
    """The bones in the order in which the file names them."""
    return [bone, *(further for child in _children(bone) for further in _depth_first(child))]


def _hierarchy(hand: MovingHand, bone: int) -> list[str]:
    """The lines of a joint and of all below it."""
    joints, parent = hand.rig.joints, MANO_PARENTS[bone]
    offset = joints[bone] if parent < 0 else joints[bone] - joints[parent]
    channels = "CHANNELS 3 Zrotation Yrotation Xrotation"
    if parent < 0:
        channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
    inner = [_offset(offset), channels]
    for child in _children(bone):
        inner += _hierarchy(hand, child)
    if not _children(bone):
        (finger,) = (name for name, bones in MANO_FINGERS.items() if bone in bones)
        tip = hand.rig.tips[FINGER_NAMES.index(finger)] - joints[bone]
        inner += ["End Site", "{", f"  {_offset(tip)}", "}"]
    return [f"{'ROOT' if parent < 0 else 'JOINT'} {BONE_NAMES[bone]}", "{", *(f"  {line}" for line in inner), "}"]


def _offset(offset: np.ndarray) -> str:
    return "OFFSET " + " ".join(f"{value:.8f}" for value in offset)
