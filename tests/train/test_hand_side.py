"""The side: both ways of every hand, and figures of what is noticed."""

import hand_side
import pytest
import torch
from handdiff_training.encoding import with_new_head
from handdiff_training.image_batches import CorpusBatches

from hf_handdiff.data.augmentation import whole_image_batch

REALISTIC = "data/realistic_test"


def test_figures_count_what_is_noticed_and_false_alarms():
    right = torch.tensor([3.0, 2.0, 1.0, -1.0])
    mirrored = torch.tensor([-3.0, -2.0, 1.5, -1.5])
    figures = hand_side.side_figures(torch.stack([right, mirrored], 1))
    assert figures["noticed_%"] == 75 and figures["false_alarms_%"] == 25
    assert figures["noticed_at_3_%"] == 75


def test_each_hand_is_seen_both_ways(tiny_pipeline, pytestconfig):
    encoder = with_new_head(tiny_pipeline.image_encoder, side_hidden_size=4)
    data = CorpusBatches(pytestconfig.rootpath / REALISTIC, "test", limit=3)
    found = hand_side.both_sides(encoder, data, 2, lambda rows, number: whole_image_batch(rows))
    assert found.shape[:2] == (6, 2) and torch.equal(found[:3], found[3:])
    pixels = whole_image_batch(data.rows([1]))["pixel_values"]
    with torch.no_grad():
        told, mirrored = (encoder(x).keypoint_descriptors[0] for x in (pixels, pixels.flip(-1)))
    torch.testing.assert_close(found[1, 0], told, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1, 1], mirrored, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(told, mirrored, atol=1e-2)


@pytest.mark.parametrize("hidden", [0, -3])
def test_a_head_without_width_is_refused(tiny_pipeline, hidden):
    with pytest.raises(ValueError, match="side_hidden_size must be 1 or more"):
        with_new_head(tiny_pipeline.image_encoder, side_hidden_size=hidden)
