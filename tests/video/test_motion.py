"""A synthetic hand that moves: linked and smoothed, it trembles less, is no farther off, and comes no later."""

import json

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.motion import jitter, lag_frames, measure_json_lines
from hf_handdiff.video.linking import HypothesisLinker, mode_weights
from hf_handdiff.video.sequence import FrameHand, HandSequence

FRAMES, RATE, COUNT = 120, 30.0, 12
STD_M = 0.01


@pytest.fixture(scope="module")
def motion(hand_layer):
    """Vertices (T, V, 3) and joints (T, 21, 3) m of a hand that closes, opens and turns, wrist at 0."""
    rng = np.random.default_rng(3)
    keys = np.arange(0, FRAMES + 20, 20)
    curl = CubicSpline(keys, rng.uniform(0.0, 0.8, (len(keys), 15)))(np.arange(FRAMES))
    turn = CubicSpline(keys, rng.normal(0.0, 0.3, (len(keys), 3)))(np.arange(FRAMES))
    pose = np.zeros((FRAMES, 16, 3), np.float32)
    pose[:, 0], pose[:, 1:, 2] = turn, curl
    hand = hand_layer(torch.from_numpy(pose), torch.zeros(FRAMES, 10))
    return (hand.vertices - hand.joints[:, :1]).numpy(), (hand.joints - hand.joints[:, :1]).numpy()


def frames_of(vertices, joints, seed=0, second_mode=None):
    """What a pipeline might say: an error that stays, one of each hypothesis that stays, one drawn anew.

    `second_mode` (T,): share of the hypotheses whose fingers are 5 cm nearer to the camera than they should be.
    """
    rng = np.random.default_rng(seed)
    weights = 1.0 / (1e-4 + ((vertices[0, :, None] - joints[0][None]) ** 2).sum(-1))
    weights /= weights.sum(1, keepdims=True)
    own = rng.normal(0.0, 0.4 * STD_M, (COUNT, 21, 3))
    lasting = rng.normal(0.0, 0.3 * STD_M, (21, 3))
    ranks = rng.permutation(COUNT) / COUNT
    for t in range(len(joints)):
        error = lasting + own + rng.normal(0.0, 0.0015, (21, 3)) + rng.normal(0.0, 0.002, (COUNT, 21, 3))
        if second_mode is not None:
            error[ranks < second_mode[t], 5:, 2] -= 0.05
        error[:, 0] = 0.0
        std = np.full(21, STD_M) if second_mode is None else np.maximum(STD_M, error.std(0).max(-1))
        keypoints = 300 + 1500 * joints[t][:, :2] + rng.normal(0.0, 1.0, (21, 2))
        hypotheses = joints[t] + error
        yield FrameHand(
            frame=t,
            time_s=t / RATE,
            hypotheses=hypotheses,
            vertices=vertices[t] + np.einsum("vj,njd->nvd", weights, error),
            mean_joints=hypotheses.mean(0),
            joint_std=std,
            keypoints=keypoints,
            scores=np.ones(21),
            translation=np.array([0.0, 0.0, 0.5]) + rng.normal(0.0, 0.002, (COUNT, 3)),
            box=np.array([0.0, 0.0, 1.0, 1.0]),
            hand_score=1.0,
            handedness="right",
        )


def follow(frames, lookahead=4):
    sequence = HandSequence(lookahead)
    taken = [sequence.push(frame) for frame in frames]
    assert [hand is None for hand in taken] == [t < lookahead for t in range(len(taken))]
    return [hand for hand in taken if hand is not None] + sequence.flush()


def error(points, truth):
    return np.linalg.norm(points - truth, axis=-1).mean()


def test_less_jitter_no_more_error_no_lag(motion):
    vertices, joints = motion
    answers = follow(frames_of(vertices, joints))
    assert [hand.own.frame for hand in answers] == list(range(FRAMES))
    before = np.stack([hand.own.mean_joints for hand in answers])
    after = np.stack([hand.joints for hand in answers])
    assert jitter(after) - jitter(joints) < 0.4 * (jitter(before) - jitter(joints))
    assert error(after, joints) < error(before, joints)
    assert abs(lag_frames(joints, after)) < 0.1
    meshes = np.stack([hand.vertices for hand in answers])
    assert error(meshes, vertices) < error(np.stack([hand.own.vertices.mean(0) for hand in answers]), vertices)
    pixels = 300 + 1500 * joints[..., :2]
    own, smooth = (np.stack([hand.keypoints for hand in hands]) for hands in ([a.own for a in answers], answers))
    assert jitter(smooth) < 0.7 * jitter(own) and error(smooth, pixels) < error(own, pixels)
    depth = np.stack([hand.translation for hand in answers])[:, 2]
    assert (
        np.abs(depth - 0.5).mean() < np.abs(np.stack([a.own.translation.mean(0) for a in answers])[:, 2] - 0.5).mean()
    )


def test_a_filter_without_lookahead_answers_at_once_and_is_smoother(motion):
    vertices, joints = motion
    answers = follow(frames_of(vertices, joints), lookahead=0)
    before, after = (np.stack(points) for points in zip(*[(a.own.mean_joints, a.joints) for a in answers], strict=True))
    assert jitter(after) < 0.8 * jitter(before) and error(after, joints) < 1.05 * error(before, joints)
    assert abs(lag_frames(joints, after)) < 0.6


