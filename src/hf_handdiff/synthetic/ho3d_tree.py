"""Renders in HO3D's layout; what that is: `hf_handdiff.data.ho3d`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.data.ho3d import OPENGL_TO_OPENCV, RGB_SUFFIXES
from hf_handdiff.data.mano_annotations import turn_global_rotation
from hf_handdiff.data.number_lists import write_number_list
from hf_handdiff.errors import InputError
from hf_handdiff.files import replace_file
from hf_handdiff.hand.topology import JOINTS_TO_MANO
from hf_handdiff.synthetic.assets import SceneAssets
from hf_handdiff.synthetic.mano_format import python2_pickle, vertex_order, wrist_at_rest
from hf_handdiff.synthetic.official_trees import POINT_DECIMALS, encode_image
from hf_handdiff.synthetic.rasterizer import project_points
from hf_handdiff.synthetic.tree_scenes import TreePicture, frame_picture, stream_seed

SEQUENCE_FRAMES = 50
WITHOUT_ANNOTATION = (3, 20)  # of the train split: the fourth frame of every twenty
_LAYOUT_NUMBER = 2
_SEQUENCES = {"train": "TR", "evaluation": "EV"}
_OPENCV_TO_OPENGL = OPENGL_TO_OPENCV


@dataclass(frozen=True)
class Ho3dTree:
    """What decides a tree in HO3D's layout: the layout that `official_trees.write_tree` writes."""

    num_samples: int
    evaluation_samples: int
    seed: int
    version: str = "v3"

    name = "HO3D"
    readme = f"""\
All hands hold something. The frames of a sequence share their camera and are no film. One frame in
{WITHOUT_ANNOTATION[1]} of the train split has no annotation. Objects are no known models: their name is "render", and
their corners are those of a box along the camera's axes. There are no depth images. The evaluation split comes with its
truth, `evaluation_xyz.json` and `evaluation_verts.json`."""

    def __post_init__(self):
        if self.version not in RGB_SUFFIXES:
            raise InputError(f"version: expected {' or '.join(RGB_SUFFIXES)}, got {self.version!r}")

    @property
    def import_command(self) -> str:
        """The command that turns the tree into a corpus."""
        return f"handdiff data ho3d --root TREE --version {self.version} --mano TREE/MANO_RIGHT.pkl --out CORPUS"

    def settings(self) -> dict[str, Any]:
        """What a tree's settings name besides the counts and the seed."""
        return {"layout": self.name, "version": self.version}

    def num_entries(self, split: str) -> int:
        """Frames of a split."""
        return self.num_samples if split == "train" else self.evaluation_samples

    def num_images(self, split: str) -> int:
        """Images of an entry."""
        return 1

    def files(self, split: str, entry: int) -> list[str]:
        """The files of an entry, relative to the tree."""
        sequence, frame = self._place(split, entry)
        folder = f"{split}/{_SEQUENCES[split]}{sequence}"
        return [f"{folder}/rgb/{frame:04d}{RGB_SUFFIXES[self.version]}", f"{folder}/meta/{frame:04d}.pkl"]

    def make(self, split: str, entry: int, assets: SceneAssets) -> tuple[list[bytes], dict[str, np.ndarray]]:
        """The bytes of `files(split, entry)`, and the entry of each list."""
        sequence, _ = self._place(split, entry)
        picture = frame_picture(assets, stream_seed(self.seed, _LAYOUT_NUMBER), entry, sequence)
        annotation = _evaluation_annotation(picture) if split == "evaluation" else _train_annotation(picture)
        if split == "train" and entry % WITHOUT_ANNOTATION[1] == WITHOUT_ANNOTATION[0]:
            annotation = {name: None for name in annotation} | {"camMat": annotation["camMat"]}
        contents = [encode_image(picture.image, RGB_SUFFIXES[self.version]), python2_pickle(annotation)]
        return contents, {"xyz": _joints(picture.row), "verts": _vertices(picture.row)} if split == "evaluation" else {}

    def lists(self) -> list[str]:
        """The files that are written last."""
        return ["evaluation_xyz.json", "evaluation_verts.json", "train.txt", "evaluation.txt"]

    def write_lists(self, root: Path, split: str, labels: dict[str, np.ndarray]) -> None:
        """Write the lists of a split from the labels of all its entries, in order."""
        for kind, values in labels.items():
            write_number_list(root / f"{split}_{kind}.json", values, POINT_DECIMALS)
        places = [self._place(split, entry) for entry in range(self.num_entries(split))]
        with replace_file(root / f"{split}.txt") as aside:
            aside.write_text("".join(f"{_SEQUENCES[split]}{sequence}/{frame:04d}\n" for sequence, frame in places))

    def _place(self, split: str, entry: int) -> tuple[int, int]:
        """The sequence of an entry and its frame there: at least two sequences where there are two frames."""
        return divmod(entry, min(SEQUENCE_FRAMES, -(-self.num_entries(split) // 2)))


def _joints(row: dict) -> np.ndarray:
    """(21, 3) m, OpenGL axes, MANO's order."""
    return (row["joints_m"] * _OPENCV_TO_OPENGL)[list(JOINTS_TO_MANO)].astype(np.float32)


def _vertices(row: dict) -> np.ndarray:
    """(778, 3) m, OpenGL axes, numbered as in the tree's MANO file."""
    return (row["vertices_m"][vertex_order()] * _OPENCV_TO_OPENGL).astype(np.float32)


def _shared_annotation(picture: TreePicture) -> dict[str, Any]:
    """The camera, and the object as a box (8, 3) m along the axes, OpenGL."""
    points = picture.held_m * _OPENCV_TO_OPENGL
    middle, half = (points.max(0) + points.min(0)) / 2, np.ptp(points, axis=0) / 2
    corners = np.array(list(product((-1.0, 1.0), repeat=3))) * half
    return {
        "camMat": picture.intrinsics_px,
        "objName": "render",
        "objLabel": 0,
        "objRot": np.zeros((3, 1), np.float32),
        "objTrans": middle.astype(np.float32),
        "objCorners3DRest": corners,
        "objCorners3D": corners + middle,
    }


def _train_annotation(picture: TreePicture) -> dict[str, Any]:
    """What the pickle of a training frame holds."""
    row = picture.row
    shape = np.array(row["shape"], np.float64)
    pose = turn_global_rotation(row["pose_rad"].astype(np.float64), np.diag(_OPENCV_TO_OPENGL))
    joints = _joints(row)
    # MANO's vertices are R (v - wrist) + wrist + trans
    translation = row["joints_m"][0] * _OPENCV_TO_OPENGL - wrist_at_rest(shape)
    return _shared_annotation(picture) | {
        "handJoints3D": joints,
        "handPose": pose.reshape(-1).astype(np.float32),
        "handBeta": shape,
        "handTrans": translation.astype(np.float32),
    }


def _evaluation_annotation(picture: TreePicture) -> dict[str, Any]:
    """What the pickle of an evaluation frame holds: of the hand, the wrist and the box of its joints."""
    keypoints = project_points(picture.row["joints_m"], picture.intrinsics_px)
    box = [int(value) for value in [*np.floor(keypoints.min(0)), *np.ceil(keypoints.max(0))]]
    return _shared_annotation(picture) | {"handJoints3D": _joints(picture.row)[0], "handBoundingBox": box}
