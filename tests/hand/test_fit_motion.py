"""A hand through the frames of a video: one shape and size, and the pose of each frame."""

import pytest
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.fit_motion import fit_motion
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import mirror_rotations


def video(layer, side, count=70):
    """Joints (T, 21, 3) of a hand that changes from frame to frame, wrist at 0, and its vertices."""
    generator = torch.Generator().manual_seed(2)
    poses = sample_poses(count, generator)
    poses[:, 0] = torch.linspace(0, 3, count)[:, None] * torch.tensor([0.3, 0.8, -0.2])
    poses = poses if side == "right" else mirror_rotations(poses)
    betas = torch.randn(1, 10, generator=generator).expand(count, 10)
    return posed_hand(layer, poses[:, 0], poses[:, 1:], betas, torch.full((count,), 1.12), side)


@pytest.mark.parametrize("side", ["right", "left"])
def test_joints_are_followed_with_one_shape(side):
    layer = HandLayer.open_hand()
    truth = video(layer, side)
    motion = fit_motion(truth.joints + 0.3, side, layer)  # wherever they are
    count = len(truth.joints)
    size = torch.full((count,), motion.hand_scale)
    found = posed_hand(layer, motion.global_orient, motion.hand_pose, motion.betas.expand(count, -1), size, side)
    off = 1000 * (found.joints - truth.joints).norm(dim=-1)
    assert off.mean() < 1.0 and motion.residual_mm.max() < 4.0
    torch.testing.assert_close(off.square().mean(1).sqrt(), motion.residual_mm.float(), atol=1e-2, rtol=0)
    assert 1000 * (found.vertices - truth.vertices).norm(dim=-1).mean() < 2.0


def test_one_frame_is_enough_and_batches_do_not_show():
    layer = HandLayer.open_hand()
    joints = video(layer, "right").joints
    alone = fit_motion(joints[:1], "right", layer)
    assert alone.residual_mm.shape == (1,) and alone.residual_mm[0] < 2
    several = fit_motion(joints[:1].expand(70, -1, -1), "right", layer)
    torch.testing.assert_close(several.hand_pose, alone.hand_pose.expand(70, -1, -1), atol=1e-3, rtol=0)


def test_what_is_no_motion_is_refused():
    layer = HandLayer.open_hand()
    joints = video(layer, "right", 3).joints
    broken = joints.clone()
    broken[1, 4] = torch.nan
    for arguments in ((joints[:, :20], "right"), (broken, "right"), (joints[:0], "right"), (joints, "both")):
        with pytest.raises(InputError):
            fit_motion(*arguments, layer)
