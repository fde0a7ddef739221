"""Where the encoder is in doubt it looks again, and keeps what makes it much surer; what is sure stays to the bit."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline, HandImageEncoder
from hf_handdiff.images import load_image
from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.pipelines.second_look import look_again

EXAMPLE = Path(__file__).parents[2] / "examples" / "hand_1.jpg"


@pytest.fixture(scope="module")
def pipeline():
    return CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)


@pytest.fixture(scope="module")
def crops(pipeline):
    """The example's hand, twice."""
    image = load_image(EXAMPLE, "image")
    output = pipeline(image, num_hypotheses=1, output_type="pt")
    return pipeline.image_processor.crop([image], output.crops).repeat(2, 1, 1, 1)


@torch.no_grad()
def test_a_hand_that_was_missed_is_found_and_a_sure_one_stays(pipeline, crops):
    encoder = pipeline.image_encoder
    right = encoder(crops)
    corner = HandFrame(right.frame.centre.clone(), right.frame.side.clone(), right.frame.angle.clone())
    corner.centre[1], corner.side[1] = torch.tensor([0.06, 0.06]), 0.25  # where no hand is
    first = encoder(crops, frame=corner)
    assert (first.keypoints[1] - right.keypoints[1]).norm(dim=-1).mean() > 0.2
    second = look_again(encoder, crops, first)
    assert (second.keypoints[1] - right.keypoints[1]).norm(dim=-1).mean() < 0.03
    places = encoder.sample_features(second, right.keypoints)  # map and frame are of the same look
    known = encoder.sample_features(right, right.keypoints)
    assert torch.cosine_similarity(places[1], known[1], dim=-1).mean() > 0.8
    for field in fields(first):
        before, after = getattr(first, field.name), getattr(second, field.name)
        if isinstance(before, torch.Tensor):
            assert torch.equal(before[0], after[0]), field.name
    assert torch.equal(second.frame.centre[0], first.frame.centre[0])


@torch.no_grad()
def test_without_doubt_and_without_a_distribution_nothing_changes(pipeline, crops):
    encoder = pipeline.image_encoder
    sure = encoder(crops)
    assert look_again(encoder, crops, sure) is sure
    silent = HandImageEncoder(type(encoder.config).from_dict({**encoder.config.to_dict(), "keypoint_factors": None}))
    said = silent.eval()(crops)
    assert look_again(silent, crops, said) is said
