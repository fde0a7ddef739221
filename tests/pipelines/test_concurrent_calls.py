"""Several threads share one pipeline: each call owns all that it changes."""

import pytest
from concurrent_calls import answers_at_once, differences_mm, various_calls


@pytest.mark.slow
def test_eight_threads_get_the_answers_that_they_get_alone(tiny_pipeline, photo):
    calls = various_calls(48, photo.shape[1::-1], detect=False)
    alone = [call.run(tiny_pipeline, photo) for call in calls]
    assert max(differences_mm(alone, answers_at_once(tiny_pipeline, photo, calls, threads=8))) == 0
