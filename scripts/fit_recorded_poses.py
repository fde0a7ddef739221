"""Fit the open hand to recorded fingerspelling, for ``hand/assets/recorded_poses.npz``.

    pip install spoken-to-signed && python scripts/fit_recorded_poses.py

The wheel of spoken-to-signed 0.4.0 (https://github.com/ZurichNLP/spoken-to-signed-translation, MIT License,
Copyright (c) 2026 ZurichNLP) carries 600 clips of fingerspelling in 19 sign languages as MediaPipe landmarks.
Every third hand is fitted by its joint angles within the limits of ``hand/pose_limits.py``; fits that are far off
or whose fingers overlap are left out, and of the others those are kept that differ most from each other. The
clips do not name their signers; the sign language of each is kept in their place.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import roma
import torch

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.pose_limits import angles_to_pose, limits_table
from hf_handdiff.hand.poses import PoseSampler
from hf_handdiff.hand.recorded_poses import RECORDED_POSES_PATH
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS, NUM_JOINTS, NUM_SHAPE

DEPTH_SCALE = 700.0
"""The clips' depth is in another unit than their pixels."""
DEPTH_TRUST = 0.3
EVERY = 3
KNUCKLES = [FINGERS[finger][0] for finger in ("index", "middle", "ring", "little")]
PALM = [0, *KNUCKLES]
FREE_JOINTS = [MANO_FINGERS[f][0] for f in MANO_FINGERS] + [MANO_FINGERS["thumb"][1]]
"""MANO joints that spread and twist; the others are hinges."""


class Fit(NamedTuple):
    """Fitted hands.

    Attributes:
        angles: ``(N, 16, 3)`` flexion, spread, twist, radians.
        poses: ``(N, 16, 3)`` axis-angle without the global rotation.
        residual_mm: ``(N,)`` mean distance in the image plane, on a hand of the open hand's size.
    """

    angles: torch.Tensor
    poses: torch.Tensor
    residual_mm: np.ndarray


def read_landmarks() -> tuple[np.ndarray, np.ndarray]:
    """``(N, 21, 3)`` right hands (left ones mirrored) of all clips, pixels, OpenCV axes, and their languages.

    The languages ``(N,)`` are the names of the clips' folders, ISO 639-3 codes.
    """
    import spoken_to_signed
    from pose_format import Pose

    hands, languages = [], []
    for path in sorted((Path(spoken_to_signed.__file__).parent / "assets").rglob("*.pose")):
        pose = Pose.read(path.read_bytes())
        first = 0
        for component in pose.header.components:
            last = first + len(component.points)
            if component.name in ("RIGHT_HAND_LANDMARKS", "LEFT_HAND_LANDMARKS"):
                points = np.ma.filled(pose.body.data[:, 0, first:last], 0.0).astype(np.float64)
                seen = pose.body.confidence[:, 0, first:last].min(1) > 0
                mirror = -1.0 if component.name.startswith("LEFT") else 1.0
                hands.append(points[seen] * [mirror, 1.0, DEPTH_SCALE])
                languages += [path.parent.name] * int(seen.sum())
            first = last
    return np.concatenate(hands), np.array(languages)


def normalise(landmarks: np.ndarray, joints: torch.Tensor) -> torch.Tensor:
    """Bring landmarks to metres: wrist at the origin, the palm as long as the open hand's ``(21, 3)``."""
    centred = landmarks - landmarks[:, :1]
    palm = np.linalg.norm(centred[:, KNUCKLES], axis=-1).mean(1)
    wanted = joints[KNUCKLES].norm(dim=-1).mean().item()
    return torch.tensor(centred * (wanted / palm)[:, None, None], dtype=torch.float32)


