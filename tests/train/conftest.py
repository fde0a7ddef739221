"""The training scripts import each other as they do when they are run: from their own folder."""

import sys
from pathlib import Path

TRAIN = Path(__file__).parents[2] / "train"
sys.path.insert(0, str(TRAIN))

import pytest  # noqa: E402
from accelerate.state import AcceleratorState, PartialState  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_accelerator():
    """Several trainings in one process, each with its own precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    yield


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory):
    """See `training_parts.make_parts`."""
    pytest.importorskip("numba")
    from training_parts import make_parts

    return make_parts(tmp_path_factory.mktemp("parts"))
