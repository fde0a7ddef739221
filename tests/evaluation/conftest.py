"""A small annotated data set in the corpus schema, and official data sets as they are downloaded and imported."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from official_runs import NUM_EVALUATION, import_tree, make_tree
from official_trees import make_hands, write_other_mano_file

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


@pytest.fixture(scope="session")
def mano_file(tmp_path_factory):
    """Of another hand than the open one."""
    return write_other_mano_file(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl")


@pytest.fixture(scope="session")
def hands(mano_file):
    """(train, evaluation)."""
    with torch.no_grad():
        return make_hands(3, mano_file), make_hands(NUM_EVALUATION, mano_file, seed=1)


@pytest.fixture(scope="session")
def trees(hands, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    return {name: make_tree(name, folder / name, hands) for name in ("freihand", "ho3d")}


@pytest.fixture(scope="session")
def corpora(trees, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {name: import_tree(name, root, folder / name) for name, root in trees.items()}


@pytest.fixture(scope="session")
def unpublished(hands, tmp_path_factory):
    """The same, without the truth of the evaluation split."""
    folder = tmp_path_factory.mktemp("unpublished")
    return {
        name: import_tree(name, make_tree(name, folder / f"{name}_tree", hands, truth=False), folder / name)
        for name in ("freihand", "ho3d")
    }


@pytest.fixture(scope="session")
def checkpoint(tiny_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_pipeline.save_pretrained(folder)
    return folder
