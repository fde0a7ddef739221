"""Hands made on the fly before synthetic cameras, with detector-like 2D keypoints: training without images."""

from dataclasses import dataclass

import torch

from handdiff_training.keypoint_noise import noisy_keypoints
from handdiff_training.posed_hands import PosedHands
from hf_handdiff.camera import KeypointView, project, view_from_keypoints


@dataclass
class MadeUpViews:
    """Hands and what a detector might see of them.

    Attributes:
        view: noisy keypoints in their view frame.
        joints: (B, 21, 3) m, wrist-relative, view frame.
        vertices: (B, V, 3) m, likewise; None if not asked for.
    """

    view: KeypointView
    joints: torch.Tensor
    vertices: torch.Tensor | None


def synthetic_views(
    hands: PosedHands, count: int, generator: torch.Generator, with_vertices: bool = False
) -> MadeUpViews:
    """Sample `count` hands 0.2 to 1.4 m away, anywhere in the picture."""
    vertices = None
    if with_vertices:
        vertices, joints = hands.meshes(count, generator)
    else:
        joints = hands.joints(count, generator)
    depth = 0.2 + 1.2 * torch.rand(count, generator=generator).pow(1.5)
    aside = (torch.rand(count, 2, generator=generator) - 0.5) * depth[:, None]
    position = torch.cat([aside, depth[:, None]], dim=-1)
    intrinsics = torch.eye(3).expand(count, 3, 3)
    exact = project(joints - joints.mean(1, keepdim=True) + position[:, None], intrinsics)
    extent = (exact.amax(1) - exact.amin(1)).amax(-1)[:, None, None] / 2
    points, scores = noisy_keypoints(exact / extent, generator)
    view = view_from_keypoints(points * extent, scores, intrinsics)
    to_view = view.rotation.transpose(-1, -2)
    return MadeUpViews(view, joints @ to_view, None if vertices is None else vertices @ to_view)
