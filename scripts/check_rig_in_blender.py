"""Check rigs in Blender itself, and by the glTF validator: a developer runs it.

Blender comes from PyPI into an environment of its own (Python 3.11, 350 MB), the validator from npm:

    python3.11 -m venv blender && blender/bin/pip install bpy==4.2.0
    npm install gltf-validator
    python scripts/check_rig_in_blender.py --blender blender/bin/python --validator node_modules/gltf-validator

It writes rigs (GLB and BVH) of right and left hands, of the open hand and of a hand with everything that MANO's has
(pose blend shapes, many bones a vertex), of a photo and of a video, has Blender read them, and compares the vertices
that Blender deforms with those of the hand layer, of BVH the places of the joints, frame by frame: none may be off by
more than 0.1 mm. Results of `handdiff predict`
(NAME.json, or NAME.jsonl of a video, with NAME.glb beside it) may be given too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TOLERANCE_MM = 0.1
FRAMES_PER_SECOND = 25
_VALIDATE = """
const fs = require("fs"), validator = require(process.argv[1]);
(async () => { for (const path of process.argv.slice(2)) {
  const { issues } = await validator.validateBytes(new Uint8Array(fs.readFileSync(path)));
  console.log(JSON.stringify([issues.numErrors, issues.numWarnings, issues.messages.slice(0, 3)]));
} })();
"""


def main() -> int:
    """Write, validate, import, compare; returns 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="NAME.json or NAME.jsonl of handdiff predict")
    parser.add_argument("--blender", metavar="PYTHON", help="a Python that has bpy")
    parser.add_argument("--validator", metavar="FOLDER", type=Path, help="of the npm package gltf-validator")
    parser.add_argument("--inside", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside_blender(arguments.inside)
    with tempfile.TemporaryDirectory() as folder:
        cases = write_cases(Path(folder), arguments.results)
        good = arguments.validator is None or validate(cases, arguments.validator.resolve())
        if arguments.blender:
            command = [arguments.blender, __file__, "--inside", folder]
            good = subprocess.run(command, check=False).returncode == 0 and good
    return 0 if good else 1


# ------------------------------------------------------------------------------------------------ what is to come out


def write_cases(folder: Path, results: list[Path]) -> list[dict]:
    """Write GLB files, expected vertices (NPZ) and cases.json, which names them."""
    from hf_handdiff.hand import HandLayer

    cases = []
    for side in ("right", "left"):
        for kind, layer in (("open", HandLayer.open_hand()), ("mano_like", mano_like_layer())):
            cases += layer_cases(folder, kind, layer, side)
        cases.append(bvh_case(folder, HandLayer.open_hand(), side))
    cases += [case for path in results for case in result_cases(folder, path)]
    (folder / "cases.json").write_text(json.dumps(cases))
    return cases


def mano_like_layer():
    """The open hand with pose blend shapes of some millimetres, and up to 16 bones a vertex."""
    import torch

    from hf_handdiff.hand import HandLayer

    layer, generator = HandLayer.open_hand(), torch.Generator().manual_seed(0)
    layer.pose_directions = 0.0006 * torch.randn(layer.num_vertices, 3, 135, generator=generator)
    weights = layer.skinning_weights + 0.03 * torch.rand(layer.num_vertices, 16, generator=generator) ** 4
    layer.skinning_weights = weights / weights.sum(1, keepdim=True)
    return layer


def layer_cases(folder: Path, kind: str, layer, side: str) -> list[dict]:
    """A photo and a video of a hand layer; in the video, which is not seen at both ends, the shape moves too."""
    import torch

    from hf_handdiff.hand.fitting import posed_hand
    from hf_handdiff.hand.poses import sample_poses
    from hf_handdiff.viz import write_glb
    from hf_handdiff.viz.animated_glb import write_animated_glb
    from hf_handdiff.viz.moving_hand import MovingHand
    from hf_handdiff.viz.rig import make_rig

    count, generator = 8, torch.Generator().manual_seed(1)
    poses = sample_poses(count, generator)
    betas = torch.randn(1, 10, generator=generator) + 0.3 * torch.randn(count, 10, generator=generator)
    parameters = [poses[:, 0], poses[:, 1:], betas, 1.1 + 0.05 * torch.rand(count, generator=generator), side]
    place = torch.randn(count, 3, generator=generator)
    expected = posed_hand(layer, *parameters, place).vertices.numpy()
    times = np.arange(count + 4) / FRAMES_PER_SECOND
    hand = MovingHand(f"hand_0_{side}", times[2:-2], make_rig(layer, *parameters, place))
    stem = f"{kind}_{side}"
    write_animated_glb(folder / f"{stem}_video.glb", [hand], times)
    still = [value[:1] if value is not side else side for value in parameters]
    alone = posed_hand(layer, *still).vertices[0].numpy()
    faces = layer.faces.numpy()
    write_glb(folder / f"{stem}_photo.glb", alone, faces, alone[None] + 0.01, rig=make_rig(layer, *still))
    return [
        case(folder, folder / f"{stem}_video.glb", hand.name, times[2:-2], expected),
        case(folder, folder / f"{stem}_photo.glb", "answer", None, alone[None]),
    ]


def bvh_case(folder: Path, layer, side: str) -> dict:
    """The joints of a hand in a BVH file."""
    import torch

    from hf_handdiff.hand.fitting import posed_hand
    from hf_handdiff.hand.poses import sample_poses
    from hf_handdiff.hand.topology import JOINTS_TO_MANO
    from hf_handdiff.viz.bvh import write_bvh
    from hf_handdiff.viz.moving_hand import MovingHand
    from hf_handdiff.viz.rig import make_rig

    poses, place = sample_poses(8, torch.Generator().manual_seed(2)), torch.rand(8, 3)
    parameters = [poses[:, 0], poses[:, 1:], torch.ones(8, 10), torch.full((8,), 1.1), side, place]
    joints = posed_hand(layer, *parameters).joints[:, list(JOINTS_TO_MANO[:16])].numpy()
    times = np.arange(8) / FRAMES_PER_SECOND
    path = write_bvh(folder / f"{side}.bvh", MovingHand("hand", times, make_rig(layer, *parameters)), times)
    return case(folder, path, "joints", times, joints)


def result_cases(folder: Path, path: Path) -> list[dict]:
    """The hands of a file of `handdiff predict`: a photo's vertices are told there, a video's follow from its rigs."""
    from hf_handdiff.export.rig_records import read_rigs
    from hf_handdiff.hand import HandLayer

    glb = path.with_suffix(".glb")
    if path.suffix == ".json":
        vertices = np.array(json.loads(path.read_text())["mean_vertices_m"])
        return [case(folder, glb, "answer", None, vertices[None])]
    hands = read_rigs(path, HandLayer.open_hand()).hands
    return [case(folder, glb, hand.name, hand.times_s, hand.rig.posed_vertices()) for hand in hands]


def case(folder: Path, file: Path, name: str, times: np.ndarray | None, points: np.ndarray) -> dict:
    """What Blender is to find: points (T, V, 3) m in camera axes, of the mesh of a name, at times or at rest."""
    expected = folder / f"{file.stem}_{name}.npz"
    blender_axes = points[..., [0, 2, 1]] * [1.0, 1.0, -1.0]  # z up: Blender turns y up to this
    np.savez(expected, points=blender_axes)
    return {
        "file": str(file.resolve()),
        "name": name,
        "times": None if times is None else [float(time) for time in times],
        "expected": str(expected),
    }


def validate(cases: list[dict], package: Path) -> bool:
    """Whether the validator finds no error and no warning."""
    files = sorted({one["file"] for one in cases if one["file"].endswith(".glb")})
    output = subprocess.run(["node", "-e", _VALIDATE, package, *files], check=True, capture_output=True, text=True)
    good = True
    for file, line in zip(files, output.stdout.splitlines(), strict=True):
        errors, warnings, messages = json.loads(line)
        good = good and not errors and not warnings
        print(f"validator: {Path(file).name}: {errors} errors, {warnings} warnings", *messages)
    return good


# ------------------------------------------------------------------------------------------------ in Blender


def inside_blender(folder: Path) -> None:
    """Run by Blender's Python: import each file and compare; ends the process, with status 1 if anything is wrong."""
    import bpy

    print(f"Blender {bpy.app.version_string}")
    wrong = max([compare_in_blender(one) for one in json.loads((folder / "cases.json").read_text())])
    sys.stdout.flush()
    os._exit(wrong)  # bpy 4.2.0 crashes when Python is shut down, after all is done


def compare_in_blender(one: dict) -> int:
    """Import a file and compare points in every frame; 1 if they are off, or bones or action are missing."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = FRAMES_PER_SECOND
    mesh, first = None, 0
    if one["file"].endswith(".bvh"):
        bpy.ops.preferences.addon_enable(module="io_anim_bvh")
        bpy.ops.import_anim.bvh(filepath=one["file"], frame_start=0)
        armature, first = bpy.context.object, 1  # it counts the frames of BVH from the one after frame_start
    else:
        bpy.ops.import_scene.gltf(filepath=one["file"])
        mesh = bpy.data.objects[one["name"]]
        (armature,) = [modifier.object for modifier in mesh.modifiers if modifier.type == "ARMATURE"]
    bones = [bone.name for bone in armature.data.bones]
    action = armature.animation_data.action if armature.animation_data else None
    expected = np.load(one["expected"])["points"]
    worst = 0.0
    for time, target in zip(one["times"] or [0.0], expected, strict=True):
        frame = first + time * FRAMES_PER_SECOND
        scene.frame_set(int(frame), subframe=frame - int(frame))
        points = heads(armature) if mesh is None else deformed(mesh)
        worst = max(worst, 1000 * float(np.linalg.norm(points - target, axis=-1).max()))
    good = worst <= TOLERANCE_MM and len(bones) == 16 and bones[0] == "wrist" and (action or not one["times"])
    print(
        f"Blender: {Path(one['file']).name}: {one['name']}: {len(bones)} bones, action {action and action.name}, "
        f"{len(expected)} frames, off by at most {worst:.5f} mm{'' if good else '  <- WRONG'}"
    )
    return 0 if good else 1


def heads(armature) -> np.ndarray:
    """Where the 16 bones of an armature begin, (16, 3) m in the world, in MANO's order."""
    fingers = ("index", "middle", "little", "ring", "thumb")
    names = ["wrist", *(f"{finger}_{number}" for finger in fingers for number in (1, 2, 3))]
    return np.array([armature.matrix_world @ armature.pose.bones[name].head for name in names])


def deformed(mesh) -> np.ndarray:
    """Vertices (V, 3) m of an object as Blender evaluates it in this frame, in the world."""
    import bpy

    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    data = evaluated.to_mesh()
    points = np.empty(3 * len(data.vertices), np.float32)
    data.vertices.foreach_get("co", points)
    world = np.array(evaluated.matrix_world)
    evaluated.to_mesh_clear()
    return points.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]


if __name__ == "__main__":
    sys.exit(main())
