"""Rigs: skinned by the file's own bones, binds, weights and times they give the hand layer's vertices."""

import json

import numpy as np
import pytest
import torch
from glb_reading import Glb
from scipy.spatial.transform import Rotation

from hf_handdiff.errors import InputError
from hf_handdiff.hand import HandLayer
from hf_handdiff.hand.fitting import posed_hand
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import JOINT_NAMES, JOINTS_TO_MANO
from hf_handdiff.viz import write_glb
from hf_handdiff.viz.animated_glb import write_animated_glb
from hf_handdiff.viz.moving_hand import MovingHand
from hf_handdiff.viz.rig import BONE_NAMES, make_rig

TO_GLTF = np.array([1.0, -1.0, -1.0])
TENTH_MM = 1e-4
COUNT = 9
TIMES = np.arange(COUNT) / 32


@pytest.fixture(scope="module")
def mano_file(tmp_path_factory):
    """A hand in MANO's format with what the open hand lacks: pose blend shapes, and more than four bones a vertex."""
    rng = np.random.default_rng(0)
    arrays = {name: np.array(array) for name, array in load_open_hand_arrays().items()}
    arrays["posedirs"] = rng.normal(0, 0.0006, arrays["posedirs"].shape).astype(np.float32)
    weights = arrays["weights"] + 0.03 * rng.random(arrays["weights"].shape).astype(np.float32) ** 4
    arrays["weights"] = weights / weights.sum(axis=1, keepdims=True)
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module", params=["open", "mano"])
def layer(request, mano_file):
    return HandLayer.open_hand() if request.param == "open" else load_mano_layer(mano_file)


@pytest.fixture(params=["right", "left"])
def side(request):
    return request.param


def parameters(side, count=COUNT, shapes=1):
    """Of `count` frames: those of left hands are as good as those of right ones."""
    generator = torch.Generator().manual_seed(4)
    poses = sample_poses(count, generator)
    betas = torch.randn(shapes, 10, generator=generator).expand(count, 10)
    size = (1 + 0.1 * torch.rand(shapes, generator=generator)).expand(count)
    return [poses[:, 0], poses[:, 1:], betas, size, side], torch.rand(count, 3, generator=generator)


def vertices_of(layer, values, place=None):
    return posed_hand(layer, *values, place).vertices.numpy().astype(np.float64)


def farthest(found, expected):
    return np.linalg.norm(found - expected * TO_GLTF, axis=-1).max()


# ------------------------------------------------------------------------------------------------ photos


def test_skinning_the_file_gives_the_answer(layer, side, tmp_path):
    values, _ = parameters(side, 1)
    answer = vertices_of(layer, values)[0]
    rig = make_rig(layer, *values)
    glb = Glb(write_glb(tmp_path / "hand.glb", answer, layer.faces.numpy(), answer[None] + 0.01, rig=rig))
    assert farthest(glb.skinned_vertices("answer"), answer) < TENTH_MM
    np.testing.assert_allclose(glb.rest_vertices("answer"), answer * TO_GLTF, atol=1e-6)  # without bones, too
    np.testing.assert_allclose(glb.rest_vertices("hypothesis_00"), (answer + 0.01) * TO_GLTF, atol=1e-6)
    assert "skin" not in glb.node("hypothesis_00")


def test_bones_are_manos_joints_with_the_poses_rotations(layer, side, tmp_path):
    values, _ = parameters(side, 1)
    mesh = posed_hand(layer, *values)
    rig = make_rig(layer, *values)
    glb = Glb(write_glb(tmp_path / "hand.glb", mesh.vertices[0].numpy(), layer.faces.numpy(), rig=rig))
    assert glb.bones_of("answer") == list(BONE_NAMES) and set(BONE_NAMES) < set(JOINT_NAMES)
    world = glb.world()
    joints = mesh.joints[0, [JOINT_NAMES.index(name) for name in BONE_NAMES]].numpy()
    numbers = [glb.names.index(name) for name in BONE_NAMES]
    assert farthest(world[numbers, :3, 3], joints) < TENTH_MM
    for turn in world[:, :3, :3]:
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
        assert np.linalg.det(turn) == pytest.approx(1.0)  # of left hands too
    angle = np.linalg.norm(values[1][0, 1])
    half = abs(glb.node("index_2")["rotation"][3])
    assert 2 * np.arccos(half) == pytest.approx(angle, abs=1e-5)  # the bone's turn is the parameter's
    assert glb.node("index_3")["translation"] == pytest.approx(
        (rig.joints[BONE_NAMES.index("index_3")] - rig.joints[BONE_NAMES.index("index_2")]).tolist()
    )


