"""Small FreiHAND and HO3D downloads in the exact official layout, made from posed hands."""

import json
import pickle
from dataclasses import dataclass

import numpy as np
import roma
import torch
from PIL import Image

from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import load_open_hand_arrays
from hf_handdiff.synthetic.mano_format import python2_pickle, write_mano_pickle

OPENGL = np.array([1.0, -1.0, -1.0])
FINGERS = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "little": 17}  # their first joints in our order
# MANO's order as its documentation gives it: wrist, three joints a finger, then the tips
MANO_ORDER = [0]
for finger in ("index", "middle", "little", "ring", "thumb"):
    MANO_ORDER += [FINGERS[finger] + k for k in range(3)]
MANO_ORDER += [FINGERS[finger] + 3 for finger in ("thumb", "index", "middle", "ring", "little")]


def write_mano_file(path):
    """A MANO_RIGHT.pkl: the open hand in MANO's conventions, its vertices numbered as they are in the open hand."""
    return write_mano_pickle(path, np.arange(778))


def write_other_mano_file(path):
    """A MANO_RIGHT.pkl of another hand than the open one: other vertex numbers, another shape, and pose blend shapes.

    Vertices at the fingertips have MANO's numbers; the others are shuffled, and so is what belongs to them.
    """
    arrays, random = load_open_hand_arrays(), np.random.default_rng(0)
    tips = {744: 744, 320: 320, 443: 443, 555: 554, 672: 671}  # MANO's -> the open hand's
    order = np.full(778, -1)
    order[list(tips)] = list(tips.values())
    order[order < 0] = random.permutation(np.setdiff1d(np.arange(778), list(tips.values())))
    content = {name: np.array(arrays[name])[order] for name in ("v_template", "shapedirs", "posedirs", "weights")}
    content["J_regressor"] = np.array(arrays["J_regressor"])[:, order]
    content["f"] = np.argsort(order)[arrays["f"]].astype(np.uint32)
    content |= {name: np.array(arrays[name]) for name in ("kintree_table", "hands_mean")}
    content["v_template"] = 1.07 * content["v_template"] + np.float32([0.0957, 0.0064, 0.0062])
    content["posedirs"] = random.normal(0, 5e-4, content["posedirs"].shape).astype(np.float32)
    path.write_bytes(pickle.dumps(content, 2))
    return path


@dataclass
class Hands:
    """Posed hands in OpenCV camera axes: pose relative to the flat hand, points in metres."""

    pose: np.ndarray  # (N, 16, 3)
    shape: np.ndarray  # (N, 10)
    translation: np.ndarray  # (N, 3)
    vertices: np.ndarray  # (N, 778, 3)
    joints: np.ndarray  # (N, 21, 3)
    wrist_at_rest: np.ndarray  # (N, 3)


def make_hands(count, mano_path, seed=0):
    layer = load_mano_layer(mano_path).double()
    generator = torch.Generator().manual_seed(seed)
    pose = 0.3 * torch.randn(count, 16, 3, generator=generator, dtype=torch.float64)
    pose[:, 0] = 2.0 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1).double()
    shape = torch.randn(count, 10, generator=generator).double()
    mesh = layer(pose, shape)
    middle = torch.tensor([0.02, -0.01, 0.6]).double() + 0.02 * torch.randn(count, 3, generator=generator).double()
    translation = middle - mesh.joints.mean(1)
    return Hands(
        pose.numpy(),
        shape.numpy(),
        translation.numpy(),
        (mesh.vertices + translation[:, None]).numpy(),
        (mesh.joints + translation[:, None]).numpy(),
        layer.rest_joints(shape)[:, 0].numpy(),
    )


def project(points, camera):
    homogeneous = points @ np.asarray(camera).T
    return homogeneous[..., :2] / homogeneous[..., 2:]


DOT_JOINTS = (0, 8, 20)  # where the made images have a red, green and blue dot


def draw_dots(size, keypoints, radius=4.0):
    """An image (H, W, 3) uint8 with a dot at each of DOT_JOINTS, by pixel centres at 0.5."""
    width, height = size
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.full((height, width, 3), 20, np.uint8)
    for channel, joint in enumerate(DOT_JOINTS):
        image[np.hypot(x - keypoints[joint, 0], y - keypoints[joint, 1]) < radius, channel] = 255
    return image


def dot_centres(image):
    """(3, 2) px: the middles of the dots of an image (H, W, 3)."""
    lit = np.clip(np.asarray(image, np.float64) - 120, 0, None)
    y, x = np.mgrid[: lit.shape[0], : lit.shape[1]] + 0.5
    return np.array([[(lit[..., c] * grid).sum() / lit[..., c].sum() for grid in (x, y)] for c in range(3)])


# ------------------------------------------------------------------------------------------------ FreiHAND


def freihand_camera(index):
    return np.array([[380.0 + 5 * index, 0, 112], [0, 380.0 + 5 * index, 110], [0, 0, 1]])


