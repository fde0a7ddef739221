"""What the tests of the synthetic corpus share: what samples are made of, and some of them."""

import pytest
import torch
from checked_samples import NUM_SAMPLES, SEED

pytest.importorskip("numba")
pytest.importorskip("cv2")

from hf_handdiff.synthetic import SceneAssets, generate_sample


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def assets():
    return SceneAssets.load("train")


@pytest.fixture(scope="session")
def samples(assets):
    return [generate_sample(SEED, index, assets) for index in range(NUM_SAMPLES)]


@pytest.fixture(scope="session")
def hands(samples):
    return [row for row in samples if row["has_hand"]]
