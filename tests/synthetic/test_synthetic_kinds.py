"""The kinds of images: that they occur as planned, and that the truth of each is right."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from checked_samples import NUM_SAMPLES
from exact_rays import inside, visible_by_rays
from PIL import Image

pytest.importorskip("numba")
pytest.importorskip("cv2")

from hf_handdiff.data.corpus import load_corpus
from hf_handdiff.synthetic import write_corpus
from hf_handdiff.synthetic.card import viewing_direction, write_card
from hf_handdiff.synthetic.generator import generate_scene
from hf_handdiff.synthetic.kinds import read_kinds
from hf_handdiff.synthetic.plan import (
    CLOSED_SHARE,
    GLOVE_SHARE,
    KINDS,
    LIGHT_SHARES,
    PLAIN_SHARE,
    SUBJECT_SHARES,
    VIEW_SHARES,
    ScenePlan,
    sample_plan,
)
from hf_handdiff.synthetic.rasterizer import NO_FACE, project_points, rasterize, screen_points
from hf_handdiff.synthetic.scene import contact_meshes, sample_hand, touching_hand

NUM_PLANS = 4000


@pytest.fixture(scope="module")
def scenes(assets):
    """Scenes that show a hand."""
    found = (generate_scene(77, index, assets) for index in range(3 * NUM_SAMPLES))
    return [scene for scene in found if scene.row["has_hand"]]


def of_kind(scenes, kind):
    found = [scene for scene in scenes if kind in scene.kinds]
    assert found, kind
    return found


def test_plans_keep_the_shares(assets):
    rng = np.random.default_rng(0)
    plans = [sample_plan(rng) for _ in range(NUM_PLANS)]
    rest = 1.0 - PLAIN_SHARE

    def check(share, wanted):
        assert abs(share - wanted) < 4.0 * np.sqrt(wanted * (1.0 - wanted) / NUM_PLANS), (share, wanted)

    for field, shares in (("subject", SUBJECT_SHARES), ("view", VIEW_SHARES), ("light", LIGHT_SHARES)):
        assert sum(shares.values()) == pytest.approx(1.0)
        for value, share in list(shares.items())[1:]:  # the first is what plain ones are, too
            check(np.mean([getattr(plan, field) == value for plan in plans]), rest * share)
    check(np.mean([plan.glove for plan in plans]), rest * GLOVE_SHARE)
    check(np.mean([plan.closed for plan in plans]), rest * (1.0 - SUBJECT_SHARES["held"]) * CLOSED_SHARE)
    assert PLAIN_SHARE <= np.mean([plan == ScenePlan() for plan in plans]) < PLAIN_SHARE + 0.1


def test_scenes_come_out_as_planned(scenes):
    counts = Counter(kind for scene in scenes for kind in scene.kinds)
    assert set(counts) <= set(KINDS) and len(counts) >= 11
    shares = {kind: counts[kind] / len(scenes) for kind in KINDS}
    assert abs(shares["plain"] - PLAIN_SHARE - 0.04) < 0.16
    rest = 1.0 - PLAIN_SHARE
    for kind in ("held", "two_hands"):
        assert abs(shares[kind] - rest * SUBJECT_SHARES[kind]) < 0.13, kind
    for scene in of_kind(scenes, "plain"):
        assert scene.kinds == ("plain",) and not scene.covered.any()


def test_joints_behind_held_things_and_other_hands_are_not_visible(assets, scenes):
    agree, hidden = [], 0
    for scene in of_kind(scenes, "held")[:10] + of_kind(scenes, "two_hands")[:10] + of_kind(scenes, "glove")[:4]:
        told = np.array(scene.row["keypoints_visible"])
        agree.append(told == visible_by_rays(assets.hand, scene))
        hidden += (~told).sum()
    assert np.mean(agree) >= 0.985 and hidden > 2 * len(agree)


def test_the_mesh_of_the_labels_lies_within_the_drawn_hand(scenes):
    outside = []
    for scene in scenes[: 2 * NUM_SAMPLES]:
        camera, vertices = scene.row["intrinsics_px"].astype(np.float64), scene.row["vertices_m"].astype(np.float64)
        depth, ids = np.zeros((448, 448), np.float32), np.full((448, 448), NO_FACE, np.int32)
        wide = camera.copy()
        wide[:2, 2] += 112.0
        rasterize(screen_points(scene.meshes[0].points, wide), scene.meshes[0].faces, False, depth, ids)
        columns, rows = np.floor(project_points(vertices, wide)).astype(int).T
        there = (columns > 0) & (columns < 447) & (rows > 0) & (rows < 447)
        columns, rows = columns[there], rows[there]
        near = np.zeros(len(rows), bool)
        for x in (-1, 0, 1):
            for y in (-1, 0, 1):
                near |= ids[rows + y, columns + x] != NO_FACE
        outside.append(1.0 - near.mean())
    assert max(outside) < 0.02


def test_held_things_do_not_swallow_the_hand(scenes):
    for kind in ("held", "two_hands", "from_arm"):
        found = [scene for scene in of_kind(scenes, kind) if "hidden" not in scene.kinds]
        shares = np.array([scene.row["visible_share"] for scene in found])
        assert np.median(shares) > 0.5 and (shares < 0.1).mean() <= 0.1, (kind, shares)


def test_things_are_held_by_the_hand_and_not_inside_it(assets):
    through, nearest = [], []
    for index in range(24):
        poses, rng = assets.poses(3, index), np.random.default_rng(index)
        plan = ScenePlan(subject="held", pinched=index % 3 == 0)
        instance = sample_hand(assets.hand, poses.own, "train", rng, plan=plan, grip_pose=poses.grip)
        assert instance.holds
        held, joints = instance.meshes[-1], instance.joints
        inner = np.setdiff1d(np.arange(21), [4, 8, 12, 16, 20])  # tips lie on the skin
        through.append(inside(joints[inner], held).any())
        skin = instance.meshes[0].points[: assets.hand.num_hand_vertices]
        corners = held.points[held.faces[:: max(len(held.faces) // 150, 1)]].mean(1)
        nearest.append(np.linalg.norm(skin[::7, None] - corners[None], axis=2).min())
    assert np.mean(through) <= 0.1 and np.median(nearest) < 0.012


def test_touching_hands_touch_and_do_not_run_through_each_other(assets):
    gaps, through = [], []
    for index in range(12):
        poses, rng = assets.poses(3, index), np.random.default_rng(index)
        instance = sample_hand(assets.hand, poses.own, "train", rng)
        touching = touching_hand(assets.hand, instance, poses.other, "train", rng)
        if touching is None:
            continue
        other = contact_meshes(*touching)[0]
        count = assets.hand.num_hand_vertices
        gap = instance.meshes[0].points[:count:3, None] - other.points[None, :count:3]
        gaps.append(np.linalg.norm(gap, axis=2).min())
        through.append(inside(instance.joints, other).mean())
    assert len(gaps) >= 10 and np.median(gaps) < 0.008 and max(gaps) < 0.025
    assert np.mean(through) < 0.05


def test_views_along_the_arm_are_what_they_say(scenes):
    for kind, sign in (("from_arm", -1.0), ("from_tips", 1.0)):
        rows = [scene.row for scene in of_kind(scenes, kind)]
        joints, pose = np.stack([row["joints_m"] for row in rows]), np.stack([row["pose_rad"] for row in rows])
        _, toward_tips = viewing_direction(joints, pose[:, 0])
        assert (sign * toward_tips > 0.4).all(), toward_tips


def test_no_image_is_black_or_blank(scenes):
    for scene in scenes:
        pixels = np.asarray(Image.open(io.BytesIO(scene.row["image"]["bytes"])), np.float32)
        assert pixels.mean() > 8 and pixels.std() > 4, scene.row["sample_id"]


def test_gloved_hands_have_no_skin_tone(scenes):
    for scene in scenes:
        assert (scene.row["skin_tone"] == -1.0) == ("glove" in scene.kinds)


def test_kinds_are_told_beside_the_shard_and_on_the_card(assets, tmp_path):
    write_corpus(tmp_path, 6, 77, shard_rows=6, progress=False)
    shard = next(tmp_path.glob("*.parquet"))
    assert read_kinds(shard) == [list(generate_scene(77, index, assets).kinds) for index in range(6)]
    card = (tmp_path / "README.md").read_text()
    assert "| held | holds a thing |" in card and "version 5" in card
    # a corpus of version 4: the same columns, and no kinds
    for path in (tmp_path / "kinds").iterdir():
        path.unlink()
    settings = json.loads((tmp_path / "train.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps({**settings, "generator_version": 4}))
    write_card(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "version 4" in card and "| held |" not in card
    assert len(load_corpus(tmp_path, split="train")) == 6
    with pytest.raises(ValueError, match="generator_version 4, not 5"):
        write_corpus(tmp_path, 6, 77, shard_rows=6, progress=False)
