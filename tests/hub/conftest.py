"""What the tests of the Hub share."""

import numpy as np
import pytest
from running import start_hub


@pytest.fixture(scope="session")
def hub(tmp_path_factory, warm):
    running = start_hub(tmp_path_factory.mktemp("hub") / "root", warm)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A client's HF_HOME for what needs no cache of its own."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def checkpoint(tiny_pipeline, photo, tmp_path_factory):
    """A folder with the tiny cascade, and beside it the photo and the answers to expect."""
    folder = tmp_path_factory.mktemp("original")
    tiny_pipeline.save_pretrained(folder / "checkpoint")
    np.save(folder / "photo.npy", photo)
    return folder / "checkpoint"
