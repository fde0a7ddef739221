import pytest
import torch

from hf_handdiff.models.hand_framing import HandFrame
from hf_handdiff.models.hand_landmark_backbone import SameConv2d
from hf_handdiff.models.heatmap_refinement import refine_keypoints
from hf_handdiff.models.image_encoder import HandImageEncoder, HandImageEncoderOutput
from hf_handdiff.models.image_encoder_config import HandImageEncoderConfig


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
    assert sum(parameter.numel() for parameter in model.parameters()) <= 4.5e6


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


def identity_frame(count):
    return HandFrame(centre=torch.full((count, 2), 0.5), side=torch.ones(count), angle=torch.zeros(count))


def test_sampled_features_are_those_of_the_cell():
    feature_map = torch.arange(28 * 28, dtype=torch.float32).view(1, 1, 28, 28)
    encoded = HandImageEncoderOutput(feature_map=feature_map, frame=identity_frame(1))
    position = torch.tensor([[[(5 + 0.5) / 28, (9 + 0.5) / 28], [-1.0, -1.0]]])
    samples = HandImageEncoder.sample_features(encoded, position)
    torch.testing.assert_close(samples, torch.tensor([[[9.0 * 28 + 5], [0.0]]]), atol=1e-3, rtol=0)


def test_frames_enter_and_leave():
    frame = HandFrame(torch.tensor([[0.4, 0.7]]), torch.tensor([0.5]), torch.tensor([0.8]))
    points = torch.rand(1, 21, 2)
    torch.testing.assert_close(frame.from_square(frame.to_square(points)), points)
    torch.testing.assert_close(frame.to_square(frame.centre[:, None]), torch.full((1, 1, 2), 0.5))
    # a point to the right of the centre goes down when the picture turns from x towards y by a right angle
    quarter = HandFrame(torch.tensor([[0.5, 0.5]]), torch.ones(1), torch.tensor([torch.pi / 2]))
    entered = quarter.to_square(torch.tensor([[[0.9, 0.5]]]))
    torch.testing.assert_close(entered, torch.tensor([[[0.5, 0.9]]]))


def test_a_frame_cuts_what_its_points_say():
    image = torch.zeros(1, 3, 64, 64)
    image[:, :, 40:44, 20:24] = 1.0  # a dot whose middle is at (22, 42) px
    frame = HandFrame(torch.tensor([[0.4, 0.6]]), torch.tensor([0.7]), torch.tensor([2.0]))
    cut = frame.crop(image)[0, 0]
    weight = cut / cut.sum()
    axis = (torch.arange(64) + 0.5) / 64
    found = torch.stack([(weight.sum(0) * axis).sum(), (weight.sum(1) * axis).sum()])
    expected = frame.to_square(torch.tensor([[[22 / 64, 42 / 64]]]))[0, 0]
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_the_second_look_is_carried_back_to_the_crop(model, images):
    """A framing pass that says 'turned and shifted' changes where the map lies, and points come back from there."""
    raw = torch.tensor([0.05, -0.02, -0.2, 0.6, 0.8]).expand(2, 5)
    hook = model.framing.register_forward_hook(lambda module, inputs, result: raw)
    with torch.no_grad():
        looked = model(images)
        hook.remove()
        inside = model(looked.frame.crop(images), framed=True)
    torch.testing.assert_close(looked.keypoints, looked.frame.from_square(inside.keypoints), atol=1e-5, rtol=0)
    torch.testing.assert_close(looked.feature_map, inside.feature_map, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        model.sample_features(looked, looked.keypoints),
        model.sample_features(inside, inside.keypoints),
        atol=1e-4,
        rtol=0,
    )


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
    assert all(torch.equal(expected[name], found[name]) for name in expected.keys() if name != "frame")
    assert torch.equal(expected.frame.centre, found.frame.centre) and torch.equal(
        expected.frame.angle, found.frame.angle
    )


def test_bfloat16_keeps_the_landmarks(model, images):
    with torch.no_grad():  # of one look: with random weights a square cut anew is another picture
        expected = model(images, framed=True)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(images, framed=True)
    assert found.initial_keypoints.dtype == torch.float32
    spread = expected.keypoints.std()  # the weights are random, so is the size of the landmarks
    assert (found.keypoints - expected.keypoints).abs().mean() < 0.1 * spread


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


@pytest.mark.parametrize("field", [{"image_size": 100}, {"point_feature_size": 30}, {"prior_std": 0.0}])
def test_impossible_configs_are_refused_by_name(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        HandImageEncoderConfig(**field)


def test_squares_and_crops_map_into_each_other_to_the_hundredth_of_a_pixel_under_autocast():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(4, 21, 2, generator=generator)
    frame = HandFrame(torch.rand(4, 2, generator=generator), torch.ones(4), torch.rand(4, generator=generator))
    with torch.autocast("cpu", torch.bfloat16):
        back = frame.from_square(frame.to_square(points))
    assert back.dtype == torch.float32 and (back - points).abs().max() < 0.01 / 224