def palm_rotation(joints: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """``(N, 3)`` axis-angle that brings the palm of ``(21, 3)`` joints onto ``(N, 21, 3)`` targets."""
    source, target = joints[PALM], targets[:, PALM]
    source, target = source - source.mean(0), target - target.mean(1, keepdim=True)
    left, _, right = torch.linalg.svd(target.transpose(1, 2) @ source)
    handed = torch.ones(len(targets), 3)
    handed[:, 2] = torch.linalg.det(left @ right)
    return roma.rotmat_to_rotvec(left @ torch.diag_embed(handed) @ right)


def fit_hands(layer: HandLayer, frames: torch.Tensor, targets: torch.Tensor, steps: int) -> Fit:
    """Adam on rotation, joint angles, place and size of all hands at once."""
    rest = torch.zeros(1, 16, 3), torch.zeros(1, NUM_SHAPE)
    table = limits_table()
    bent = torch.zeros(16, 3, 2)
    bent[:, 0, 0] = 1
    bent[FREE_JOINTS, 1:, 0] = 1
    active = bent[..., 0]
    prior = torch.tensor([0.02, 0.15, 0.6]) * active
    count = len(targets)
    rotation = palm_rotation(layer.pose_joints(*rest)[0], targets).requires_grad_()
    angles = (torch.tensor([0.4, 0.0, 0.0]) * active).repeat(count, 1, 1).requires_grad_()
    place = torch.zeros(count, 1, 3, requires_grad=True)
    size = torch.ones(count, 1, 1, requires_grad=True)
    trust = torch.tensor([1.0, 1.0, DEPTH_TRUST])
    shape = torch.zeros(count, NUM_SHAPE)
    optimizer = torch.optim.Adam([rotation, angles, place, size], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.003)
    for _ in range(steps):
        pose = angles_to_pose(angles * active, frames)
        full = torch.cat([rotation[:, None], pose[:, 1:]], dim=1)
        error = layer.pose_joints(full, shape) * size + place - targets
        outside = (angles - angles.clamp(table[..., 0], table[..., 1])) * active
        loss = 1e4 * ((error * trust) ** 2).sum() + (prior * angles**2).sum() + 20 * (outside**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    bounded = (angles.detach() * active).clamp(table[..., 0], table[..., 1])
    pose = angles_to_pose(bounded, frames)
    pose[:, 0] = 0
    plane = (error.detach() / size.detach())[..., :2].norm(dim=-1).mean(1)
    return Fit(bounded, pose, 1000 * plane.numpy())


def most_different(features: torch.Tensor, count: int) -> np.ndarray:
    """Indices of ``count`` rows, each farthest from those before it (Gonzalez 1985)."""
    chosen = [0]
    distance = (features - features[0]).square().sum(1)
    for _ in range(min(count, len(features)) - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (features - features[chosen[-1]]).square().sum(1))
    return np.sort(chosen)


def main() -> None:
    """Fit, choose and write."""
    parser = argparse.ArgumentParser(description="Fit the open hand to recorded fingerspelling.")
    parser.add_argument("--out", type=Path, default=RECORDED_POSES_PATH)
    parser.add_argument("--keep", type=int, default=4500, help="poses to keep")
    parser.add_argument("--steps", type=int, default=250, help="steps of the optimiser")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    sampler = PoseSampler()
    layer, frames = sampler.layer, sampler.frames
    rest_joints = layer.pose_joints(torch.zeros(1, 16, 3), torch.zeros(1, NUM_SHAPE))[0]
    landmarks, languages = (array[::EVERY] for array in read_landmarks())
    targets = normalise(landmarks, rest_joints)
    if targets.shape[1:] != (NUM_JOINTS, 3):
        raise SystemExit(f"expected hands of 21 landmarks, got {tuple(targets.shape)}")
    fit = fit_hands(layer, frames, targets, arguments.steps)
    overlap_mm = 1000 * sampler.overlap(fit.poses).numpy()
    for name, values in (("residual", fit.residual_mm), ("overlap", overlap_mm)):
        low, high, worst = np.percentile(values, [50, 90, 99])
        print(f"{len(targets)} hands, {name}: median {low:.2f} mm, 90 % {high:.2f} mm, 99 % {worst:.2f} mm")
    good = np.flatnonzero((fit.residual_mm < 7) & (overlap_mm < 8))
    with torch.no_grad():
        joints = layer.pose_joints(fit.poses[good], torch.zeros(len(good), NUM_SHAPE))
    kept = good[most_different(joints.flatten(1), arguments.keep)]
    names, language = np.unique(languages[kept], return_inverse=True)
    np.savez_compressed(
        arguments.out,
        angles=fit.angles[kept, 1:].numpy().astype(np.float16),
        language=language.astype(np.uint8),
        languages=names,
        source=np.array("spoken-to-signed 0.4.0, MIT License, Copyright (c) 2026 ZurichNLP"),
    )
    print(f"{len(good)} good fits, {len(kept)} kept: {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
