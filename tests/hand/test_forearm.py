"""The forearm for rendering."""

import math
from collections import Counter

import torch

from hf_handdiff.hand.forearm import extend_forearm, forearm_topology
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.rotations import random_rotations


def hands_with_rotation(count: int):
    layer = HandLayer.open_hand("full")
    rotation = random_rotations(count, torch.Generator().manual_seed(0))
    pose = torch.eye(3).repeat(count, 16, 1, 1)
    pose[:, 0] = rotation
    return layer(pose, torch.zeros(count, 10)).vertices, rotation


def test_mesh_is_closed_and_oriented():
    topology = forearm_topology(9)
    edges = Counter((a, b) for f in topology.faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True))
    assert set(edges.values()) == {1}
    assert all(edge[::-1] in edges for edge in edges)
    assert topology.faces.max() == topology.num_vertices - 1
    assert topology.faces_uv.shape == topology.faces.shape and topology.faces_uv.max() < len(topology.uv)
    assert topology.uv.min() >= 0 and topology.uv.max() <= 1


def test_forearm_follows_the_hand():
    vertices, rotation = hands_with_rotation(4)
    whole = extend_forearm(vertices, rotation, num_rings=9)
    assert whole.shape == (4, forearm_topology(9).num_vertices, 3)
    assert torch.equal(whole[:, :1609], vertices)
    back = whole @ rotation
    assert torch.allclose(back, back[:1].expand_as(back), atol=1e-6)
    moved = extend_forearm(vertices + 0.3, rotation, num_rings=9)
    assert torch.allclose(moved, whole + 0.3, atol=1e-6)
    assert math.isclose(back[0, -1, 0] - back[0, 1609:1629, 0].mean(), 0.2, abs_tol=0.02)


def test_wrist_bends_the_right_way():
    vertices, _ = hands_with_rotation(3)
    upright = HandLayer.open_hand("full")(torch.zeros(3, 16, 3), torch.zeros(3, 10)).vertices
    identity = torch.eye(3).expand(3, 3, 3)
    whole = extend_forearm(upright, identity, torch.tensor([0.0, 0.8, 0.0]), torch.tensor([0.0, 0.0, 0.4]))
    straight, flexed, deviated = whole[:, -1]
    assert flexed[1] < straight[1] - 0.08, "a hand bent to its palm has the forearm on the palm's side"
    assert deviated[2] > straight[2] + 0.04, "a hand bent to the thumb has the forearm on the thumb's side"


def test_volume_is_positive_at_every_bend():
    upright = HandLayer.open_hand("full")(torch.zeros(5, 16, 3), torch.zeros(5, 10)).vertices
    bends = torch.linspace(-1.0, 1.0, 5)
    whole = extend_forearm(upright, torch.eye(3).expand(5, 3, 3), bends, 0.3 * bends, length_m=0.25)
    corners = whole[:, torch.tensor(forearm_topology().faces)]
    volume = (corners[:, :, 0] * torch.linalg.cross(corners[:, :, 1], corners[:, :, 2])).sum((1, 2)) / 6
    assert (volume > 5e-4).all() and (volume < 3e-3).all()