def test_a_turned_bone_carries_its_fingertip(side, tmp_path):
    layer = HandLayer.open_hand()
    values, _ = parameters(side, 1)
    answer = vertices_of(layer, values)[0]
    rig = make_rig(layer, *values)
    glb = Glb(write_glb(tmp_path / "hand.glb", answer, layer.faces.numpy(), rig=rig))
    bone, tip = glb.names.index("index_2"), layer.tip_vertices[1].item()
    weights = rig.weights[tip] * np.isin(rig.bones[tip], [BONE_NAMES.index(name) for name in ("index_2", "index_3")])
    assert weights.sum() > 0.999  # no other bone has a part in it
    before = glb.world()[bone]
    node = glb.document["nodes"][bone]
    node["rotation"] = (Rotation.from_quat(node["rotation"]) * Rotation.from_rotvec([0.0, 0.4, 0.3])).as_quat().tolist()
    moved, still = glb.skinned_vertices("answer"), answer * TO_GLTF
    expected = glb.world()[bone] @ np.linalg.inv(before) @ np.append(still[tip], 1)
    np.testing.assert_allclose(moved[tip], expected[:3], atol=1e-5)
    assert np.linalg.norm(moved[tip] - still[tip]) > 0.01
    other = layer.tip_vertices[0].item()
    np.testing.assert_allclose(moved[other], still[other], atol=1e-6)  # the thumb's


def test_an_exported_rig_rests_flat_in_its_shape_and_size(side, tmp_path):
    layer = HandLayer.open_hand()
    values, _ = parameters(side, 1)
    hand = MovingHand("answer", np.zeros(1), make_rig(layer, *values))
    glb = Glb(write_animated_glb(tmp_path / "hand.glb", [hand], [0.0]))
    flat = vertices_of(layer, [torch.zeros(1, 3), torch.zeros(1, 15, 3), *values[2:]])[0]
    np.testing.assert_allclose(glb.rest_vertices("answer"), flat, atol=1e-6)