def write_freihand(root, train, evaluation, mean_pose, truth=True):
    """A FreiHAND download: all lists, four versions of the training images, masks."""
    for name, hands, versions in (("training", train, 4), ("evaluation", evaluation, 1)):
        count = len(hands.joints)
        cameras = np.stack([freihand_camera(i) for i in range(count)])
        (root / name / "rgb").mkdir(parents=True)
        for version in range(versions):
            for i in range(count):
                keypoints = project(hands.joints[i], cameras[i])
                image = draw_dots((224, 224), keypoints)
                image[:10, :10] = 30 * version
                Image.fromarray(image).save(root / name / "rgb" / f"{i + count * version:08d}.jpg", quality=90)
        bent = hands.pose.copy()
        bent[:, 1:] -= mean_pose
        others = np.concatenate([np.full((count, 2), 112.0), np.full((count, 1), 0.6)], axis=1)  # uv_root, scale
        mano = np.concatenate([bent.reshape(count, 48), hands.shape, others], axis=1)[:, None]
        lists = {"K": cameras, "scale": np.linalg.norm(hands.joints[:, 9] - hands.joints[:, 10], axis=-1)}
        if name == "training" or truth:
            lists |= {"xyz": hands.joints, "verts": hands.vertices, "mano": mano}
        for kind, values in lists.items():
            (root / f"{name}_{kind}.json").write_text(json.dumps(values.tolist()))
    (root / "training" / "mask").mkdir()
    for i in range(len(train.joints)):
        Image.new("L", (224, 224)).save(root / "training" / "mask" / f"{i:08d}.jpg")
    return root


# ---------------------------------------------------------------------------------------------------- HO3D

HO3D_CAMERA = np.array([[614.6, 0, 320.3], [0, 614.1, 241.8], [0, 0, 1]])


def ho3d_annotation(hands, i, evaluation):
    """The fields of a frame's pickle, in OpenGL axes and MANO's order."""
    object_fields = {
        "objName": "003_cracker_box",
        "objLabel": np.int64(2),
        "objRot": np.zeros((3, 1)),
        "objTrans": np.array([0.0, 0.0, -0.6], np.float32),
        "objCorners3D": np.zeros((8, 3)),
    }
    keypoints = project(hands.joints[i], HO3D_CAMERA)
    joints = (hands.joints[i] * OPENGL)[MANO_ORDER].astype(np.float32)
    if evaluation:
        box = [int(value) for value in [*np.floor(keypoints.min(0)), *np.ceil(keypoints.max(0))]]
        return object_fields | {"camMat": HO3D_CAMERA, "handJoints3D": joints[0], "handBoundingBox": box}
    flip = torch.diag(torch.from_numpy(OPENGL))
    turned = flip @ roma.rotvec_to_rotmat(torch.from_numpy(hands.pose[i, 0]))
    pose = hands.pose[i].copy()
    pose[0] = rotation_vector(turned.numpy())
    # vertices are R (v - wrist) + wrist + trans in MANO; so trans in OpenGL axes is
    wrist = hands.wrist_at_rest[i]
    translation = (wrist + hands.translation[i]) * OPENGL - wrist
    return object_fields | {
        "camMat": HO3D_CAMERA,
        "handJoints3D": joints,
        "handPose": pose.reshape(48).astype(np.float32),
        "handBeta": hands.shape[i],
        "handTrans": translation,
    }


def rotation_vector(matrix):
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix).as_rotvec()


def write_frame(folder, suffix, frame, keypoints, annotation):
    for name in ("rgb", "depth", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_dots((640, 480), keypoints)).save(folder / "rgb" / f"{frame}{suffix}")
    Image.new("RGB", (8, 8)).save(folder / "depth" / f"{frame}.png")
    (folder / "meta" / f"{frame}.pkl").write_bytes(python2_pickle(annotation))


def write_ho3d(root, train, evaluation, version="v2", truth=True):
    """An HO3D download of two sequences a split; frame 0002 of SS1 has no annotation."""
    suffix = {"v2": ".png", "v3": ".jpg"}[version]
    for split, hands, sequences in (("train", train, ("SS1", "ABF10")), ("evaluation", evaluation, ("SM1", "AP11"))):
        lines = []
        for i in range(len(hands.joints)):
            sequence, frame = sequences[i % 2], f"{i:04d}"
            lines.append(f"{sequence}/{frame}")
            annotation = ho3d_annotation(hands, i, split == "evaluation")
            if split == "train" and i == 2:
                annotation = {name: None for name in annotation} | {"camMat": HO3D_CAMERA}
            keypoints = project(hands.joints[i], HO3D_CAMERA)
            write_frame(root / split / sequence, suffix, frame, keypoints, annotation)
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    if truth:
        joints = (evaluation.joints * OPENGL)[:, MANO_ORDER]
        (root / "evaluation_xyz.json").write_text(json.dumps(joints.tolist()))
        (root / "evaluation_verts.json").write_text(json.dumps((evaluation.vertices * OPENGL).tolist()))
    return root
