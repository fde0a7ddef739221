import pytest
import torch

from hf_handdiff.models.image_encoder import (
    HandImageEncoder,
    HandImageEncoderConfig,
    SameConv2d,
    refine_keypoints,
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HandImageEncoder(HandImageEncoderConfig()).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def output(model, images):
    with torch.no_grad():
        return model(images)


def test_output_has_the_documented_shapes(output):
    assert output.keypoints.shape == output.initial_keypoints.shape == (2, 21, 2)
    assert output.keypoint_scores.shape == output.keypoint_score_logits.shape == (2, 21)
    assert output.hand_logit.shape == (2,)
    assert output.feature_map.shape == (2, 64, 28, 28)
    assert output.global_features.shape == (2, 256)
    assert output.heatmap_logits.shape == (2, 21, 28, 28)
    assert output.joints.shape == (2, 21, 3)
    assert (output.joints[:, 0] == 0).all()


def test_model_is_small_enough(model):
    assert sum(parameter.numel() for parameter in model.parameters()) <= 4.0e6


def test_every_parameter_is_either_pretrained_or_new(model):
    both = [*model.pretrained_parameters(), *model.new_parameters()]
    assert len(both) == len({id(parameter) for parameter in both}) == len(list(model.parameters()))


def test_refinement_starts_at_exactly_zero(output):
    assert torch.equal(output.keypoints, output.initial_keypoints)


@pytest.mark.parametrize("landmark", [(0.5, 0.5), (0.0, 1.0), (-0.4, 1.7)])
def test_constant_evidence_moves_nothing_anywhere(landmark):
    landmarks = torch.tensor(landmark).view(1, 1, 2)
    keypoints, _ = refine_keypoints(landmarks, torch.zeros(1, 1, 28, 28), prior_std=0.06)
    assert torch.equal(keypoints, landmarks)


def test_strong_evidence_moves_the_keypoint_to_its_cell():
    evidence = torch.zeros(1, 1, 28, 28)
    evidence[0, 0, 12, 20] = 50.0
    keypoints, _ = refine_keypoints(torch.full((1, 1, 2), 0.6), evidence, prior_std=0.06)
    torch.testing.assert_close(keypoints[0, 0], torch.tensor([20.5 / 28, 12.5 / 28]), atol=1e-3, rtol=0)


def test_sampled_features_are_those_of_the_cell():
    feature_map = torch.arange(28 * 28, dtype=torch.float32).view(1, 1, 28, 28)
    position = torch.tensor([[[(5 + 0.5) / 28, (9 + 0.5) / 28], [-1.0, -1.0]]])
    samples = HandImageEncoder.sample_features(feature_map, position)
    torch.testing.assert_close(samples, torch.tensor([[[9.0 * 28 + 5], [0.0]]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("kernel", "expected"), [(3, (0, 1)), (5, (1, 2))])
def test_stride_two_pads_like_tensorflow(kernel, expected):
    convolution = SameConv2d(1, 1, kernel, stride=2)
    assert convolution.far_side_padding == expected * 2
    assert convolution(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 4, 4)


def test_reload_gives_every_tensor_and_the_output_to_the_bit(model, images, output, tmp_path):
    with torch.no_grad():
        for parameter in model.parameters():  # also those that start at zero
            parameter.add_(1e-3 * torch.randn_like(parameter))
        expected = model(images)
    model.save_pretrained(tmp_path)
    dirt = [torch.full((size,), float("nan")) for size in (10, 1000, 100_000, 1_000_000)]
    del dirt
    reloaded = HandImageEncoder.from_pretrained(tmp_path).eval()
    before, after = dict(model.state_dict()), dict(reloaded.state_dict())
    assert before.keys() == after.keys()
    assert set(before) == {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        found = reloaded(images)
    assert all(torch.equal(expected[name], found[name]) for name in expected.keys())


def test_bfloat16_keeps_the_landmarks(model, images):
    with torch.no_grad():
        expected = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(images)
    assert found.initial_keypoints.dtype == torch.float32
    spread = expected.keypoints.std()  # the weights are random, so is the size of the landmarks
    assert (found.keypoints - expected.keypoints).abs().max() < 0.1 * spread


def test_every_parameter_learns(images):
    torch.manual_seed(0)
    model = HandImageEncoder(HandImageEncoderConfig())
    with torch.no_grad():  # the zeros of the start hold back the gradient of what lies before them
        for module in (model.heatmap_out, model.world_correction, model.score_head.out):
            module.weight.normal_(std=0.01)
    output = model(images)
    (output.keypoints.sum() + output.keypoint_score_logits.sum() + output.joints.square().sum()
     + output.hand_logit.sum()).backward()  # fmt: skip
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_wrong_input_is_refused_by_name(model):
    with pytest.raises(ValueError, match=r"pixel_values must be \(B, 3, 224, 224\), got \(1, 3, 64, 64\)"):
        model(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize("field", [{"image_size": 100}, {"feature_channels": 30}, {"prior_std": 0.0}])
def test_impossible_configs_are_refused_by_name(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        HandImageEncoderConfig(**field)