def test_weights_are_what_viewers_want(layer, tmp_path):
    values, _ = parameters("right", 1)
    answer, rig = vertices_of(layer, values)[0], make_rig(layer, *values)
    glb = Glb(write_glb(tmp_path / "hand.glb", answer, layer.faces.numpy(), rig=rig))
    attributes = glb.mesh_of("answer")["attributes"]
    sets = sorted(name for name in attributes if name.startswith("JOINTS_"))
    most = int((layer.skinning_weights > 1e-5).sum(1).max())
    assert sets == [f"JOINTS_{number}" for number in range(-(-most // 4))]
    for name in sets:
        joints, weights = glb.array(attributes[name]), glb.array(attributes[name.replace("JOINTS", "WEIGHTS")])
        assert joints.max() < 16 and (weights >= 0).all() and (joints[weights == 0] == 0).all()


def test_faces_of_both_sides_look_outwards(side, tmp_path):
    layer = HandLayer.open_hand()
    values, _ = parameters(side, 1)
    answer = vertices_of(layer, values)[0]
    glb = Glb(write_glb(tmp_path / "hand.glb", answer, layer.faces.numpy(), rig=make_rig(layer, *values)))
    vertices = glb.skinned_vertices("answer")
    a, b, c = (vertices[glb.faces_of("answer")[:, corner]] for corner in range(3))
    assert np.einsum("fi,fi->", a, np.cross(b, c)) > 0


def test_a_rig_of_another_answer_is_refused(tmp_path):
    layer = HandLayer.open_hand()
    values, _ = parameters("right", 2)
    first, second = vertices_of(layer, values)
    rig = make_rig(layer, *(value[:1] for value in values[:-1]), "right")
    with pytest.raises(InputError, match="^rig: "):
        write_glb(tmp_path / "hand.glb", second, layer.faces.numpy(), rig=rig)
    write_glb(tmp_path / "hand.glb", first, layer.faces.numpy(), rig=rig)


def test_parameters_that_are_none_are_refused():
    layer = HandLayer.open_hand()
    good, _ = parameters("right", 2)
    wrong = {0: good[0][:, :2], 1: good[1][:1], 2: torch.full((2, 10), torch.nan), 3: torch.ones(3), 4: "both"}
    for place, value in wrong.items():
        with pytest.raises(InputError):
            make_rig(layer, *good[:place], value, *good[place + 1 :])


# ------------------------------------------------------------------------------------------------ videos


@pytest.mark.parametrize("shapes", [1, COUNT])
def test_animation_gives_the_vertices_of_each_frame(layer, side, shapes, tmp_path):
    """Also where shape and size are other ones in each frame, and where pose blend shapes follow the pose."""
    values, place = parameters(side, COUNT, shapes)
    hand = MovingHand(f"hand_0_{side}", TIMES, make_rig(layer, *values, place))
    glb = Glb(write_animated_glb(tmp_path / "video.glb", [hand], TIMES))
    for time, expected in zip(TIMES, vertices_of(layer, values, place), strict=True):
        assert farthest(glb.skinned_vertices(hand.name, time), expected) < TENTH_MM
    moves = shapes > 1 or layer.pose_directions.shape[-1] > 0
    assert ("targets" in glb.mesh_of(hand.name)) == moves
    if not moves:  # then no bone but the wrist is moved, they are turned
        paths = [channel["target"]["path"] for channel in glb.document["animations"][0]["channels"]]
        assert paths.count("rotation") == 16 and paths.count("translation") == 1 and len(paths) == 17


def test_leaving_morphs_out_would_be_seen(mano_file):
    """What the morph targets are for: without them the vertices are off by more than is allowed."""
    layer = load_mano_layer(mano_file)
    values, _ = parameters("right")
    rig = make_rig(layer, *values)
    expected = vertices_of(layer, values)
    still = make_rig(layer, *values)
    object.__setattr__(still, "morph_weights", np.broadcast_to(rig.morph_weights.mean(axis=0), rig.morph_weights.shape))
    assert np.abs(rig.posed_vertices() - expected).max() < TENTH_MM < np.abs(still.posed_vertices() - expected).max()


def test_a_hand_has_size_only_while_it_is_seen(tmp_path):
    layer = HandLayer.open_hand()
    seen = np.array([2, 3, 6])
    values, place = parameters("left", len(seen))
    hand = MovingHand("hand_1_left", TIMES[seen], make_rig(layer, *values, place))
    other = MovingHand("hand_0_left", TIMES[:1], make_rig(layer, *(v[:1] for v in values[:-1]), "left"))
    glb = Glb(write_animated_glb(tmp_path / "video.glb", [other, hand], TIMES))
    for frame, time in enumerate(TIMES):
        size = np.ptp(glb.skinned_vertices("hand_1_left", time), axis=0).max()
        assert size > 0.05 if frame in seen else size < 1e-6, frame
        assert (np.ptp(glb.skinned_vertices("hand_0_left", time)) > 0.05) == (frame == 0)
    gone = glb.skinned_vertices("hand_1_left", TIMES[4])[0]
    assert np.linalg.norm(gone) > 0.1  # at its wrist's place, not far from where it was


def test_quaternions_do_not_jump(tmp_path):
    """Viewers that mix them number by number take no long way round."""
    layer = HandLayer.open_hand()
    turns = torch.zeros(40, 3)
    turns[:, 1] = torch.linspace(0, 12, 40)
    rig = make_rig(layer, turns, torch.zeros(40, 15, 3), torch.zeros(40, 10))
    times = np.arange(40) / 25
    glb = Glb(write_animated_glb(tmp_path / "video.glb", [MovingHand("hand", times, rig)], times))
    (animation,) = glb.document["animations"]
    for sampler in animation["samplers"]:
        values = glb.array(sampler["output"])
        if values.shape[-1] == 4:
            assert ((values[1:] * values[:-1]).sum(axis=-1) > 0.9).all()


def test_times_are_those_of_the_frames(tmp_path):
    layer = HandLayer.open_hand()
    times = np.array([0.0, 0.031, 0.07, 0.5])
    values, _ = parameters("right", 4)
    glb = Glb(write_animated_glb(tmp_path / "v.glb", [MovingHand("hand", times, make_rig(layer, *values))], times))
    (animation,) = glb.document["animations"]
    for sampler in animation["samplers"]:
        np.testing.assert_allclose(glb.array(sampler["input"]), times, atol=1e-7)


def test_wrong_times_are_refused(tmp_path):
    layer = HandLayer.open_hand()
    rig = make_rig(layer, *parameters("right", 2)[0])
    for own, times in (([0, 1], [0, 2]), ([1, 0], [0, 1]), ([0], [0, 1]), ([-1, 0], [-1, 0]), ([0, np.nan], [0, 1])):
        with pytest.raises(InputError, match="times_s: "):
            write_animated_glb(tmp_path / "v.glb", [MovingHand("hand", np.array(own), rig)], times)
    assert not list(tmp_path.iterdir())


def test_a_video_without_hands_is_an_empty_scene(tmp_path):
    path = write_animated_glb(tmp_path / "video.glb", [], TIMES)
    assert json.loads(path.read_bytes()[20:])["scenes"] == [{}]


# ------------------------------------------------------------------------------------------------ BVH


def read_bvh(path):
    """Places (T, 21, 3) of the joints, in our order, in a BVH file's axes, and the frame time."""
    from scipy.spatial.transform import Rotation

    lines = iter(path.read_text().splitlines())
    assert next(lines) == "HIERARCHY"
    joints, stack = [], []  # (name, parent, offset, channels)
    for line in lines:
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            parent = stack[-1] if stack else None
            name = words[1] if words[0] != "End" else joints[parent]["name"][:-1] + "4"
            joints.append({"name": name, "parent": parent, "channels": []})
            stack.append(len(joints) - 1)
        elif words[0] == "OFFSET":
            joints[stack[-1]]["offset"] = np.array([float(word) for word in words[1:]])
        elif words[0] == "CHANNELS":
            assert int(words[1]) == len(words) - 2
            joints[stack[-1]]["channels"] = words[2:]
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "MOTION":
            break
    count, step = int(next(lines).split()[1]), float(next(lines).split()[2])
    rows = np.array([[float(word) for word in line.split()] for line in lines])
    assert rows.shape == (count, sum(len(joint["channels"]) for joint in joints))
    column, turns, places = 0, [], []
    for joint in joints:
        offset, angles, order = np.tile(joint["offset"], (count, 1)), [], ""
        for channel in joint["channels"]:
            if channel.endswith("position"):
                offset[:, "XYZ".index(channel[0])] = rows[:, column]
            else:
                angles.append(rows[:, column])
                order += channel[0]
            column += 1
        turn = Rotation.from_euler(order, np.stack(angles, axis=1), degrees=True) if order else None
        parent = joint["parent"]
        places.append(offset if parent is None else places[parent] + turns[parent].apply(offset))
        turns.append(turn if parent is None or turn is None else turns[parent] * turn)
    names = [joint["name"] for joint in joints]
    return np.stack([places[names.index(name)] for name in JOINT_NAMES], axis=1), step


def test_bvh_has_the_joints_of_each_frame(side, tmp_path):
    from hf_handdiff.viz.bvh import write_bvh

    layer = HandLayer.open_hand()
    values, place = parameters(side)
    hand = MovingHand("hand", TIMES, make_rig(layer, *values, place))
    joints, step = read_bvh(write_bvh(tmp_path / "hand.bvh", hand, TIMES))
    expected = posed_hand(layer, *values, place).joints.numpy()
    inner = list(JOINTS_TO_MANO[:16])
    assert farthest(joints[:, inner], expected[:, inner]) < TENTH_MM
    assert farthest(joints, expected) < 0.02  # skin at the tips is carried by more bones than the last
    assert step == pytest.approx(1 / 32)


def test_bvh_fills_gaps_and_keeps_the_rate(tmp_path):
    from hf_handdiff.viz.bvh import write_bvh

    layer = HandLayer.open_hand()
    values, place = parameters("right", 3)
    seen = [1, 2, 5]
    hand = MovingHand("hand", TIMES[seen], make_rig(layer, *values, place))
    joints, step = read_bvh(write_bvh(tmp_path / "hand.bvh", hand, TIMES))
    assert len(joints) == 5 and step == pytest.approx(1 / 32)
    expected = posed_hand(layer, *values, place).joints.numpy()
    assert farthest(joints[[0, 1, 4], 0], expected[:, 0]) < TENTH_MM
    alone = MovingHand("hand", TIMES[:1], make_rig(layer, *(value[:1] for value in values[:-1]), "right"))
    assert len(read_bvh(write_bvh(tmp_path / "one.bvh", alone, [0.0]))[0]) == 1
