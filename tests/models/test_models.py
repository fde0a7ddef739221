"""The denoisers and the autoencoder: shapes, masks, reload, errors."""

import pytest
import torch
from untrained import randomize_zero_layers

from hf_handdiff.models import (
    JointDenoiser,
    JointDenoiserConfig,
    MeshAutoencoder,
    MeshAutoencoderConfig,
    MeshLatentDenoiser,
    MeshLatentDenoiserConfig,
)
from hf_handdiff.pipelines.sampling import empty_conditions


def dirty_memory():
    junk = [torch.full((n,), float("nan")) for n in (10, 63, 4096, 100_000) for _ in range(30)]
    del junk


@pytest.fixture
def tiny_autoencoder():
    torch.manual_seed(0)
    return MeshAutoencoder(MeshAutoencoderConfig(encoder_hidden_size=16)).eval()


@pytest.mark.parametrize("name", ["joint", "latent", "autoencoder"])
def test_reload_restores_parameters_and_buffers(name, tiny_autoencoder, hand_layer, tmp_path):
    tiny_autoencoder.faces.copy_(hand_layer.faces)
    tiny_autoencoder.joint_regressor.copy_(hand_layer.mesh_to_joints)
    model = {
        "joint": JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=1)),
        "latent": MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=32, num_blocks=1)),
        "autoencoder": tiny_autoencoder,
    }[name]
    model.save_pretrained(tmp_path)
    dirty_memory()
    again = type(model).from_pretrained(tmp_path)
    assert dict(again.named_buffers()).keys() == dict(model.named_buffers()).keys()
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    if name == "autoencoder":
        meshes = torch.randn(2, 778, 3)
        assert torch.equal(model(meshes), again.eval()(meshes))


def test_joint_denoiser_ignores_what_it_must_not_see():
    torch.manual_seed(0)
    model = JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=1)).eval()
    sample, times = torch.randn(2, 21, 3), torch.tensor([10, 500])
    points, scores, scale = torch.randn(2, 21, 2), torch.rand(2, 21), torch.full((2,), 0.2)
    scores[:, 3] = 0
    unseen_moved = points.clone()
    unseen_moved[:, 3] = torch.nan
    first = model(sample, times, points, scores, scale)
    assert first.shape == (2, 21, 3)
    assert torch.equal(first, model(sample, times, unseen_moved, scores, scale))
    off = torch.tensor([False, False])
    one = model(sample, times, points, scores, scale, off)
    other = model(sample, times, 2 * points, 0.5 * scores, 3 * scale, off)
    assert torch.equal(one, other) and not torch.equal(one, first)


def test_mesh_denoiser_ignores_what_it_must_not_see():
    torch.manual_seed(0)
    config = MeshLatentDenoiserConfig(hidden_size=32, num_blocks=1)
    model = randomize_zero_layers(MeshLatentDenoiser(config))
    sample, times = torch.randn(2, 24, 4), torch.tensor([10, 500])
    joints, conditions = torch.randn(2, 21, 3), empty_conditions(config, 2)
    seen = empty_conditions(config, 2)
    seen.point_features, seen.encoder_joints = torch.randn(2, 21, 64), torch.randn(2, 21, 3)
    seen.has_image = torch.ones(2)
    seen.keypoint_scores = torch.rand(2, 21)
    yes, no = torch.tensor([True, True]), torch.tensor([False, False])
    assert model(sample, times, joints, seen).shape == (2, 24, 4)
    assert torch.equal(model(sample, times, joints, seen, yes, no), model(sample, times, joints, conditions, yes, no))
    assert torch.equal(model(sample, times, joints, seen, no, yes), model(sample, times, 0 * joints, seen, no, yes))
    assert not torch.equal(model(sample, times, joints, seen, yes, no), model(sample, times, joints, seen))
    seen.has_image = torch.zeros(2)  # 2D points alone: the features do not count
    points_alone = model(sample, times, joints, seen)
    seen.point_features = torch.zeros(2, 21, 64)
    assert torch.equal(points_alone, model(sample, times, joints, seen))
    assert not torch.equal(points_alone, model(sample, times, joints, conditions))


