"""The small pipeline that follows the hand of the clip, and its checkpoint, by shorter names."""

import pytest


@pytest.fixture(scope="session")
def pipeline(pipeline_of_clip):
    return pipeline_of_clip


@pytest.fixture(scope="session")
def checkpoint(checkpoint_of_clip):
    return checkpoint_of_clip
