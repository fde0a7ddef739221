"""Writing the hands of a video as one GLB file: a rig for each hand, and one animation that moves all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_handdiff.files import replace_file
from hf_handdiff.viz.colors import ANSWER_COLOR
from hf_handdiff.viz.gltf import GltfDocument
from hf_handdiff.viz.moving_hand import MovingHand, checked_times
from hf_handdiff.viz.rig import HandRig
from hf_handdiff.viz.skinned_nodes import RigNodes, add_material, add_rig_nodes, rotations_to_gltf

ANIMATION_NAME = "hands"
_RESTING_M = 1e-6
"""A bone that is not moved by more within its parent needs no channel for it."""


def write_animated_glb(path: str | os.PathLike, hands: Sequence[MovingHand], times_s: Sequence[float]) -> Path:
    """Write hands and how they move to a GLB file, y up, metres, seconds.

    Each hand is a skinned mesh, called by its name, with a rig ``NAME_rig`` of 16 bones; the animation ``hands`` turns
    the bones, and moves the wrist where its place is known, from frame to frame along straight lines.  While a hand is
    not seen its wrist, and all that hangs on it, has the size 0.  Without hands the scene is empty.  The file appears
    under its name only when it is complete.

    Args:
        path: the file to write; an older one is replaced.
        hands: what moves.
        times_s: of all frames of the video, rising, from 0 on.

    Returns:
        The path.

    Raises:
        InputError: see `moving_hand.checked_times`.
    """
    times_of_hands, times = checked_times(hands, times_s)
    document = GltfDocument()
    channels, samplers = [], []

    def add_channel(node: int, what: str, keys: np.ndarray, values: np.ndarray, kind: str, steps: bool = False):
        sampler = {"input": document.accessor(keys, "SCALAR", bounds=True), "output": document.accessor(values, kind)}
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": what}})
        samplers.append({**sampler, "interpolation": "STEP" if steps else "LINEAR"})

    material = add_material(document, "skin", ANSWER_COLOR) if hands else None
    for hand, own in zip(hands, times_of_hands, strict=True):
        nodes = add_rig_nodes(document, hand.name, hand.rig, material)
        _move_bones(add_channel, nodes, hand.rig, own)
        seen = np.isin(times, own)
        if not seen.all():
            changes = np.flatnonzero(np.diff(seen, prepend=not seen[0]))
            sizes = np.repeat(seen[changes].astype(float)[:, None], 3, axis=1)
            add_channel(nodes.bones[0], "scale", times[changes], sizes, "VEC3", steps=True)
    if channels:
        document.add("animations", name=ANIMATION_NAME, channels=channels, samplers=samplers)
    path = Path(path)
    with replace_file(path) as temporary:
        temporary.write_bytes(document.to_bytes())
    return path


def _move_bones(add_channel, nodes: RigNodes, rig: HandRig, times: np.ndarray) -> None:
    quaternions = _unbroken(rotations_to_gltf(rig.rotations))
    for bone, node in enumerate(nodes.bones):
        add_channel(node, "rotation", times, quaternions[:, bone], "VEC4")
        if np.ptp(rig.places[:, bone], axis=0).max() > _RESTING_M:
            add_channel(node, "translation", times, rig.places[:, bone], "VEC3")
    if len(rig.morphs):
        add_channel(nodes.mesh, "weights", times, rig.morph_weights.reshape(-1), "SCALAR")


def _unbroken(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (T, B, 4) with the signs at which each is near to the one before."""
    turns = (quaternions[1:] * quaternions[:-1]).sum(axis=-1, keepdims=True)
    signs = np.cumprod(np.where(turns < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])