def test_a_jump_is_followed_at_once():
    """A still hand that leaps: smoothing must not drag it through the places in between."""
    joints = np.zeros((60, 21, 3))
    joints[:, :, 0] = np.linspace(0, 0.18, 21)
    joints[30:, 1:, 1] += 0.08
    answers = follow(frames_of(joints, joints))
    after = np.stack([hand.joints for hand in answers])
    distance = np.linalg.norm(after - joints, axis=-1)[:, 1:].mean(1)
    assert distance[[25, 35]].max() < 0.006 and distance.max() < 0.03


def test_the_path_stays_in_its_mode_while_the_samples_go_over(motion):
    """Most samples are right; for a while more than half are wrong: the mean jumps, the linked answer does not."""
    vertices, joints = motion
    share = np.full(FRAMES, 0.2)
    share[50:56] = 0.6
    answers = follow(frames_of(vertices, joints, second_mode=share))
    before = np.stack([hand.own.mean_joints for hand in answers])
    after = np.stack([hand.joints for hand in answers])
    assert error(before[51:55], joints[51:55]) > 0.02
    assert error(after, joints) < 0.006 and error(after[51:55], joints[51:55]) < 0.008


def test_linked_hypotheses_take_the_cheaper_way_as_brute_force_does():
    """All paths of a short sequence, one by one."""
    from itertools import product

    from hf_handdiff.video.linking import TRANSITION_WEIGHT, atypicality, common_motion, squared_distances

    rng = np.random.default_rng(5)
    frames = rng.normal(0.0, 0.01, (4, 5, 21, 3))
    std = np.full(21, 0.01)
    linker = HypothesisLinker(4)
    for hypotheses in frames:
        linker.push(hypotheses, std)

    def cost(path):
        total = sum(atypicality(frames[t], std)[k] for t, k in enumerate(path))
        for t in range(1, 4):
            moved = frames[t - 1] + common_motion(frames[t - 1], frames[t])
            total += 0.5 * TRANSITION_WEIGHT * squared_distances(moved, frames[t], std)[path[t - 1], path[t]]
        return total

    assert tuple(linker.path()) == min(product(range(5), repeat=4), key=cost)


def test_one_hypothesis_is_its_own_mode():
    hands = np.random.default_rng(0).normal(0.0, 0.01, (1, 21, 3))
    assert mode_weights(hands, 0, np.full(21, 0.01)).tolist() == [1.0]
    equal = mode_weights(np.repeat(hands, 4, axis=0), 2, np.full(21, 0.01))
    np.testing.assert_allclose(equal, 0.25)


@pytest.mark.parametrize("shift", [-3, 0, 1, 4])
def test_a_lag_that_was_put_in_is_found(motion, shift):
    _, joints = motion
    moved = np.roll(joints, shift, axis=0)
    inner = slice(8, -8)
    assert lag_frames(joints[inner], moved[inner]) == pytest.approx(shift, abs=0.05)


def test_jitter_of_known_motions():
    t = np.arange(10.0)[:, None, None]
    assert jitter(np.broadcast_to(3 * t, (10, 2, 1))) == 0
    assert jitter(t**2 * np.array([0.3, 0.4])) == pytest.approx(1.0)
    with pytest.raises(InputError, match="at least"):
        lag_frames(np.zeros((10, 2, 3)), np.zeros((10, 2, 3)))


def test_the_lines_of_a_video_are_measured(motion, tmp_path):
    """A hand that is away for a while, and another that is there for a moment."""
    _, joints = motion
    lines = []
    for t in range(80):
        hand = {
            "joints_m": joints[t],
            "frame_joints_m": joints[t] + 1e-3 * (t % 2),
            "keypoints_2d_px": joints[t, :, :2],
        }
        hand["frame_keypoints_2d_px"] = hand["keypoints_2d_px"]
        hand = {key: value.tolist() for key, value in hand.items()}
        numbers = [0] * (not 20 <= t < 23) + [1] * (t < 3)
        lines.append(json.dumps({"frame": t, "hands": [{"id": number, **hand} for number in numbers]}))
    (tmp_path / "clip.jsonl").write_text("\n".join(lines) + "\n")
    first, second = measure_json_lines(tmp_path / "clip.jsonl")
    assert first["frames"] == 77 and second["frames"] == 3
    assert first["jitter_mm_before"] > first["jitter_mm_after"] > 0
    assert first["jitter_px_before"] == first["jitter_px_after"]
    assert abs(first["lag_frames"]) < 0.1 and second["lag_frames"] is None


@pytest.mark.parametrize("line", ["{", "5", '{"hands": [5]}', '{"frame": 0, "hands": [{"id": []}]}', "[" * 100_000])
def test_lines_of_something_else_are_said(tmp_path, line):
    (tmp_path / "clip.jsonl").write_text('{"frame": 0, "hands": []}\n' + line)
    with pytest.raises(InputError, match="clip.jsonl, line 2"):
        measure_json_lines(tmp_path / "clip.jsonl")