def linear_latents(joints):
    """Latents (N, 24, 4) of which joints (N, 21, 3) are linear, and the other way round."""
    return (joints.flatten(1) @ torch.randn(63, 96, generator=torch.Generator().manual_seed(5)) + 0.3).view(-1, 24, 4)


def test_mesh_denoiser_starts_as_stage_1():
    torch.manual_seed(0)
    stage1 = randomize_zero_layers(JointDenoiser(JointDenoiserConfig(hidden_size=32, num_blocks=2)))
    model = MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=32, num_blocks=2)).eval()
    joints = 0.05 * torch.randn(3000, 21, 3)
    joints[:, 0] = 0
    latents = linear_latents(joints)
    model.start_from_joint_denoiser(stage1, joints, latents)
    conditions = empty_conditions(model.config, 3000)
    conditions.keypoints, conditions.keypoint_scores = torch.randn(3000, 21, 2), torch.rand(3000, 21)
    times = torch.randint(1000, (3000,))
    noisy = joints + 0.02 * torch.randn_like(joints)
    noisy[:, 0] = 0
    with torch.no_grad():
        scale = stage1.config.joint_scale
        clean = scale * stage1(
            noisy / scale, times, conditions.keypoints, conditions.keypoint_scores, conditions.view_scale
        )
        clean[:, 0] = 0
        answer = model(linear_latents(noisy), times, torch.randn(3000, 21, 3), conditions)
    assert (answer - linear_latents(clean)).std() < 0.1 * linear_latents(clean).std()


def test_mesh_denoiser_starts_only_from_a_network_of_its_size():
    model = MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=32, num_blocks=2))
    stage1 = JointDenoiser(JointDenoiserConfig(hidden_size=64, num_blocks=2))
    joints = torch.randn(100, 21, 3)
    with pytest.raises(ValueError, match="joint_denoiser: expected one with hidden_size 32"):
        model.start_from_joint_denoiser(stage1, joints, linear_latents(joints))


def test_mesh_denoiser_starts_without_the_image():
    torch.manual_seed(0)
    model = MeshLatentDenoiser(MeshLatentDenoiserConfig(hidden_size=32, num_blocks=1))
    with torch.no_grad():
        model.trunk.project_out.weight.normal_()
    sample, times, joints = torch.randn(2, 24, 4), torch.tensor([10, 500]), torch.randn(2, 21, 3)
    conditions = empty_conditions(model.config, 2)
    conditions.keypoint_scores = torch.rand(2, 21)
    points_alone = model(sample, times, joints, conditions)
    conditions.point_features, conditions.encoder_joints, conditions.has_image = (
        torch.randn(2, 21, 64),
        joints,
        torch.ones(2),
    )
    assert torch.equal(points_alone, model(sample, times, joints, conditions))
    conditions.keypoint_scores = torch.zeros(2, 21)
    assert not torch.equal(points_alone, model(sample, times, joints, conditions))


def test_autoencoder_starts_as_principal_components(tiny_autoencoder, hand_layer):
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(30, 778 * 3, generator=generator)
    meshes = 0.002 * (torch.randn(300, 30, generator=generator) @ basis).view(-1, 778, 3)
    tiny_autoencoder.start_from_principal_components(meshes)
    assert (tiny_autoencoder(meshes) - meshes).norm(dim=-1).mean() < 1e-5  # 30 dimensions fit into 96


def test_latents_are_normalised_by_the_statistics_in_the_config(tiny_autoencoder):
    meshes = 0.05 * torch.randn(400, 778, 3)
    with torch.no_grad():
        tiny_autoencoder.set_latent_statistics(meshes)
        latents = tiny_autoencoder.encode(meshes)
        assert latents.shape == (400, 24, 4)
        assert latents.mean(0).abs().max() < 1e-4 and (latents.std(0) - 1).abs().max() < 1e-3
    assert len(tiny_autoencoder.config.latent_mean) == 96


def test_a_ladder_that_does_not_reach_the_mesh_is_refused():
    with pytest.raises(ValueError, match="ladder must end at num_vertices"):
        MeshAutoencoder(MeshAutoencoderConfig(num_vertices=779))
