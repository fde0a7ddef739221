"""A forearm for rendering: the full hand's wrist loop, drawn out along a bending axis.

A hand that ends at the wrist shows its open stump.  The forearm is no part of the hand model: it has no
joints, its vertices follow the hand's, and it is there so that pictures look like pictures of people.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import roma
import torch

from hf_handdiff.hand.open_hand import load_open_hand_arrays

_BEND_LENGTH_M = 0.045
"""Over this length behind the wrist loop the axis turns from the hand's direction to the forearm's."""
_TEXTURE_TOP = ((0.54, 0.012), (0.97, 0.012))
"""Where the forearm ends in the texture, which has free room above the wrist line."""
DEFAULT_RINGS = 14


class ForearmTopology(NamedTuple):
    """What all full hands with a forearm of so many rings share.

    Attributes:
        faces: ``(F, 3)`` int64, the hand's faces first, then the forearm's and its end cap's.
        uv: ``(T, 2)`` float32 in [0, 1], u to the right, v downwards in the texture image.
        faces_uv: ``(F, 3)`` int64 indices into ``uv``.
        num_hand_vertices: vertices of the hand; the forearm's come behind them.
        num_vertices: all vertices.
    """

    faces: np.ndarray
    uv: np.ndarray
    faces_uv: np.ndarray
    num_hand_vertices: int
    num_vertices: int


def _tube_faces(rings: list[np.ndarray], columns: int) -> np.ndarray:
    """Triangles between consecutive rings; ring and column indices run as in the hand's faces."""
    faces = []
    for inner, outer in pairwise(rings):
        a, b = inner[np.arange(columns)], inner[(np.arange(columns) + 1) % len(inner)]
        c, d = outer[np.arange(columns)], outer[(np.arange(columns) + 1) % len(outer)]
        faces += [np.stack([b, a, c], axis=1), np.stack([b, c, d], axis=1)]
    return np.concatenate(faces)


@lru_cache(maxsize=4)
def forearm_topology(num_rings: int = DEFAULT_RINGS) -> ForearmTopology:
    """Faces and texture coordinates of the full hand with a forearm of ``num_rings`` rings."""
    hand = load_open_hand_arrays("full")
    loop, loop_uv = hand["wrist_loop"], hand["wrist_loop_uv"]
    count, num_hand = len(loop), len(hand["v_template"])
    rings = [loop] + [num_hand + k * count + np.arange(count) for k in range(num_rings)]
    tip = num_hand + num_rings * count
    cap = np.stack([np.roll(rings[-1], -1), rings[-1], np.full(count, tip)], axis=1)
    faces = np.concatenate([hand["f"].astype(np.int64), _tube_faces(rings, count), cap])

    start = hand["uv"][loop_uv]  # (L + 1, 2), both sides of the seam
    end = np.linspace(*_TEXTURE_TOP, len(start))
    share = (np.arange(1, num_rings + 1) / num_rings)[:, None, None]
    uv = np.concatenate([hand["uv"], (start + share * (end - start)).reshape(-1, 2)]).astype(np.float32)
    columns = count + 1
    uv_rings = [loop_uv] + [len(hand["uv"]) + k * columns + np.arange(columns) for k in range(num_rings)]
    last = uv_rings[-1]
    cap_uv = np.stack([last[1:], last[:-1], last[:-1]], axis=1)
    faces_uv = np.concatenate([hand["faces_uv"].astype(np.int64), _tube_faces(uv_rings, count), cap_uv])
    for array in (faces, uv, faces_uv):
        array.setflags(write=False)
    return ForearmTopology(faces, uv, faces_uv, num_hand, tip + 1)


def _column(value, like: torch.Tensor) -> torch.Tensor:
    """A number or ``(N,)`` values as ``(N,)``."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(like.shape[0])


def extend_forearm(
    vertices: torch.Tensor,
    wrist_rotation: torch.Tensor,
    flexion_rad=0.0,
    deviation_rad=0.0,
    length_m=0.2,
    widening=1.45,
    num_rings: int = DEFAULT_RINGS,
) -> torch.Tensor:
    """Append a forearm to posed full hands.

    Args:
        vertices: ``(N, 1609, 3)`` of ``HandLayer.open_hand("full")``, metres, translated or not.
        wrist_rotation: ``(N, 3, 3)``, the global rotation of each pose.
        flexion_rad: number or ``(N,)``; how far the hand is bent towards its palm at the wrist.
        deviation_rad: number or ``(N,)``; how far the hand is bent to its thumb's side.
        length_m: number or ``(N,)``; length of the forearm.
        widening: number or ``(N,)``; how much wider than the wrist the forearm ends.
        num_rings: rings of vertices, as given to :func:`forearm_topology`.

    Returns:
        ``(N, 1609 + 20 * num_rings + 1, 3)``, metres; the hand's vertices come first, unchanged.
    """
    loop = torch.as_tensor(load_open_hand_arrays("full")["wrist_loop"].copy(), device=vertices.device)
    flexion, deviation = _column(flexion_rad, vertices), _column(deviation_rad, vertices)
    length, widening = _column(length_m, vertices), _column(widening, vertices)
    # in the hand's frame: the hand points along -x, so the forearm starts along +x
    ring = vertices[:, loop] @ wrist_rotation  # (N, L, 3), R^T x for column vectors
    centre = ring.mean(1)
    offset = ring - centre[:, None]

    step = torch.linspace(0, 1, num_rings + 1, dtype=vertices.dtype, device=vertices.device)
    # rings lie closer where the axis bends
    along = length[:, None] * step**1.4  # (N, K + 1)
    turned = _smoothstep(along / _BEND_LENGTH_M)
    # the hand bends by +angle against the forearm, so the forearm by -angle against the hand
    bend = torch.stack([torch.zeros_like(flexion), -deviation, -flexion], dim=-1)
    turns = roma.rotvec_to_rotmat(turned[..., None] * bend[:, None])  # (N, K + 1, 3, 3)
    tangent = turns[..., 0]
    middle = (tangent[:, 1:] + tangent[:, :-1]) / 2 * (along[:, 1:] - along[:, :-1])[..., None]
    axis = centre[:, None] + middle.cumsum(1)  # (N, K, 3)

    share = _smoothstep(along[:, 1:] / length[:, None])
    width = 1 + (widening[:, None] - 1) * share
    # the slanted wrist cut becomes a cross-section, and the cross-section rounder
    scale = torch.stack([1 - _smoothstep(along[:, 1:] / 0.06), width * (1 + 0.15 * share), width], dim=-1)
    rings = (turns[:, 1:, None] @ (offset[:, None] * scale[:, :, None])[..., None])[..., 0] + axis[:, :, None]
    cap = rings[:, -1].mean(1, keepdim=True)
    forearm = torch.cat([rings.flatten(1, 2), cap], dim=1) @ wrist_rotation.transpose(1, 2)
    return torch.cat([vertices, forearm], dim=1)


def _smoothstep(share: torch.Tensor) -> torch.Tensor:
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
