"""A MANO file and posed hands for the importers of official data sets."""

import pytest
import torch
from official_trees import make_hands, write_mano_file


@pytest.fixture(scope="session")
def mano_file(tmp_path_factory):
    return write_mano_file(tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl")


@pytest.fixture(scope="session")
def train_hands(mano_file):
    with torch.no_grad():
        return make_hands(5, mano_file)


@pytest.fixture(scope="session")
def evaluation_hands(mano_file):
    with torch.no_grad():
        return make_hands(3, mano_file, seed=1)
