"""Where the encoder is in doubt it looks again, and keeps what makes it much surer; what is sure stays to the bit."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline, HandImageEncoder
from hf_handdiff.images import load_image
from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.pipelines.second_look import look_again

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline():
    return CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT)


def crop_of(pipeline, path):
    image = load_image(ROOT / path, "image")
    output = pipeline(image, num_hypotheses=1, output_type="pt")
    return pipeline.image_processor.crop([image], output.crops)


@pytest.fixture(scope="module")
def crops(pipeline):
    """The example's hand, twice."""
    return crop_of(pipeline, "examples/hand_1.jpg").repeat(2, 1, 1, 1)


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


@torch.no_grad()
def test_a_hand_of_the_other_side_is_left_for_the_one_that_was_asked_for(pipeline):
    """Two hands beside each other, the wrong one of which was looked at first."""
    encoder, crop = pipeline.image_encoder, crop_of(pipeline, "space/examples/5_watch.jpg")
    size = crop.shape[-1]
    hand = torch.nn.functional.interpolate(crop, size=size // 2, mode="bilinear", antialias=True)
    both = torch.zeros_like(crop)
    rows = slice(size // 4, size // 4 + size // 2)
    both[:, :, rows, : size // 2], both[:, :, rows, size // 2 :] = hand, hand.flip(-1)
    left = HandFrame(torch.tensor([[0.75, 0.5]]), torch.tensor([0.5]), torch.tensor([0.0]))
    first = encoder(both, frame=left)
    assert (first.keypoints[0, :, 0] > 0.5).float().mean() > 0.8 and first.side_logit < 0
    second = look_again(encoder, both, first)
    assert (second.keypoints[0, :, 0] < 0.5).float().mean() > 0.8 and second.side_logit > 0


def test_squares_within_squares_lead_points_the_same_way_in_one_step_and_in_two():
    generator = torch.Generator().manual_seed(0)
    outer, inner = (
        HandFrame(*(torch.rand(shape, generator=generator) + 0.5 for shape in ((3, 2), (3,), (3,)))) for _ in range(2)
    )
    points = torch.rand(3, 5, 2, generator=generator)
    expected = outer.from_square(inner.from_square(points))
    torch.testing.assert_close(inner.within(outer).from_square(points), expected)
