"""A small annotated data set in the corpus schema."""

import numpy as np
import pytest
import torch

NUM_ROWS = 64


@pytest.fixture(scope="session")
def rows(hand_layer):
    """Hands before a camera on tiny images; every fourth hides its fingers, the last two have no hand."""
    generator = torch.Generator().manual_seed(0)
    pose = 0.4 * torch.randn(NUM_ROWS, 16, 3, generator=generator)
    shape = torch.randn(NUM_ROWS, 10, generator=generator)
    mesh = hand_layer(pose, shape)
    away = torch.tensor([0.05, 0.0, 0.6])
    joints, vertices = (mesh.joints + away).numpy(), (mesh.vertices + away).numpy()
    camera = np.array([[80.0, 0, 32], [0, 80, 32], [0, 0, 1]], dtype=np.float32)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    made = []
    for index in range(NUM_ROWS):
        projected = joints[index] @ camera.T
        has_hand, hidden = index < NUM_ROWS - 2, index % 4 == 0
        made.append(
            {
                "image": image,
                "has_hand": has_hand,
                "keypoints_2d_px": (projected[:, :2] / projected[:, 2:]) * has_hand,
                "keypoints_visible": [not hidden or joint < 9 for joint in range(21)],
                "joints_m": joints[index] * has_hand,
                "vertices_m": vertices[index] * has_hand,
                "intrinsics_px": camera,
                "visible_share": 0.4 if hidden else (0.7 if index % 4 == 1 else 0.95),
                "skin_tone": index / NUM_ROWS if has_hand else -1.0,
                "sample_id": f"0/{index}",
            }
        )
    return made
