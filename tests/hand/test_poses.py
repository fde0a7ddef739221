"""Joint limits and the pose sampler."""

import pytest
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.pose_limits import angles_to_pose, clamp_to_limits, limits_table, pose_to_angles
from hf_handdiff.hand.poses import MAX_OVERLAP_M, default_sampler, sample_poses
from hf_handdiff.hand.recorded_poses import recorded_poses
from hf_handdiff.hand.topology import FINGERS, MANO_FINGERS


@pytest.fixture(scope="module")
def sampler():
    return default_sampler()


@pytest.fixture(scope="module")
def poses():
    return sample_poses(3000, torch.Generator().manual_seed(0))


def test_angles_and_poses_are_inverse(sampler):
    angles = torch.rand(50, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = torch.linalg.qr(sampler.frames.double().mT)[0].mT
    frames = frames * torch.sign((frames * sampler.frames).sum(-1, keepdim=True))
    back = pose_to_angles(angles_to_pose(angles, frames), frames)
    assert torch.allclose(back, angles, atol=1e-9)


def test_positive_flexion_closes_every_finger(sampler):
    rest = sampler.layer.pose_joints(torch.zeros(1, 16, 3), torch.zeros(1, 10))[0]
    for finger, joints in MANO_FINGERS.items():
        angles = torch.zeros(1, 16, 3)
        angles[:, list(joints), 0] = 0.6
        bent = sampler.layer.pose_joints(angles_to_pose(angles, sampler.frames), torch.zeros(1, 10))[0]
        tip, knuckle = FINGERS[finger][3], FINGERS[finger][0]
        palm = rest[[0, 5, 9, 13, 17]].mean(0) + torch.tensor([0, -0.02, 0])
        assert (bent[tip] - palm).norm() < (rest[tip] - palm).norm() - 0.01
        assert finger == "thumb" or bent[tip, 1] < rest[tip, 1], "towards the palm's side"
        assert torch.equal(bent[knuckle], rest[knuckle])


def test_samples_have_the_right_form_and_follow_the_generator(poses):
    assert poses.shape == (3000, 16, 3) and poses.dtype == torch.float32
    assert torch.isfinite(poses).all()
    assert poses[:, 0].abs().max() == 0
    assert torch.equal(sample_poses(3000, torch.Generator().manual_seed(0)), poses)
    assert sample_poses(1, torch.Generator().manual_seed(4)).shape == (1, 16, 3)
    assert sample_poses(0).shape == (0, 16, 3)


def test_samples_keep_the_limits(sampler, poses):
    angles = pose_to_angles(poses, sampler.frames)
    table = limits_table()
    tolerance = 2e-3
    assert (angles[:, 1:] >= table[1:, :, 0] - tolerance).all()
    assert (angles[:, 1:] <= table[1:, :, 1] + tolerance).all()
    assert torch.allclose(clamp_to_limits(poses), poses, atol=3e-3)


def test_clamping_brings_any_pose_into_the_limits_and_keeps_the_global_rotation(sampler):
    wild = torch.randn(300, 16, 3, generator=torch.Generator().manual_seed(1))
    clamped = clamp_to_limits(wild)
    angles = pose_to_angles(clamped, sampler.frames)[:, 1:]
    table = limits_table()[1:]
    assert torch.equal(clamped[:, 0], wild[:, 0])
    assert (angles >= table[..., 0] - 2e-3).all() and (angles <= table[..., 1] + 2e-3).all()


def test_samples_are_varied(sampler, poses):
    flexion = pose_to_angles(poses, sampler.frames)[:, [1, 4, 7, 10, 2, 5, 8, 11], 0].rad2deg()
    assert (flexion.quantile(0.05, dim=0) < 15).all()
    assert (flexion.quantile(0.95, dim=0) > 65).all()
    joints = sampler.layer.pose_joints(poses, torch.zeros(len(poses), 10))
    to_index = (joints[:, FINGERS["thumb"][3]] - joints[:, FINGERS["index"][3]]).norm(dim=-1)
    assert (to_index < 0.02).float().mean() > 0.04, "some hands pinch"
    assert (to_index > 0.08).float().mean() > 0.15


def test_fingers_hardly_run_through_each_other(sampler, poses):
    overlap = sampler.overlap(poses)
    assert (overlap < 0.002).float().mean() > 0.8
    assert overlap.quantile(0.99) < 0.025
    crossed = torch.zeros(1, 16, 3)
    crossed[:, 1] = sampler.frames[1, 1] * -0.4
    crossed[:, 4] = sampler.frames[4, 1] * 0.4
    assert sampler.overlap(crossed)[0] > 0.01


def test_pinching_pulps_touch(sampler):
    table = sampler._touching.pinches()
    for number, finger in enumerate(("index", "middle", "little", "ring")):
        poses = torch.zeros(len(table[number]), 16, 3)
        poses[:, list(MANO_FINGERS["thumb"])] = table[number][:, :3]
        poses[:, list(MANO_FINGERS[finger])] = table[number][:, 3:]
        joints = sampler.layer.pose_joints(poses, torch.zeros(len(poses), 10))
        gap = (joints[:, FINGERS["thumb"][3]] - joints[:, FINGERS[finger][3]]).norm(dim=-1)
        assert gap.max() < 0.032
        assert len(poses.unique(dim=0)) > 50


def test_recorded_poses_are_there():
    recorded = recorded_poses()
    assert len(recorded) > 3000 and recorded.shape[1:] == (16, 3)
    assert torch.isfinite(recorded).all() and recorded[:, 0].abs().max() == 0
    assert recorded.flatten(1).std(0)[3:].max() > 0.3


def test_sampler_is_fast_enough_to_train_on(sampler):
    import time

    start = time.perf_counter()
    sampler.sample(4000, torch.Generator().manual_seed(0))
    assert time.perf_counter() - start < 2.0


def test_kinds_can_be_asked_for(sampler):
    curled = sampler.sample(400, torch.Generator().manual_seed(3), 0.0, kinds={"curled": 0.6, "fist": 0.4})
    mixed = sampler.sample(400, torch.Generator().manual_seed(3), 0.0)
    middle_joints = [2, 5, 8, 11]  # MANO's rotations of the long fingers
    assert curled[:, middle_joints].norm(dim=-1).mean() > mixed[:, middle_joints].norm(dim=-1).mean() + 0.4
    assert sampler.overlap(curled).max() <= MAX_OVERLAP_M + 1e-6
    with pytest.raises(InputError, match="kinds must be some of coordinated.* got jazz"):
        sampler.sample(3, kinds={"jazz": 1.0})
